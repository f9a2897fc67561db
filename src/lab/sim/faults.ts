/** What each fault of a scenario does to a simulated host, and how it is told. */
import type { LabFault } from "../../cluster/cluster.ts";
import type { FaultAction } from "../../cluster/words.ts";
import type { HostFacts } from "../../model/facts.ts";
import { withAddresses, withoutAddresses } from "../../sim/addresses.ts";
import type { SimHost } from "../../sim/host.ts";
import type { Cable, CableOptions } from "../../sim/lan.ts";
import { addressOn } from "../topology.ts";
import { microseconds, ppmOf, type RealServerState, reorderUs, type World } from "./build.ts";
import type { SimDirector } from "./directors.ts";

interface Victim {
  readonly fault: LabFault;
  readonly host: SimHost;
  readonly world: World;
  readonly director: SimDirector | undefined;
  readonly directors: readonly SimDirector[];
  readonly realServer: RealServerState | undefined;
  /** Policies were applied before the story began. */
  readonly silenced: boolean;
}

export type RunFault = LabFault & { readonly action: "apply" | "undo" };
/** A run of vipward, which takes time. */
export const runs = (fault: LabFault): fault is RunFault => fault.action === "apply" || fault.action === "undo";

function edit({ host, realServer }: Victim, change: (facts: HostFacts) => HostFacts): void {
  if (realServer === undefined) host.change(change(host.facts));
  else realServer.silenced.changedByOthers(change);
}

/** The guard's business: what others do to the configuration of a host. */
export const drifts = ({ action }: LabFault): boolean =>
  action === "sysctl" || action === "add-vip" || action === "remove-vip";

/** What a fault makes of the cables it happens to. */
const ofCable: { readonly [Action in FaultAction]?: (value: number) => Partial<CableOptions> } = {
  loss: (value) => ({ lossPpm: ppmOf(value) }),
  duplicate: (value) => ({ duplicatePpm: ppmOf(value) }),
  // held back for long enough that later frames overtake
  reorder: (value) => ({ reorderPpm: ppmOf(value), reorderUs }),
  delay: (value) => ({ delayUs: microseconds(value) }),
  mtu: (value) => ({ mtuOctets: Math.max(68, Math.round(value)) }),
};

function recable({ lan }: World, cable: Cable, { action, value }: LabFault): boolean {
  const change = ofCable[action];
  if (change !== undefined) lan.setCable(cable, { ...cable.options, ...change(value) });
  return change !== undefined;
}

/** The same for the trunk of a switch. */
export function inflictOnUplink(world: World, uplink: Cable, fault: LabFault): void {
  if (recable(world, uplink, fault)) return;
  if (fault.action === "cut" || fault.action === "mend") uplink.up = fault.action === "mend";
}

const wireOf = (host: SimHost): string => host.nics[0]?.link ?? "eth0";

function restart({ host, world, director, realServer, silenced }: Victim): void {
  if (!host.down) return;
  if (director !== undefined) {
    director.restart();
    return;
  }
  host.restart();
  if (realServer === undefined) host.change(world.bareOf.get(host.name) ?? host.facts);
  else if (silenced && realServer.silenced.silence.plan !== undefined) realServer.silenced.boot();
  else host.change(realServer.naive);
}

/** One row a fault: a switch would say no more. */
const inflictions: { readonly [Action in FaultAction]?: (victim: Victim) => void } = {
  crash: ({ host, director, realServer }) => {
    (director ?? realServer?.silenced ?? host).crash();
    // what ailed its programs is over once they start again
    if (realServer !== undefined) realServer.web.status = undefined;
  },
  restart,
  pause: ({ host }) => host.pause(),
  resume: ({ host }) => host.resume(),
  cut: ({ host }) => host.plugged(false),
  mend: ({ host }) => host.plugged(true),
  drift: ({ host, fault }) => {
    host.drift(Math.round(fault.value));
  },
  sysctl: (v) => edit(v, (f) => ({ ...f, sysctls: { ...f.sysctls, [v.fault.name]: v.fault.value } })),
  "add-vip": (v) => {
    const { vips } = v.world.plot;
    edit(v, (f) => withAddresses(withoutAddresses(f, vips), wireOf(v.host), vips));
  },
  "remove-vip": (v) => edit(v, (f) => withoutAddresses(f, v.world.plot.vips)),
  flush: ({ host }) => host.neighbours.forget(),
  // on the master, as `vipward switchover` is; whoever gave up before is a candidate again
  "take-over": ({ director, directors }) => {
    director?.release();
    for (const other of directors) if (other !== director) other.switchOver();
  },
  release: ({ director }) => director?.switchOver(),
  speak: ({ host, world: { plot } }) => {
    if (!host.isAwake) return;
    host.neighbours.forget();
    for (const vip of plot.vips) host.sendUdp(vip, addressOn(plot.router, plot.lan), 40_000, 9);
  },
  announce: ({ host, world: { plot } }) => {
    if (!host.isAwake) return;
    for (const vip of plot.vips) for (const nic of host.nics.slice(0, 1)) host.arp.announce(nic, vip);
  },
  answers: ({ realServer, fault }) => {
    if (realServer !== undefined) realServer.web.status = fault.value === 0 ? undefined : fault.value;
  },
};

export function inflict(victim: Victim): void {
  const { host, world, fault } = victim;
  const recabled = host.nics.map((nic) => recable(world, world.lan.cableOf(nic.port), fault));
  if (!recabled.includes(true)) inflictions[fault.action]?.(victim);
}

const killed = (f: LabFault): string => (f.value > 0 ? `, and is killed at its call ${f.value}` : "");
const words: { readonly [Action in FaultAction]: (f: LabFault, cable: string) => string } = {
  crash: (f) => `${f.host} crashes`,
  restart: (f) => `${f.host} comes back`,
  pause: (f) => `${f.host} freezes`,
  resume: (f) => `${f.host} goes on`,
  cut: (f, cable) => `${f.host}'s ${cable} is cut`,
  mend: (f, cable) => `${f.host}'s ${cable} is mended`,
  loss: (f, cable) => `${f.host}'s ${cable} loses ${f.value} % of its frames`,
  duplicate: (f, cable) => `${f.host}'s ${cable} doubles ${f.value} % of its frames`,
  reorder: (f, cable) => `${f.host}'s ${cable} holds ${f.value} % of its frames back`,
  delay: (f, cable) => `${f.host}'s ${cable} takes ${f.value} ms`,
  mtu: (f, cable) => `${f.host}'s ${cable} throws away packets of more than ${f.value} octets`,
  drift: (f) => `${f.host}'s clock is ${f.value} millionths fast`,
  sysctl: (f) => `${f.host}: ${f.name} = ${f.value}`,
  "add-vip": (f) => `${f.host}: somebody puts the VIPs on its network card`,
  "remove-vip": (f) => `${f.host} loses the VIPs`,
  flush: (f) => `${f.host} forgets its neighbours`,
  "take-over": (f) => `${f.host} is told to take over`,
  release: (f) => `${f.host} is told to give up`,
  speak: (f) => `${f.host} says a word in the VIPs' name`,
  announce: (f) => `${f.host} announces the VIPs`,
  answers: (f) => `${f.host} answers ${f.value === 0 ? "as it should" : `everything with status ${f.value}`}`,
  apply: (f) => `${f.host}: somebody runs vipward apply${killed(f)}`,
  undo: (f) => `${f.host}: somebody runs vipward undo${killed(f)}`,
};
export const describeFault = (fault: LabFault, cable = "cable"): string => words[fault.action](fault, cable);
