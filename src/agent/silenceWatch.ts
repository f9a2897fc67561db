/** Asks who answers for the VIPs, link by link, and learns which MAC is whose. */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import { type Mac, parseMac, ZERO_MAC } from "../base/mac.ts";
import type { Cluster, Director, HostAddress } from "../cluster/cluster.ts";
import {
  guiltyNames,
  initialSilence,
  type SilenceConfig,
  type SilenceState,
  silenceDeadlineMs,
  stepSilence,
} from "../machine/health/silence.ts";
import type { Arp } from "../wire/arp.ts";
import { arpRequest } from "../wire/frame.ts";
import type { AgentEvent } from "./event.ts";

export interface SilenceWatchOptions {
  readonly sendFrame: (link: string, frame: Uint8Array) => void;
  readonly macOf: (link: string) => Mac | undefined;
  readonly report: (event: AgentEvent) => void;
}
interface Wire {
  readonly link: string;
  readonly mac: Mac;
  /** Asks in this name, never in a VIP's. */
  readonly own: Ipv4;
  readonly vips: readonly Ipv4[];
  /** Own addresses of directors and real servers on this link. */
  readonly hosts: ReadonlyMap<Ipv4, { readonly name: string; readonly isDirector: boolean }>;
  readonly macs: Map<Ipv4, Mac>;
  state: SilenceState;
  learnAtMs: number;
}

/** Who is who is asked again so often; the first time a second before the first question about a VIP. */
const learnEveryMs = 30_000;
const learnFirstMs = 1_000;

export class SilenceWatch {
  readonly #options: SilenceWatchOptions;
  #wires: Wire[] = [];
  #intervalMs = 5_000;
  #virtualMacs: readonly Mac[] = [];
  /** Changed since it was asked for. */
  changed = false;

  constructor(options: SilenceWatchOptions) {
    this.#options = options;
  }

  load(cluster: Cluster, director: Director, nowMs: number): void {
    this.#intervalMs = cluster.silenceCheck.intervalMs;
    // RFC 9568 section 7.3: a peer may answer with the virtual router's MAC.
    this.#virtualMacs = cluster.failover.instances.flatMap(
      ({ id }) => parseMac(`00:00:5e:00:01:${id.toString(16).padStart(2, "0")}`) ?? [],
    );
    const before = new Map(this.#wires.map((w) => [w.own, w])); // a link may have several
    // Several own addresses of one network hear the same answers: one asks.
    const isFirstThere = (own: HostAddress): boolean =>
      own === director.addresses.find((a) => a.interface === own.interface && a.network.name === own.network.name);
    this.#wires = director.addresses.flatMap((own): Wire[] => {
      const mac = this.#options.macOf(own.interface);
      const vips = cluster.vips.filter((v) => v.network.name === own.network.name).map((v) => v.address);
      if (mac === undefined || vips.length === 0 || !isFirstThere(own)) return [];
      const hosts = new Map<Ipv4, { name: string; isDirector: boolean }>();
      for (const host of [...cluster.realServers, ...cluster.directors])
        for (const a of host.addresses)
          if (a.network.name === own.network.name && a.address !== own.address)
            hosts.set(a.address, { name: host.name, isDirector: cluster.directors.some((d) => d.name === host.name) });
      const old = before.get(own.address);
      const state = old?.state ?? initialSilence(nowMs + learnFirstMs);
      const wire = { link: own.interface, mac, own: own.address, vips, hosts, macs: old?.macs ?? new Map<Ipv4, Mac>() };
      return [{ ...wire, state, learnAtMs: nowMs }];
    });
    this.changed = true;
  }

  #configOf(wire: Wire): SilenceConfig {
    const owners = new Set<Mac>([wire.mac, ...this.#virtualMacs]);
    const names = new Map<Mac, string>();
    for (const [address, mac] of wire.macs) {
      const host = wire.hosts.get(address);
      if (host === undefined) continue;
      if (host.isDirector) owners.add(mac);
      names.set(mac, host.name);
    }
    return { vips: wire.vips, intervalMs: this.#intervalMs, owners, names };
  }

  heardArp(link: string, arp: Arp, nowMs: number): void {
    for (const wire of this.#wires) {
      if (wire.link !== link) continue;
      if (wire.hosts.has(arp.senderIp) && arp.senderMac !== ZERO_MAC) wire.macs.set(arp.senderIp, arp.senderMac);
      if (wire.vips.includes(arp.senderIp)) this.#step(wire, { kind: "arp", arp }, nowMs);
    }
  }
  #step(wire: Wire, event: Parameters<typeof stepSilence>[2], nowMs: number): void {
    const step = stepSilence(this.#configOf(wire), wire.state, event, nowMs);
    wire.state = step.state;
    for (const effect of step.effects) {
      if (effect.kind === "ask") this.#ask(wire, effect.vip);
      else if (effect.kind === "guilty") {
        const remedy = "on that machine: vipward check, then vipward apply";
        const subject = effect.found.name ?? effect.found.mac;
        this.#options.report({ level: "alarm", code: "silence/broken", subject, text: effect.reason, remedy });
        this.changed = true;
      } else {
        const { found } = effect;
        const text = `${found.name ?? found.mac} no longer ${found.how === "answers" ? "answers for" : "names"} ${formatIpv4(found.vip)}`;
        this.#options.report({ level: "info", code: "silence/kept", subject: found.name ?? found.mac, text });
        this.changed = true;
      }
    }
  }
  #ask(wire: Wire, targetIp: Ipv4): void {
    this.#options.sendFrame(wire.link, arpRequest({ senderMac: wire.mac, senderIp: wire.own, targetIp }));
  }

  tick(nowMs: number): void {
    for (const wire of this.#wires) {
      if (nowMs >= wire.learnAtMs) {
        wire.learnAtMs = nowMs + learnEveryMs;
        for (const address of wire.hosts.keys()) this.#ask(wire, address);
      }
      if (nowMs >= wire.state.nextAtMs) this.#step(wire, { kind: "tick" }, nowMs);
    }
  }
  get deadlineMs(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const wire of this.#wires) deadline = Math.min(deadline, wire.learnAtMs, silenceDeadlineMs(wire, wire.state));
    return deadline;
  }

  /** Real servers that are not silent, with the sentence that says so. */
  guilty(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const wire of this.#wires)
      for (const [name, vips] of guiltyNames(wire.state))
        found.set(name, `silence: ${name} answers ARP for ${vips.map(formatIpv4).join(", ")}`);
    return found;
  }
  view(): {
    readonly link: string;
    readonly name: string | undefined;
    readonly mac: Mac;
    readonly vip: Ipv4;
    readonly how: string;
    readonly seen: number;
  }[] {
    return this.#wires.flatMap((wire) =>
      [...wire.state.guilty.values()].map(({ name, mac, vip, how, seen }) => ({
        link: wire.link,
        name,
        mac,
        vip,
        how,
        seen,
      })),
    );
  }
}
