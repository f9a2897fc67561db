/**
 * Failover on one director: hands packets and deadlines to the VRRP machines and the announcers, and has their effects
 * performed, in order. No clock, no socket. It runs in a thread of its own, so nothing here knows of health or IPVS.
 */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac } from "../base/mac.ts";
import {
  type AnnouncerConfig,
  type AnnouncerEvent,
  type AnnouncerState,
  announcerDeadlineMs,
  conflictAgainMs,
  conflictCount,
  initialAnnouncer,
  stepAnnouncer,
} from "../machine/announcer.ts";
import { groupDeadlineMs, initialGroup, stepGroup } from "../machine/vrrpGroup.ts";
import { isOfOurRouter } from "../machine/vrrpReceive.ts";
import { downMs, priorityOf, skewMs } from "../machine/vrrpTimers.ts";
import type { HeardAdvert, Phase, VrrpConfig, VrrpEffect, VrrpEvent, VrrpState } from "../machine/vrrpTypes.ts";
import type { FailoverPorts } from "../ports/failover.ts";
import type { Arp } from "../wire/arp.ts";
import { arpAnnouncement, arpReply, arpRequest } from "../wire/frame.ts";
import { decodeIpv4, PROTOCOL } from "../wire/ipv4.ts";
import { decodeVrrp, vrrpPacket } from "../wire/vrrp.ts";
import type { FailoverConfig, InstanceConfig, SoleConfig } from "./failoverConfig.ts";
import { type InstanceStatus, instanceStatus, type LastTransition } from "./failoverStatus.ts";

/** What stands on the links when we begin: VIPs among it are what an earlier run of ours left. */
export interface Beginning {
  readonly addresses: ReadonlyMap<string, ReadonlySet<Ipv4>>;
  readonly up: ReadonlyMap<string, boolean>;
}

/**
 * The VIPs of one who hands over stay on the link until the successor announces them, or until it was heard and this
 * much longer: its announcement may be lost.
 */
export const graceMs = 100;
/** With adverts many seconds apart the VIPs do not wait for the successor that long: a stop must end. */
export const longestHandOverMs = 3_000;
/** From then on what still comes for the VIPs is forwarded for so long: neighbours that learn slowly, the relay below. */
export const settleMs = 2_000;
/** The successor relays packets of connections that it does not know: less than `settleMs`, or they would circle. */
export const relayMs = 1_500;

/** VIPs that we give to another director, unless we are master again before. */
interface Leaving {
  readonly vips: readonly Ipv4[];
  /** "held": on the link still. "forwarded": off the link. */
  readonly stage: "held" | "forwarded";
  readonly heard: boolean;
  readonly dueAtMs: number;
}

interface Member {
  config: InstanceConfig;
  announcer: AnnouncerState;
  last: LastTransition | undefined;
  /** VIPs that stood on the link when we began and are not ours by now. */
  stale: readonly Ipv4[];
  /** When each conflict was told last. */
  readonly conflictsToldAtMs: Map<string, number>;
  held: ReadonlySet<Ipv4>;
  leaving: Leaving | undefined;
  /** From whom we are about to take over, and at what time. */
  succession: { readonly predecessor: Ipv4; readonly atMs: number } | undefined;
  tracked: { readonly priorityDelta: number; readonly fault: string | undefined };
  /** Handed over by a person: the lowest priority until that is taken back. */
  switchedOver: boolean;
}
interface Group {
  config: Map<string, VrrpConfig>;
  state: ReadonlyMap<string, VrrpState>;
}

const lowestDelta = -254;
/** A forger of sources must not fill the journal. */
const conflictLimit = 64;
const nothingAwaited: ReadonlyMap<string, readonly Ipv4[]> = new Map();

export class Failover {
  readonly #ports: FailoverPorts;
  #groups: Group[] = [];
  readonly #members = new Map<string, Member>();
  #sole: readonly SoleConfig[] = [];
  readonly #soleAnnouncers = new Map<string, AnnouncerState>();
  readonly #up = new Map<string, boolean>();
  /** Packets that no instance is meant by, by reason. */
  readonly strays: Record<string, number> = {};
  #stopping = false;

  constructor(ports: FailoverPorts) {
    this.#ports = ports;
  }

  start(config: FailoverConfig, beginning: Beginning, nowMs: number): void {
    for (const [link, up] of beginning.up) this.#up.set(link, up);
    for (const instances of config.groups) this.#begin(instances, beginning.addresses, nowMs);
    this.#holdSole(config.sole, nowMs);
  }

  #begin(instances: readonly InstanceConfig[], addresses: Beginning["addresses"], nowMs: number): void {
    const names = new Map(instances.map((i) => [i.vrrp.name, i.vrrp]));
    const group: Group = { config: names, state: initialGroup(names, { linkUp: true }) };
    this.#groups.push(group);
    for (const config of instances) {
      const there = addresses.get(config.link);
      this.#members.set(config.vrrp.name, {
        config,
        announcer: initialAnnouncer,
        last: undefined,
        stale: config.vrrp.vips.filter((vip) => there?.has(vip) === true),
        conflictsToldAtMs: new Map(),
        held: new Set(),
        leaving: undefined,
        succession: undefined,
        tracked: { priorityDelta: 0, fault: undefined },
        switchedOver: false,
      });
      if (this.#up.get(config.link) === false) this.#give(group, config.vrrp.name, { kind: "linkDown" }, nowMs);
    }
    this.#give(group, undefined, { kind: "start" }, nowMs);
    this.#adopt(group, instances, nowMs);
  }

  /**
   * All VIPs are here: we were master a moment ago, and the others have waited part of their time already. So listen
   * for one interval instead of three; whoever is master by now is heard within it.
   */
  #adopt(group: Group, instances: readonly InstanceConfig[], nowMs: number): void {
    const all = instances.every(({ vrrp }) => this.#member(vrrp.name).stale.length === vrrp.vips.length);
    if (!all) return;
    const state = new Map(group.state);
    for (const { vrrp } of instances) {
      const s = state.get(vrrp.name);
      if (s?.phase.kind !== "backup") continue;
      const takeOverAtMs = nowMs + vrrp.intervalMs + skewMs(vrrp.version, priorityOf(vrrp, s), vrrp.intervalMs);
      state.set(vrrp.name, { ...s, phase: { ...s.phase, takeOverAtMs: Math.min(s.phase.takeOverAtMs, takeOverAtMs) } });
      const reason = `the VIPs stand on ${this.#member(vrrp.name).config.link} from before: they stay while nobody else is heard`;
      this.#ports.report({ kind: "note", instance: vrrp.name, code: "adopted", reason });
    }
    group.state = state;
  }

  #member(name: string): Member {
    const member = this.#members.get(name);
    if (member === undefined) throw new RangeError(`no instance ${name}`);
    return member;
  }
  #groupOf(name: string): Group {
    const group = this.#groups.find((g) => g.config.has(name));
    if (group === undefined) throw new RangeError(`no instance ${name}`);
    return group;
  }
  has(name: string): boolean {
    return this.#members.has(name);
  }

  #give(group: Group, member: string | undefined, event: VrrpEvent, nowMs: number): void {
    const step = stepGroup(group.config, group.state, { member, event }, nowMs);
    group.state = step.state;
    for (const { member: name, effect } of step.effects) this.#perform(name, effect, nowMs);
  }

  #perform(name: string, effect: VrrpEffect, nowMs: number): void {
    const member = this.#member(name);
    const { link, vrrp } = member.config;
    switch (effect.kind) {
      case "sendAdvert":
        for (const to of effect.to)
          this.#ports.sendAdvert(
            link,
            vrrpPacket(effect.advert, { source: vrrp.address, destination: to }, effect.checksum),
            to,
          );
        return;
      case "addVips":
        this.#endLeaving(member);
        member.stale = [];
        member.held = new Set([...member.held, ...effect.vips]);
        this.#ports.addVips(link, effect.vips);
        return;
      case "removeVips":
        member.held = new Set([...member.held].filter((vip) => !effect.vips.includes(vip)));
        // Before anything else: who gives way must not defend the VIPs against the successor's announcement.
        this.#announce(name, { kind: "withdraw", vips: effect.vips }, nowMs);
        this.#leave(member, effect.vips, nowMs);
        return;
      case "announce":
        this.#announce(name, { kind: "announce", vips: effect.vips }, nowMs);
        return;
      case "defend":
        this.#announce(name, { kind: "defend", vips: effect.vips }, nowMs);
        return;
      case "verifyAnnouncement":
        this.#announce(name, { kind: "verify", vips: effect.vips }, nowMs);
        return;
      case "transition": {
        const { kind: _, ...rest } = effect;
        member.last = { ...rest, atMs: nowMs };
        this.#ports.report({ ...effect, instance: name });
        return;
      }
      case "conflict":
        this.#tellConflict(member, effect, nowMs);
        return;
      case "note":
        this.#ports.report({ kind: "note", instance: name, code: effect.code, reason: effect.reason });
        return;
    }
  }

  /** One who never hears us comes with each of his adverts: told once a minute. */
  #tellConflict(member: Member, conflict: Extract<VrrpEffect, { kind: "conflict" }>, nowMs: number): void {
    const told = member.conflictsToldAtMs;
    for (const [key, atMs] of told) if (nowMs - atMs >= conflictAgainMs) told.delete(key);
    const key = `${conflict.what} ${conflict.source}`;
    if (told.has(key) || told.size >= conflictLimit) return;
    told.set(key, nowMs);
    this.#ports.report({ ...conflict, kind: "vrrpConflict", instance: member.config.vrrp.name });
  }

  /** No longer master. Where somebody else is, or will be, the VIPs go when he has them, and not before. */
  #leave(member: Member, vips: readonly Ipv4[], nowMs: number): void {
    const { link, vrrp } = member.config;
    const phase = this.#groupOf(vrrp.name).state.get(vrrp.name)?.phase.kind;
    if (phase === "master" || this.#up.get(link) === false) {
      this.#ports.removeVips(link, vips); // no longer in the file; or nobody can reach us anyway
      return;
    }
    // The successor relays to us what it does not know. Sent on to whom we succeeded, which may be the same, it would circle.
    if (member.succession !== undefined) this.#ports.endRelay(vrrp.vips, member.succession.predecessor);
    member.succession = undefined;
    const heard = phase === "backup";
    const patienceMs = Math.min(longestHandOverMs, skewMs(vrrp.version, 1, vrrp.intervalMs) + 2 * graceMs);
    const waitMs = heard ? graceMs : patienceMs;
    member.leaving = { vips, stage: "held", heard, dueAtMs: nowMs + waitMs };
    const reason = `the VIPs stay up to ${Math.round(waitMs)} ms, until the successor announces them`;
    this.#ports.report({ kind: "note", instance: vrrp.name, code: "handing-over", reason });
    this.#ports.report({ kind: "leaving", instance: vrrp.name, over: false });
  }

  /** The successor has the VIPs: one owner answers for them, and what is on its way to us still arrives. */
  #yield(member: Member, leaving: Leaving, nowMs: number): void {
    member.leaving = { ...leaving, stage: "forwarded", dueAtMs: nowMs + settleMs };
    this.#ports.yieldVips(member.config.link, leaving.vips);
    const reason = `the VIPs are off the link; what still comes for them is forwarded for ${settleMs} ms`;
    this.#ports.report({ kind: "note", instance: member.config.vrrp.name, code: "yielded", reason });
  }

  #remove(member: Member, { vips }: Leaving): void {
    this.#endLeaving(member);
    this.#ports.removeVips(member.config.link, vips);
    const reason = "the VIPs are taken away";
    this.#ports.report({ kind: "note", instance: member.config.vrrp.name, code: "handed-over", reason });
  }
  #endLeaving(member: Member): void {
    if (member.leaving === undefined) return;
    member.leaving = undefined;
    this.#ports.report({ kind: "leaving", instance: member.config.vrrp.name, over: true });
  }

  #announce(name: string, event: AnnouncerEvent, nowMs: number): void {
    const member = this.#member(name);
    const { announcer, link } = member.config;
    member.announcer = this.#stepAnnouncer(name, link, announcer, member.announcer, event, nowMs);
  }

  #stepAnnouncer(
    instance: string,
    link: string,
    config: AnnouncerConfig,
    state: AnnouncerState,
    event: AnnouncerEvent,
    nowMs: number,
  ): AnnouncerState {
    const step = stepAnnouncer(config, state, event, nowMs);
    for (const effect of step.effects) {
      if (effect.kind === "sendGarp") this.#ports.sendFrame(link, garp(effect.form, config.mac, effect.vip));
      else if (effect.kind === "askNeighbour")
        this.#ports.sendFrame(
          link,
          arpRequest({ senderMac: config.mac, senderIp: effect.vip, targetIp: effect.neighbour }),
        );
      else if (effect.kind === "conflict")
        this.#ports.report({ kind: "arpConflict", instance, vip: effect.vip, mac: effect.mac, reason: effect.reason });
      else this.#ports.report({ ...effect, instance });
    }
    return step.state;
  }

  #holdSole(sole: readonly SoleConfig[], nowMs: number): void {
    for (const before of this.#sole) {
      const now = sole.find((s) => s.name === before.name);
      const gone = before.vips.filter((vip) => now?.vips.includes(vip) !== true);
      if (gone.length > 0) this.#ports.removeVips(before.link, gone);
      if (now === undefined) this.#soleAnnouncers.delete(before.name);
    }
    for (const s of sole) {
      const held = this.#soleAnnouncers.get(s.name)?.held ?? new Set<Ipv4>();
      const fresh = s.vips.filter((vip) => !held.has(vip));
      this.#ports.addVips(s.link, s.vips);
      for (const event of [
        { kind: "announce", vips: fresh },
        { kind: "verify", vips: fresh },
      ] as const)
        this.#soleStep(s, event, nowMs);
    }
    this.#sole = sole;
  }
  #soleStep(s: SoleConfig, event: AnnouncerEvent, nowMs: number): void {
    const state = this.#soleAnnouncers.get(s.name) ?? initialAnnouncer;
    this.#soleAnnouncers.set(s.name, this.#stepAnnouncer(s.name, s.link, s.announcer, state, event, nowMs));
  }

  /** `packet`: a whole IPv4 packet of protocol 112, as a raw socket or a sniffer on this link gave it. */
  heardVrrp(link: string, packet: Uint8Array, nowMs: number): void {
    const outer = decodeIpv4(packet);
    if (!outer.ok) {
      this.#stray(outer.code);
      return;
    }
    const { source, destination, ttl, protocol, payloadOffset, payloadEnd } = outer.value;
    if (protocol !== PROTOCOL.vrrp) {
      this.#stray("vrrp/protocol");
      return;
    }
    const around = { source, destination, ttl };
    const here = [...this.#members.values()].filter((m) => m.config.link === link);
    const anyTtl = here.some((m) => m.config.vrrp.unicastPeers?.includes(source) === true);
    const read = decodeVrrp(packet, around, payloadOffset, payloadEnd, { anyTtl });
    if (!read.ok) {
      this.#stray(read.code);
      for (const m of here)
        this.#give(
          this.#groupOf(m.config.vrrp.name),
          m.config.vrrp.name,
          { kind: "malformed", code: read.code },
          nowMs,
        );
      return;
    }
    const meant = here.filter((m) => m.config.vrrp.vrid === read.value.vrid);
    if (meant.length === 0) this.#stray("vrid");
    for (const member of meant) {
      const name = member.config.vrrp.name;
      const group = this.#groupOf(name);
      const before = group.state.get(name)?.phase;
      const advert = { ...read.value, source, ttl };
      this.#give(group, name, { kind: "advert", advert }, nowMs);
      if (!isOfOurRouter(member.config.vrrp, advert)) continue;
      this.#heardOther(member, group, advert, nowMs);
      this.#expectSuccession(member, before, group.state.get(name)?.phase, advert, nowMs);
    }
  }
  #stray(code: string): void {
    this.strays[code] = (this.strays[code] ?? 0) + 1;
  }

  /** Somebody else is master: VIPs that an earlier run left, or that wait for a successor, may go. */
  #heardOther(member: Member, group: Group, { source, priority }: HeardAdvert, nowMs: number): void {
    if (priority === 0) return;
    const { vrrp } = member.config;
    const { leaving } = member;
    if (leaving?.stage === "held" && !leaving.heard)
      member.leaving = { ...leaving, heard: true, dueAtMs: Math.min(leaving.dueAtMs, nowMs + graceMs) };
    const phase = group.state.get(vrrp.name)?.phase;
    // Heard, and not one from whom we are about to take over. Who cannot run takes over from nobody.
    const isMaster = phase?.kind === "initialize" || (phase?.kind === "backup" && phase.master !== undefined);
    if (member.stale.length === 0 || !isMaster) return;
    const reason = `${formatIpv4(source)} is master: VIPs left from before are taken away`;
    this.#ports.report({ kind: "note", instance: vrrp.name, code: "stale-vips", reason });
    this.#clearStale(member, []);
  }
  #clearStale(member: Member, kept: readonly Ipv4[]): void {
    const gone = member.stale.filter((vip) => !kept.includes(vip));
    if (gone.length > 0) this.#ports.removeVips(member.config.link, gone);
    member.stale = member.stale.filter((vip) => kept.includes(vip));
  }

  /** An advert that does not put our take-over off comes from the one whom we are about to succeed. */
  #expectSuccession(
    member: Member,
    before: Phase | undefined,
    after: Phase | undefined,
    advert: HeardAdvert,
    nowMs: number,
  ): void {
    if (before?.kind !== "backup" || after?.kind !== "backup") return;
    const atMs = after.takeOverAtMs;
    if (advert.priority !== 0 && atMs !== before.takeOverAtMs) return;
    const { vrrp } = member.config;
    const known = member.succession;
    if (known?.predecessor === advert.source && known.atMs === atMs) return;
    member.succession = { predecessor: advert.source, atMs };
    const forMs = atMs - nowMs + relayMs;
    this.#ports.relay(vrrp.vips, advert.source, forMs);
    this.#ports.report({ kind: "succeeding", instance: vrrp.name, predecessor: advert.source, forMs });
  }

  heardArp(link: string, arp: Arp, nowMs: number): void {
    for (const member of this.#members.values()) {
      if (member.config.link !== link) continue;
      const { leaving, succession } = member;
      // The predecessor's last answers are no second owner: it falls silent when it hears our announcement.
      const isPassing = succession !== undefined && nowMs - succession.atMs < settleMs && member.held.has(arp.senderIp);
      if (!isPassing) this.#announce(member.config.vrrp.name, { kind: "arp", arp }, nowMs);
      const isOther = arp.senderMac !== member.config.announcer.mac;
      if (leaving?.stage === "held" && isOther && leaving.vips.includes(arp.senderIp))
        this.#yield(member, leaving, nowMs);
    }
    for (const s of this.#sole) if (s.link === link) this.#soleStep(s, { kind: "arp", arp }, nowMs);
  }

  /** A packet for the VIP came to our MAC: whoever sent it has learned where the VIP is. */
  heardTraffic(link: string, vip: Ipv4, nowMs: number): void {
    for (const { config } of this.#members.values())
      if (config.link === link) this.#announce(config.vrrp.name, { kind: "traffic", vip }, nowMs);
    for (const s of this.#sole) if (s.link === link) this.#soleStep(s, { kind: "traffic", vip }, nowMs);
  }
  /** VIPs by link whose announcement nobody has confirmed yet: traffic for these is worth a look. */
  get awaited(): ReadonlyMap<string, readonly Ipv4[]> {
    let found: Map<string, readonly Ipv4[]> | undefined;
    const add = (link: string, { pending }: AnnouncerState): void => {
      if (pending.size === 0) return;
      found ??= new Map();
      found.set(link, [...(found.get(link) ?? []), ...pending.keys()]);
    };
    for (const { config, announcer } of this.#members.values()) add(config.link, announcer);
    for (const s of this.#sole) add(s.link, this.#soleAnnouncers.get(s.name) ?? initialAnnouncer);
    return found ?? nothingAwaited;
  }

  linkChanged(link: string, up: boolean, nowMs: number): void {
    if (this.#up.get(link) === up) return;
    this.#up.set(link, up);
    for (const { config } of this.#members.values())
      if (config.link === link)
        this.#give(this.#groupOf(config.vrrp.name), config.vrrp.name, { kind: up ? "linkUp" : "linkDown" }, nowMs);
    if (up)
      for (const s of this.#sole)
        if (s.link === link) {
          this.#ports.addVips(link, s.vips); // a link that went away took its addresses along
          this.#soleStep(s, { kind: "announce", vips: s.vips }, nowMs);
        }
  }

  /** Somebody took an address away. If it is a VIP that we hold, it is put back and said. */
  addressRemoved(link: string, address: Ipv4, nowMs: number): void {
    const restore = (name: string): void => {
      const reason = `${formatIpv4(address)} was taken from ${link} by somebody else: put back`;
      this.#ports.report({ kind: "note", instance: name, code: "vip-restored", reason });
      this.#ports.addVips(link, [address]);
    };
    for (const member of this.#members.values()) {
      if (member.config.link !== link || !member.held.has(address)) continue;
      restore(member.config.vrrp.name);
      this.#announce(member.config.vrrp.name, { kind: "announce", vips: [address] }, nowMs);
    }
    for (const s of this.#sole)
      if (s.link === link && s.vips.includes(address)) {
        restore(s.name);
        this.#soleStep(s, { kind: "announce", vips: [address] }, nowMs);
      }
  }

  /** What a link has now, where news of it were lost: what should be there and is not, somebody took. */
  addressesAre(link: string, there: ReadonlySet<Ipv4>, nowMs: number): void {
    const held = [...this.#members.values()].flatMap((m) => (m.config.link === link ? [...m.held] : []));
    const sole = this.#sole.flatMap((s) => (s.link === link ? s.vips : []));
    for (const vip of [...held, ...sole]) if (!there.has(vip)) this.addressRemoved(link, vip, nowMs);
  }

  /** Weights and faults of what the instance tracks. Unknown names are ignored: a reload may have crossed this. */
  track(name: string, priorityDelta: number, fault: string | undefined, nowMs: number): void {
    const member = this.#members.get(name);
    if (member === undefined) return;
    member.tracked = { priorityDelta, fault };
    for (const other of this.#groupOf(name).config.keys()) this.#giveTracked(other, nowMs);
  }
  /** Weights count for the whole sync group: else its members would differ in who is to be master, and none could move. */
  #giveTracked(name: string, nowMs: number): void {
    const group = this.#groupOf(name);
    const { tracked, switchedOver } = this.#member(name);
    const deltas = [...group.config.keys()].map((n) => this.#member(n).tracked.priorityDelta);
    const priorityDelta = switchedOver ? lowestDelta : deltas.reduce((sum, delta) => sum + delta, 0);
    this.#give(group, name, { kind: "trackChanged", priorityDelta, fault: tracked.fault }, nowMs);
  }

  /**
   * Hands over what this director is master of (all, or one instance with its group) and stays the last choice. Throws
   * RangeError for an instance that is not there, and for an address owner.
   */
  switchOver(name: string | undefined, nowMs: number): string[] {
    const groups = name === undefined ? this.#groups : [this.#groupOf(name)];
    const left: string[] = [];
    for (const group of groups) {
      const masters = [...group.state].filter(([, s]) => s.phase.kind === "master").map(([n]) => n);
      if (masters.length === 0) continue;
      const owner = [...group.config.values()].find((c) => c.priority === 255);
      if (owner !== undefined)
        throw new RangeError(
          `${owner.name} owns its addresses (priority 255), which nobody outvotes: stop the agent instead`,
        );
      left.push(...masters);
      this.#give(group, undefined, { kind: "shutdown" }, nowMs);
      for (const n of group.config.keys()) {
        this.#member(n).switchedOver = true;
        this.#giveTracked(n, nowMs);
      }
      this.#give(group, undefined, { kind: "start" }, nowMs);
    }
    return left;
  }
  /** Takes switchOver back: the file's priority counts again. */
  release(nowMs: number): string[] {
    const names = [...this.#members.values()].filter((m) => m.switchedOver).map((m) => m.config.vrrp.name);
    for (const name of names) {
      this.#member(name).switchedOver = false;
      this.#giveTracked(name, nowMs);
    }
    return names;
  }

  /** Hands over for good. Done when `stopped`; tick until then. A sole director keeps its VIPs: there is nobody else. */
  stop(nowMs: number): void {
    this.#stopping = true;
    for (const group of this.#groups) this.#give(group, undefined, { kind: "shutdown" }, nowMs);
    for (const member of this.#members.values()) {
      if (member.stale.length > 0) this.#leave(member, member.stale, nowMs);
      member.stale = [];
    }
  }
  get stopped(): boolean {
    return this.#stopping && [...this.#members.values()].every((m) => m.leaving === undefined);
  }

  /** What did not change is not touched. `addressesNow` is asked when what leaves has left. */
  reload(config: FailoverConfig, addressesNow: () => Beginning["addresses"], nowMs: number): void {
    const keyOf = (names: Iterable<string>): string => [...names].join("\n");
    const wanted = new Map(config.groups.map((g) => [keyOf(g.map((i) => i.vrrp.name)), g]));
    const kept: Group[] = [];
    for (const group of this.#groups) {
      const next = wanted.get(keyOf(group.config.keys()));
      const sameLinks = next?.every((i) => this.#member(i.vrrp.name).config.link === i.link) === true;
      if (next === undefined || !sameLinks) {
        this.#give(group, undefined, { kind: "shutdown" }, nowMs);
        for (const name of group.config.keys()) {
          const member = this.#member(name);
          if (member.leaving !== undefined) this.#remove(member, member.leaving);
          this.#clearStale(member, []);
          this.#members.delete(name);
        }
        continue;
      }
      kept.push(group);
      wanted.delete(keyOf(group.config.keys()));
      for (const instance of next) {
        const name = instance.vrrp.name;
        const before = this.#member(name).config;
        this.#clearStale(this.#member(name), instance.vrrp.vips);
        this.#member(name).config = instance;
        if (JSON.stringify(before.vrrp) === JSON.stringify(instance.vrrp)) continue;
        this.#give(group, name, { kind: "reload", config: instance.vrrp }, nowMs);
        group.config = new Map(group.config).set(name, instance.vrrp);
      }
    }
    this.#groups = kept;
    if (wanted.size > 0) {
      const addresses = addressesNow();
      for (const instances of wanted.values()) this.#begin(instances, addresses, nowMs);
    }
    this.#holdSole(config.sole, nowMs);
  }

  tick(nowMs: number): void {
    for (const group of this.#groups)
      if (groupDeadlineMs(group.state) <= nowMs) this.#give(group, undefined, { kind: "tick" }, nowMs);
    for (const [name, member] of this.#members) {
      if (announcerDeadlineMs(member.announcer) <= nowMs) this.#announce(name, { kind: "tick" }, nowMs);
      const { leaving } = member;
      if (leaving === undefined || nowMs < leaving.dueAtMs) continue;
      if (leaving.stage === "held" && leaving.heard) this.#yield(member, leaving, nowMs);
      else this.#remove(member, leaving);
    }
    for (const s of this.#sole) {
      const state = this.#soleAnnouncers.get(s.name);
      if (state !== undefined && announcerDeadlineMs(state) <= nowMs) this.#soleStep(s, { kind: "tick" }, nowMs);
    }
  }

  /** When to tick if nothing arrives before; Infinity: never. */
  get deadlineMs(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const group of this.#groups) deadline = Math.min(deadline, groupDeadlineMs(group.state));
    for (const { announcer, leaving } of this.#members.values())
      deadline = Math.min(deadline, announcerDeadlineMs(announcer), leaving?.dueAtMs ?? Number.POSITIVE_INFINITY);
    for (const state of this.#soleAnnouncers.values()) deadline = Math.min(deadline, announcerDeadlineMs(state));
    return deadline;
  }

  /** When the next take-over is due, if the master stays silent: the one deadline that clients wait for. */
  get takeOverAtMs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const group of this.#groups)
      for (const { phase } of group.state.values())
        if (phase.kind === "backup" && !phase.waiting) earliest = Math.min(earliest, phase.takeOverAtMs);
    return earliest;
  }

  status(nowMs: number): InstanceStatus[] {
    const instances = [...this.#members.values()].map((m) => {
      const name = m.config.vrrp.name;
      const state = this.#groupOf(name).state.get(name) as VrrpState;
      return instanceStatus(
        m.config,
        state,
        { last: m.last, switchedOver: m.switchedOver, announcer: m.announcer },
        nowMs,
      );
    });
    const sole = this.#sole.map((s): InstanceStatus => {
      const announcer = this.#soleAnnouncers.get(s.name) ?? initialAnnouncer;
      const conflicts = conflictCount(announcer, nowMs);
      return { name: s.name, link: s.link, phase: "sole", vips: s.vips, unverified: announcer.pending.size, conflicts };
    });
    return [...instances, ...sole];
  }

  /** How long others wait before they take over from us, at most: for a caller who wants to know when to worry. */
  get longestDownMs(): number {
    return Math.max(0, ...[...this.#members.values()].map(({ config: { vrrp } }) => downMs(vrrp, 1, vrrp.intervalMs)));
  }
}

/**
 * Plays take-overs through with no effect on anything. Code that has never run is compiled when it first does, and the
 * first time that counts is the one when clients wait: some milliseconds, many more on a slow machine.
 */
export function rehearse(config: FailoverConfig): void {
  for (let i = 0; i < rehearsals; i++) {
    const sent: { readonly link: string; readonly packet: Uint8Array }[] = [];
    const failover = new Failover({
      sendAdvert: (link, packet) => void sent.push({ link, packet }),
      addVips() {},
      yieldVips() {},
      removeVips() {},
      relay() {},
      endRelay() {},
      sendFrame() {},
      report() {},
    });
    failover.start(config, { addresses: new Map(), up: new Map() }, 0);
    for (let step = 0; step < 8; step++) {
      const nowMs = failover.deadlineMs;
      if (nowMs === Number.POSITIVE_INFINITY) break;
      failover.tick(nowMs);
      for (const { link, packet } of sent.splice(0)) failover.heardVrrp(link, packet, nowMs);
    }
    failover.stop(failover.deadlineMs);
  }
}
const rehearsals = 2;

/** Neighbours differ in which of the two they take up; both say the same. */
export function garp(form: "request" | "reply", mac: Mac, vip: Ipv4): Uint8Array {
  if (form === "request") return arpAnnouncement({ senderMac: mac, senderIp: vip, targetMac: BROADCAST_MAC });
  return arpReply({ senderMac: mac, senderIp: vip, targetMac: mac, targetIp: vip, to: BROADCAST_MAC });
}
