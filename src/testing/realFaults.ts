/** The faults of a scenario, done to machines that run: what lab/sim/faults.ts does to simulated ones. */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { formatIpv4 } from "../base/ipv4.ts";
import type { LabFault } from "../cluster/cluster.ts";
import { defaults } from "../cluster/defaults.ts";
import type { FaultAction } from "../cluster/words.ts";
import { DISCARD_PORT, sendDatagram } from "../host/echo.ts";
import { openPacketSocket } from "../host/packetSocket.ts";
import { ipv4Conf, writeSysctl } from "../host/sysctl.ts";
import type { BuiltMachine, BuiltNetwork } from "../lab/netns/build.ts";
import type { Plot } from "../lab/plot.ts";
import { reorderUs } from "../lab/sim/build.ts";
import { addressOn } from "../lab/topology.ts";
import { arpAnnouncement } from "../wire/frame.ts";
import type { RealDirector } from "./realDirectors.ts";

const masterMs = 60_000;

/** What is wrong with a machine's cables. */
export interface Impairment {
  readonly delayMs?: number;
  readonly lossPercent?: number;
  readonly duplicatePercent?: number;
  readonly reorderPercent?: number;
}

/** The scenario that faults happen in: realScenario.ts. */
export interface Stricken {
  readonly plot: Plot;
  readonly network: BuiltNetwork;
  readonly directors: ReadonlyMap<string, Pick<RealDirector, "ask" | "signal">>;
  /** Frozen for a while: that it says so afterwards is part of the story. */
  readonly paused: Set<string>;
  /** Cables that are worse than they were. */
  readonly impaired: Map<string, Impairment>;
  machine(name: string): BuiltMachine;
  holders(): string[];
  crash(name: string): Promise<void>;
  restart(name: string): Promise<void>;
  vipward(name: string, direction: "apply" | "undo", killAt: number): Promise<void>;
  answers(host: string, status: number): Promise<void>;
}

type Deed = (scenario: Stricken, fault: LabFault) => void | Promise<void>;

/** Each of its ports at the switches. */
function ports({ network }: Stricken, name: string, change: { up: boolean }): void {
  for (const { netlink, machineOfPort } of network.switches)
    for (const [port, owner] of machineOfPort) if (owner === name) netlink.setLink(port, change);
}
/** A switch's name means its uplink. */
export const plugged = (s: Stricken, name: string, up: boolean): void => {
  if (!s.network.plugUplink(name, up)) ports(s, name, { up });
};
/** The cable stays up, and nothing gets through. */
function deaf({ network }: Stricken, name: string, isDeaf: boolean): void {
  for (const { netlink, machineOfPort, bridgeOfPort } of network.switches)
    for (const [port, owner] of machineOfPort)
      if (owner === name) netlink.setLink(port, { master: isDeaf ? null : (bridgeOfPort.get(port) ?? null) });
}

/** What tc-netem(8) does to each frame at both ends of a machine's cables; held back is what others then overtake. */
function queueing({ delayMs, lossPercent = 0, duplicatePercent = 0, reorderPercent = 0 }: Impairment): string[] {
  const heldMs = (delayMs ?? defaults.linkDelayMs) + (reorderPercent > 0 ? reorderUs / 1000 : 0);
  const late = reorderPercent > 0 ? ["reorder", `${100 - reorderPercent}%`] : [];
  return ["delay", `${heldMs}ms`, "loss", `${lossPercent}%`, "duplicate", `${duplicatePercent}%`, ...late];
}
function worsen(s: Stricken, name: string, change: Impairment): void {
  const now = { ...s.impaired.get(name), ...change };
  if (isDeepStrictEqual(now, s.impaired.get(name) ?? { lossPercent: 0 })) return;
  s.impaired.set(name, now);
  const { namespace, host } = s.machine(name);
  const set = (link: string): void => {
    execFileSync("tc", ["qdisc", "replace", "dev", link, "root", "netem", ...queueing(now)], { stdio: "pipe" });
  };
  namespace.run(() => {
    for (const link of host.links) set(link.name);
  });
  for (const { namespace: inSwitch, netlink, machineOfPort } of s.network.switches)
    for (const { name: port, index } of netlink.links())
      if (machineOfPort.get(index) === name) inSwitch.run(() => set(port));
}

function forget({ netlink, host }: BuiltMachine): void {
  for (const link of host.links) netlink.flushNeighbours(link.name);
}
function withoutVips({ netlink }: BuiltMachine, { plot }: Stricken): void {
  const names = new Map(netlink.links().map((l) => [l.index, l.name]));
  for (const a of netlink.addresses())
    if (plot.vips.includes(a.address))
      netlink.removeAddress(names.get(a.linkIndex) ?? "lo", { address: a.address, length: a.prefixLength });
}
/** As `vipward switchover` there. */
async function switchOver({ directors }: Stricken, name: string, more = {}): Promise<void> {
  const answer = await directors.get(name)?.ask("switchover", more);
  if (answer?.ok !== true) throw new Error(`${name}: ${answer?.error?.message}`);
}
/** On a busy machine what was done before may take its time. */
export async function becomesMaster(s: Stricken, name: string): Promise<void> {
  for (const endMs = performance.now() + masterMs; !s.holders().includes(name); await sleep(50))
    if (performance.now() > endMs) throw new Error(`${name} is not master within ${masterMs} ms`);
}
const linkOf = ({ host }: BuiltMachine): string => host.links[0]?.name ?? "eth0";

const deeds: { readonly [Action in FaultAction]?: Deed } = {
  crash: (s, { host }) => s.crash(host),
  restart: (s, { host }) => s.restart(host),
  // A namespace's kernel does not stop: its programs do, and its cables carry nothing.
  pause: (s, { host }) => {
    s.paused.add(host);
    deaf(s, host, true);
    s.directors.get(host)?.signal("SIGSTOP");
  },
  resume: (s, { host }) => {
    deaf(s, host, false);
    s.directors.get(host)?.signal("SIGCONT");
  },
  cut: (s, { host }) => plugged(s, host, false),
  mend: (s, { host }) => plugged(s, host, true),
  loss: (s, { host, value }) => {
    deaf(s, host, value === 100); // without sch_netem, too
    if (value !== 100) worsen(s, host, { lossPercent: value });
  },
  duplicate: (s, { host, value }) => worsen(s, host, { duplicatePercent: value }),
  reorder: (s, { host, value }) => worsen(s, host, { reorderPercent: value }),
  delay: (s, { host, value }) => worsen(s, host, { delayMs: value }),
  sysctl: (s, { host, name, value }) => {
    const [, link = "", file = ""] = /^(.*)\.(\w+)$/.exec(name) ?? [];
    s.machine(host).namespace.run(() => writeSysctl(ipv4Conf(link, file), String(value)));
  },
  "add-vip": (s, { host }) => {
    const machine = s.machine(host);
    withoutVips(machine, s);
    for (const address of s.plot.vips) machine.netlink.addAddress(linkOf(machine), { prefix: { address, length: 32 } });
  },
  "remove-vip": (s, { host }) => withoutVips(s.machine(host), s),
  flush: (s, { host }) => forget(s.machine(host)),
  speak: (s, { host }) => {
    const machine = s.machine(host);
    forget(machine);
    const to = addressOn(s.plot.router, s.plot.lan);
    machine.namespace.run(() => {
      for (const vip of s.plot.vips) sendDatagram(vip, to, DISCARD_PORT, new TextEncoder().encode("vipward"));
    });
  },
  "take-over": async (s, { host }) => {
    await switchOver(s, host, { release: true });
    for (const name of s.holders()) if (name !== host) await switchOver(s, name);
  },
  release: async (s, { host }) => {
    await becomesMaster(s, host);
    await switchOver(s, host);
  },
  apply: (s, { host, value }) => s.vipward(host, "apply", value),
  undo: (s, { host, value }) => s.vipward(host, "undo", value),
  answers: (s, { host, value }) => s.answers(host, value === 0 ? 200 : value),
  announce: (s, { host }) => {
    const machine = s.machine(host);
    const [link] = machine.host.links;
    if (link === undefined) return;
    const socket = openPacketSocket({ namespace: machine.namespace, interface: link.name });
    socket.send(s.plot.vips.map((senderIp) => arpAnnouncement({ senderMac: link.mac, senderIp })));
    socket.close();
  },
};

export async function inflict(scenario: Stricken, fault: LabFault): Promise<void> {
  const deed = deeds[fault.action];
  if (deed === undefined) throw new RangeError(`no ${fault.action} on machines that run`);
  await deed(scenario, fault);
}

/** A switch that throws gratuitous ARP away: who names one address as both sender and target gets nowhere. */
export function dropGratuitous({ network, plot }: Stricken): void {
  const addresses = plot.topology.hosts.flatMap((h) => h.links.flatMap((l) => l.addresses.map((a) => a.address)));
  const rules = [...plot.vips, ...addresses].map(formatIpv4).map((ip) => `arp saddr ip ${ip} arp daddr ip ${ip} drop`);
  for (const { namespace, netlink, machineOfPort } of network.switches) {
    const devices = netlink.links().filter((l) => machineOfPort.has(l.index));
    const hook = `type filter hook ingress devices = { ${devices.map((l) => l.name).join(", ")} } priority 0;`;
    const table = `table netdev deaf {\nchain in {\n${hook}\n${rules.join("\n")}\n}\n}\n`;
    namespace.run(() => execFileSync("nft", ["-f", "-"], { input: table, stdio: ["pipe", "pipe", "pipe"] }));
  }
}
