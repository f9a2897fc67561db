/** The laws as invariants of a running LAN: looked at with every frame and every change of a host's facts. */
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { ZERO_MAC } from "../../base/mac.ts";
import { answerArp } from "../../model/answerArp.ts";
import type { Host } from "../../model/host.ts";
import { linkIndex } from "../../model/host.ts";
import { receive } from "../../model/receive.ts";
import type { Frame } from "../../sim/frame.ts";
import type { Cable } from "../../sim/lan.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { together, type World } from "./build.ts";
import type { SimDirector } from "./directors.ts";

export const lawNames = ["one owner", "acceptance", "no leak", "no harm", "reversible"] as const;
export type Law = (typeof lawNames)[number];

export interface Breach {
  readonly law: Law;
  readonly atMs: number;
  readonly host: string;
  readonly what: string;
}

export interface LawsOptions {
  readonly world: World;
  readonly directors: readonly SimDirector[];
  /** Two directors may both answer for so long while one gives way: what VRRP itself allows. */
  readonly settleUs: number;
  /** Virtual time since the story began. */
  readonly nowMs: () => number;
  readonly onBreach: (breach: Breach) => void;
}

/** Longer than this an answer may be late rather than missing. */
const promptUs = 100_000;
const isClear = ({ options }: Cable): boolean => options.lossPpm === 0 && options.delayUs <= promptUs;
/** Awake, and what it says and hears gets through. */
export function isSound({ hosts, lan }: World, name: string): boolean {
  const host = hosts.get(name);
  const cables = host?.nics.map((nic) => lan.cableOf(nic.port)) ?? [];
  return host?.isAwake === true && cables.every((cable) => cable.up && isClear(cable));
}
const hasSoundUplinks = ({ uplinks }: World): boolean => [...uplinks.values()].every(isClear);

export class Laws {
  /** The first breach of each law by each host. */
  readonly breaches: Breach[] = [];
  readonly #world: World;
  readonly #directors: readonly SimDirector[];
  readonly #options: LawsOptions;
  readonly #vips: ReadonlySet<Ipv4>;
  readonly #asker: Ipv4;
  readonly #known = new Map<string, Host>();
  /** Nothing counts before the story begins. */
  watching = false;

  constructor(options: LawsOptions) {
    const { world } = options;
    this.#options = options;
    this.#world = world;
    this.#directors = options.directors;
    this.#vips = new Set(world.plot.vips);
    this.#asker = world.plot.client.links[0]?.addresses[0]?.address ?? ipv4("10.0.0.1");
  }

  #disturbedUs = 0;
  /** Directors may be about to find out anew who is master. */
  disturbed(): void {
    this.#disturbedUs = this.#world.lan.nowUs;
  }

  readonly #healedBy = new Map<string, number>();
  /** Somebody changed a host that is put right within that time: what its laws say counts again after it. */
  drifted(host: string, healingUs: number): void {
    const { lan } = this.#world;
    this.#healedBy.set(host, lan.nowUs + healingUs);
    lan.at(lan.nowUs + healingUs, () => this.hosts());
  }
  #isBeingHealed(host: string): boolean {
    return this.#world.lan.nowUs < (this.#healedBy.get(host) ?? 0);
  }

  /** Law 5 is told from outside: whoever undoes knows whether all is back. */
  breach(law: Law, host: string, what: string): void {
    if (!this.watching || this.breaches.some((b) => b.law === law && b.host === host)) return;
    const breach = { law, atMs: this.#options.nowMs(), host, what };
    this.breaches.push(breach);
    this.#options.onBreach(breach);
  }

  /** Of VIPs: since when nobody answers. */
  readonly #unanswered = new Map<Ipv4, number>();
  /** Law 1 from the other side: the router is about to ask for every VIP, as it did before. */
  asked(): void {
    const { lan, plot } = this.#world;
    if (!isSound(this.#world, plot.router.name) || !hasSoundUplinks(this.#world)) {
      // what may not have been asked may not have been answered
      this.#unanswered.clear();
      return;
    }
    for (const vip of this.#vips) {
      const waitsUs = this.#unanswered.get(vip) ?? lan.nowUs;
      this.#unanswered.set(vip, waitsUs);
      const sinceUs = Math.max(waitsUs, this.#disturbedUs, ...this.#directors.map((d) => d.changedUs));
      if (lan.nowUs - sinceUs <= this.#options.settleUs) continue;
      const able = this.#directors.find(
        (d) =>
          d.isThere &&
          isSound(this.#world, d.name) &&
          together(this.#world, d.name, plot.router.name) &&
          d.standsFor(vip),
      );
      if (able !== undefined)
        this.breach("one owner", able.name, `does not answer for ${formatIpv4(vip)}, and nobody else does`);
    }
  }

  /** Laws 1 and 3, on the wire. */
  frame(from: string, frame: Frame): void {
    const { body } = frame;
    if (body.kind !== "arp" || !this.#vips.has(body.senderIp)) return;
    this.#unanswered.delete(body.senderIp);
    const vip = formatIpv4(body.senderIp);
    const director = this.#directors.find((d) => d.name === from);
    const announces = body.senderIp === body.targetIp;
    if (director === undefined) {
      if (this.#isBeingHealed(from)) return;
      if (body.operation === 1 && !announces)
        this.breach("no leak", from, `asks for ${formatIpv4(body.targetIp)} in the name of ${vip}`);
      else this.breach("one owner", from, announces ? `announces ${vip}` : `answers for ${vip}`);
      return;
    }
    // behind a cut cable is another broadcast domain
    const owners = this.#directors.filter(
      (d) => d.isThere && d.holds(body.senderIp) !== undefined && together(this.#world, d.name, from),
    );
    const others = owners.filter((d) => d !== director);
    if (others.length === 0) return;
    const sinceUs = Math.max(this.#disturbedUs, ...this.#directors.map((d) => d.changedUs));
    if (this.#world.lan.nowUs - sinceUs > this.#options.settleUs)
      this.breach(
        "one owner",
        from,
        owners.length > 1
          ? `speaks for ${vip} while ${owners.length} directors hold it`
          : `speaks for ${vip}, which ${others[0]?.name} holds`,
      );
  }

  /** Laws 2 and 4, of hosts whose facts have changed since they were looked at last. */
  hosts(): void {
    for (const { host, plot, rip, silenced } of this.#world.realServers) {
      if (host.down || this.#known.get(host.name) === host.model || this.#isBeingHealed(host.name)) continue;
      this.#known.set(host.name, host.model);
      const link = plot.host.links[0]?.name ?? "eth0";
      // one that is being changed, or was undone, promises to serve nobody
      if (silenced.inService) this.#acceptance(host.name, host.model, link, rip);
      this.#harm(host.name, host.model, link, rip);
    }
  }

  #acceptance(name: string, model: Host, link: string, rip: Ipv4): void {
    const { plot } = this.#world;
    const index = linkIndex(model, link);
    const services = [...plot.services.map((s) => s.service), ...plot.datagrams];
    for (const service of services.filter((s) => s.realServers.some((server) => server.name === name))) {
      const packet = {
        source: this.#asker,
        destination: service.vip,
        protocol: service.protocol === PROTOCOL.udp ? "udp" : "tcp",
        sourcePort: 40_000,
        destinationPort: service.port,
      };
      const verdict = receive(model, {
        ...(plot.forwarding === "tun"
          ? { source: undefined, destination: rip, protocol: "ipip", inner: packet }
          : packet),
        link: index,
        frame: "unicast",
      });
      if (verdict.kind !== "deliver")
        this.breach(
          "acceptance",
          name,
          `does not take packets for ${formatIpv4(service.vip)} (${verdict.rule}: ${verdict.because})`,
        );
    }
  }

  #harm(name: string, model: Host, link: string, rip: Ipv4): void {
    const { plot } = this.#world;
    const router = plot.router.links.find((l) => l.wire === plot.realServers.find((r) => r.host.name === name)?.wire);
    const answer = answerArp(model, {
      link: linkIndex(model, link),
      frame: "broadcast",
      operation: 1,
      senderMac: router?.mac ?? ZERO_MAC,
      senderIp: router?.addresses[0]?.address ?? this.#asker,
      targetMac: ZERO_MAC,
      targetIp: rip,
    });
    if (answer.kind !== "reply")
      this.breach(
        "no harm",
        name,
        `its own ${formatIpv4(rip)} is not answered for (${answer.rule}: ${answer.because})`,
      );
  }
}
