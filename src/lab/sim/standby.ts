/**
 * Directors that watch each other, in real packets on the LAN: the active one says so once a second, the standby takes
 * over when it has heard nothing for three intervals and its skew. The rules are VRRP's (RFC 9568 section 6.4) cut down
 * to two states; src/machine/vrrp is to take this place when the agent runs on the simulator.
 */
import type { Ipv4 } from "../../base/ipv4.ts";
import type { EngineService } from "../../ports/engine.ts";
import type { Director } from "../../sim/director.ts";
import type { IpBody } from "../../sim/frame.ts";
import type { SimHost } from "../../sim/host.ts";
import { holding, withoutAddresses } from "./build.ts";

const port = 112;
const intervalUs = 1_000_000;
const garpCount = 5;
const garpEveryUs = 100_000;

export interface StandbyOptions {
  readonly host: SimHost;
  readonly ipvs: Director;
  readonly link: string;
  readonly dip: Ipv4;
  readonly peers: readonly Ipv4[];
  readonly vips: readonly Ipv4[];
  /** Higher wins; of two equal ones the higher DIP. */
  readonly priority: number;
  readonly services: readonly EngineService[];
  readonly tell: (text: string) => void;
}

export class Standby {
  readonly options: StandbyOptions;
  active: boolean;
  /** Since the last takeover, or release. */
  sinceUs = 0;
  #heardUs = 0;
  #turn = 0;
  #announcedUs = 0;

  constructor(options: StandbyOptions, active: boolean) {
    this.options = options;
    this.active = active;
    options.host.udp.set(port, (packet) => this.#hear(packet));
    if (active) options.ipvs.program(options.services);
  }

  get #downUs(): number {
    return 3 * intervalUs + Math.floor(((256 - this.options.priority) * intervalUs) / 256);
  }

  start(): void {
    this.#heardUs = this.options.host.lan.nowUs;
    this.#tick(++this.#turn);
  }

  #tick(turn: number): void {
    const { host } = this.options;
    const { lan } = host;
    if (turn !== this.#turn) return;
    if (!host.down && !host.isPaused) {
      if (this.active) this.#say();
      else if (lan.nowUs - this.#heardUs >= this.#downUs) {
        this.takeOver(`${host.name} has heard nothing for ${(this.#downUs / 1_000_000).toFixed(1)} s`);
        this.#say();
      }
    }
    // a standby sleeps until it would take over; what it hears meanwhile only puts that off
    const wakeUs = this.active || host.isPaused || host.down ? intervalUs : this.#heardUs + this.#downUs - lan.nowUs;
    const drifted = Math.max(1000, Math.round(wakeUs * (1 - host.driftPpm / 1_000_000)));
    lan.at(lan.nowUs + drifted, () => this.#tick(turn));
  }

  #say(): void {
    const { host, dip, peers, priority } = this.options;
    for (const peer of peers) host.sendUdp(dip, peer, port, port, new Uint8Array([priority]));
  }

  #hear(packet: IpBody): undefined {
    const { host, priority, dip } = this.options;
    const theirs = packet.payload[0] ?? 0;
    const stronger = theirs > priority || (theirs === priority && packet.source > dip);
    if (!this.active) this.#heardUs = host.lan.nowUs;
    else if (stronger) this.release(`${host.name} hears a stronger director and gives way`);
    else if (host.lan.nowUs - this.#announcedUs > intervalUs / 2) {
      // whoever was weaker has told the neighbours another MAC
      this.#say();
      this.#announce(garpCount);
    }
    return undefined;
  }

  takeOver(why: string): void {
    const { host, ipvs, link, vips, services, tell } = this.options;
    if (this.active || host.down) return;
    this.active = true;
    this.sinceUs = host.lan.nowUs;
    tell(`${why}: it takes over`);
    host.change(holding(host.facts, link, vips));
    ipvs.program(services);
    this.#announce(garpCount);
    this.#tick(++this.#turn);
  }

  #announce(left: number): void {
    const { host, link, vips } = this.options;
    const nic = host.nics.find((n) => n.link === link);
    if (left === 0 || !this.active || nic === undefined) return;
    this.#announcedUs = host.lan.nowUs;
    for (const vip of vips) host.announceAddress(nic, vip);
    host.lan.at(host.lan.nowUs + garpEveryUs, () => this.#announce(left - 1));
  }

  release(why: string): void {
    const { host, ipvs, vips, tell } = this.options;
    if (!this.active) return;
    this.active = false;
    this.sinceUs = host.lan.nowUs;
    this.#heardUs = host.lan.nowUs;
    tell(why);
    host.change(withoutAddresses(host.facts, vips));
    ipvs.clear();
    // one last word, so that the winner announces after us
    this.#say();
    this.#tick(++this.#turn);
  }

  /** After a crash: comes back as a standby, without the VIPs. */
  rebooted(): void {
    const { host, ipvs, vips } = this.options;
    this.active = false;
    host.change(withoutAddresses(host.facts, vips));
    ipvs.clear();
    this.start();
  }
}
