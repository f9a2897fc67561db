/** What each fault of a scenario does to a simulated host, and how it is told. */
import type { LabFault } from "../../cluster/cluster.ts";
import type { FaultAction } from "../../cluster/words.ts";
import type { HostFacts } from "../../model/facts.ts";
import { withAddresses, withoutAddresses } from "../../sim/addresses.ts";
import type { SimHost } from "../../sim/host.ts";
import type { CableOptions } from "../../sim/lan.ts";
import { addressOn } from "../topology.ts";
import type { RealServerState, World } from "./build.ts";
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

function recable({ host, world: { lan } }: Victim, options: Partial<CableOptions>): void {
  for (const nic of host.nics) {
    const cable = lan.cableOf(nic.port);
    lan.setCable(cable, { ...cable.options, ...options });
  }
}

const ppm = (percent: number): number => Math.round(Math.min(100, Math.max(0, percent)) * 10_000);
const wireOf = (host: SimHost): string => host.nics[0]?.link ?? "eth0";

function restart({ host, director, realServer, silenced }: Victim): void {
  if (!host.down) return;
  if (director !== undefined) {
    director.restart();
    return;
  }
  host.restart();
  if (realServer === undefined) return;
  if (silenced && realServer.silenced.silence.plan !== undefined) realServer.silenced.boot();
  else host.change(realServer.naive);
}

/** One row a fault: a switch would say no more. */
export const inflictions: { readonly [Action in FaultAction]?: (victim: Victim) => void } = {
  crash: ({ host, director }) => (director === undefined ? host.crash() : director.crash()),
  restart,
  pause: ({ host }) => host.pause(),
  resume: ({ host }) => host.resume(),
  cut: ({ host }) => host.plugged(false),
  mend: ({ host }) => host.plugged(true),
  loss: (v) => recable(v, { lossPpm: ppm(v.fault.value) }),
  duplicate: (v) => recable(v, { duplicatePpm: ppm(v.fault.value) }),
  // held back for long enough that later frames overtake
  reorder: (v) => recable(v, { reorderPpm: ppm(v.fault.value), reorderUs: 2000 }),
  delay: (v) => recable(v, { delayUs: Math.max(1, Math.round(v.fault.value * 1000)) }),
  mtu: (v) => recable(v, { mtuOctets: Math.max(68, Math.round(v.fault.value)) }),
  drift: ({ host, fault }) => {
    host.driftPpm = Math.round(fault.value);
  },
  sysctl: (v) => edit(v, (f) => ({ ...f, sysctls: { ...f.sysctls, [v.fault.name]: v.fault.value } })),
  "add-vip": (v) => {
    const { vips } = v.world.plot;
    edit(v, (f) => withAddresses(withoutAddresses(f, vips), wireOf(v.host), vips));
  },
  "remove-vip": (v) => edit(v, (f) => withoutAddresses(f, v.world.plot.vips)),
  flush: ({ host }) => host.forgetNeighbours(),
  // on the master, as `vipward switchover` is; whoever gave up before is a candidate again
  "take-over": ({ director, directors }) => {
    director?.release();
    for (const other of directors) if (other !== director) other.switchOver();
  },
  release: ({ director }) => director?.switchOver(),
  speak: ({ host, world: { plot } }) => {
    host.forgetNeighbours();
    for (const vip of plot.vips) host.sendUdp(vip, addressOn(plot.router, plot.lan), 40_000, 9);
  },
  announce: ({ host, world: { plot } }) => {
    for (const vip of plot.vips) for (const nic of host.nics.slice(0, 1)) host.announceAddress(nic, vip);
  },
};

const killed = (f: LabFault): string => (f.value > 0 ? `, and is killed at its call ${f.value}` : "");
const words: { readonly [Action in FaultAction]: (f: LabFault) => string } = {
  crash: (f) => `${f.host} crashes`,
  restart: (f) => `${f.host} comes back`,
  pause: (f) => `${f.host} freezes`,
  resume: (f) => `${f.host} goes on`,
  cut: (f) => `${f.host}'s cable is cut`,
  mend: (f) => `${f.host}'s cable is mended`,
  loss: (f) => `${f.host}'s cable loses ${f.value} % of its frames`,
  duplicate: (f) => `${f.host}'s cable doubles ${f.value} % of its frames`,
  reorder: (f) => `${f.host}'s cable holds ${f.value} % of its frames back`,
  delay: (f) => `${f.host}'s cable takes ${f.value} ms`,
  mtu: (f) => `${f.host}'s cable throws away packets of more than ${f.value} octets`,
  drift: (f) => `${f.host}'s clock is ${f.value} millionths fast`,
  sysctl: (f) => `${f.host}: ${f.name} = ${f.value}`,
  "add-vip": (f) => `${f.host}: somebody puts the VIPs on its network card`,
  "remove-vip": (f) => `${f.host} loses the VIPs`,
  flush: (f) => `${f.host} forgets its neighbours`,
  "take-over": (f) => `${f.host} is told to take over`,
  release: (f) => `${f.host} is told to give up`,
  speak: (f) => `${f.host} says a word in the VIPs' name`,
  announce: (f) => `${f.host} announces the VIPs`,
  apply: (f) => `${f.host}: somebody runs vipward apply${killed(f)}`,
  undo: (f) => `${f.host}: somebody runs vipward undo${killed(f)}`,
};
export const describeFault = (fault: LabFault): string => words[fault.action](fault);
