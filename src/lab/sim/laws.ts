/** The laws as invariants of a running LAN: looked at with every frame and every change of a host's facts. */
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { ZERO_MAC } from "../../base/mac.ts";
import { answerArp } from "../../model/answerArp.ts";
import type { Host } from "../../model/host.ts";
import { linkIndex } from "../../model/host.ts";
import { receive } from "../../model/receive.ts";
import type { Frame } from "../../sim/frame.ts";
import type { World } from "./build.ts";
import type { Standby } from "./standby.ts";

export const lawNames = ["one owner", "acceptance", "no leak", "no harm"] as const;
export type Law = (typeof lawNames)[number];

export interface Breach {
  readonly law: Law;
  readonly atMs: number;
  readonly host: string;
  readonly what: string;
}

/** Two directors may both answer for so long while one gives way: what VRRP itself allows (three intervals and skew). */
const settleUs = 4_000_000;

export class Laws {
  /** The first breach of each law by each host. */
  readonly breaches: Breach[] = [];
  readonly #world: World;
  readonly #standbys: readonly Standby[];
  readonly #vips: ReadonlySet<Ipv4>;
  readonly #asker: Ipv4;
  readonly #known = new Map<string, Host>();
  readonly onBreach: (breach: Breach) => void;

  constructor(world: World, standbys: readonly Standby[], onBreach: (breach: Breach) => void) {
    this.#world = world;
    this.#standbys = standbys;
    this.#vips = new Set(world.plot.vips);
    this.#asker = world.plot.client.links[0]?.addresses[0]?.address ?? ipv4("10.0.0.1");
    this.onBreach = onBreach;
  }

  #breach(law: Law, host: string, what: string): void {
    if (this.breaches.some((b) => b.law === law && b.host === host)) return;
    const breach = { law, atMs: Math.floor(this.#world.lan.nowUs / 1000), host, what };
    this.breaches.push(breach);
    this.onBreach(breach);
  }

  /** Laws 1 and 3, on the wire. */
  frame(from: string, frame: Frame): void {
    const { body } = frame;
    if (body.kind !== "arp" || !this.#vips.has(body.senderIp)) return;
    const vip = formatIpv4(body.senderIp);
    const director = this.#standbys.find((s) => s.options.host.name === from);
    const announces = body.senderIp === body.targetIp;
    if (director === undefined) {
      if (body.operation === 1 && !announces)
        this.#breach("no leak", from, `asks for ${formatIpv4(body.targetIp)} in the name of ${vip}`);
      else this.#breach("one owner", from, announces ? `announces ${vip}` : `answers for ${vip}`);
      return;
    }
    const nowUs = this.#world.lan.nowUs;
    // behind a cut cable is another broadcast domain
    const wired = (s: Standby): boolean =>
      s.options.host.nics.some((nic) => this.#world.lan.cableOf(nic.port).up) && !s.options.host.isPaused;
    const owners = this.#standbys.filter((s) => s.active && !s.options.host.down && wired(s));
    if (owners.length < 2) return;
    const overlapUs = nowUs - Math.max(...owners.map((o) => o.sinceUs));
    if (overlapUs > settleUs)
      this.#breach("one owner", from, `speaks for ${vip} while ${owners.length} directors hold it`);
  }

  /** Laws 2 and 4, of hosts whose facts have changed since they were looked at last. */
  hosts(): void {
    for (const { host, plot, subject } of this.#world.realServers) {
      if (host.down || this.#known.get(host.name) === host.model) continue;
      this.#known.set(host.name, host.model);
      this.#acceptance(host.name, host.model, plot.host.links[0]?.name ?? "eth0", subject.rip);
    }
  }

  #acceptance(name: string, model: Host, link: string, rip: Ipv4): void {
    const { plot } = this.#world;
    const index = linkIndex(model, link);
    for (const { service } of plot.services) {
      const packet = {
        source: this.#asker,
        destination: service.vip,
        protocol: "tcp",
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
        this.#breach(
          "acceptance",
          name,
          `does not take packets for ${formatIpv4(service.vip)} (${verdict.rule}: ${verdict.because})`,
        );
    }
    const router = plot.router.links.find((l) => l.wire === plot.realServers.find((r) => r.host.name === name)?.wire);
    const answer = answerArp(model, {
      link: index,
      frame: "broadcast",
      operation: 1,
      senderMac: router?.mac ?? ZERO_MAC,
      senderIp: router?.addresses[0]?.address ?? this.#asker,
      targetMac: ZERO_MAC,
      targetIp: rip,
    });
    if (answer.kind !== "reply")
      this.#breach(
        "no harm",
        name,
        `its own ${formatIpv4(rip)} is not answered for (${answer.rule}: ${answer.because})`,
      );
  }
}
