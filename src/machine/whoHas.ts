/**
 * Asking who has many VIPs, without I/O: says which question is due, takes what was heard, judges.
 *
 * Two clocks, both in microseconds: `nowUs` drives the schedule and is monotonic; stamps of sent and received frames
 * are on the kernel's packet clock. Everything heard is hostile: memory is bounded whatever comes.
 */
import { ANY, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { isGroupMac, type Mac, macFromOctets, ZERO_MAC } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import { ARP_REPLY, ARP_REQUEST, decodeArp } from "../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { readU16, readU32 } from "../wire/octets.ts";
import {
  type AskingReport,
  type Claim,
  type DecoyReport,
  type Evidence,
  judge,
  type OwnerChange,
  type QuestionKind,
  type VipReport,
} from "./whoHasReport.ts";

export interface Vip {
  readonly address: Ipv4;
  /** Sender of `own` questions; without one they are asked as probes. */
  readonly sender?: Ipv4;
  /** The interface of this very host that holds it too: we shall not hear our own answer. */
  readonly heldHere?: string;
}
export interface DecoyWish {
  readonly subnet: Prefix;
  readonly addresses: readonly Ipv4[];
  readonly sender?: Ipv4;
}
export interface AskingConfig {
  readonly ownMac: Mac;
  /** Each address once. */
  readonly vips: readonly Vip[];
  readonly decoys: readonly DecoyWish[];
  /** One question to every VIP in each round. */
  readonly rounds: readonly QuestionKind[];
  /** Begin again after the last round, until stop(). */
  readonly endless: boolean;
  /** From the begin of one round to the next. */
  readonly intervalUs: number;
  /** How long to listen after the last question. */
  readonly timeoutUs: number;
  /** Infinity for as fast as frames go out. */
  readonly questionsPerSecond: number;
  /** Receiver of `unicast` questions. */
  readonly unicastTo?: Mac;
  readonly expected?: ReadonlySet<Mac>;
}

export interface Question {
  readonly kind: QuestionKind;
  readonly target: Ipv4;
  /** 0.0.0.0 for a probe. */
  readonly sender: Ipv4;
}

/** What a live display shows at once. The same thing said again within a second is left out. */
export type AskingEvent =
  | { readonly kind: "first-answer"; readonly atUs: number; readonly vip: Ipv4; readonly mac: Mac }
  | { readonly kind: "owner-changed"; readonly atUs: number; readonly vip: Ipv4; readonly from: Mac; readonly to: Mac }
  | { readonly kind: "race"; readonly atUs: number; readonly vip: Ipv4; readonly macs: readonly Mac[] }
  | { readonly kind: "silent"; readonly atUs: number; readonly vip: Ipv4; readonly last: Mac }
  | { readonly kind: "back"; readonly atUs: number; readonly vip: Ipv4; readonly mac: Mac }
  | { readonly kind: "gratuitous"; readonly atUs: number; readonly vip: Ipv4; readonly mac: Mac }
  | { readonly kind: "leak"; readonly atUs: number; readonly vip: Ipv4; readonly mac: Mac; readonly askedFor: Ipv4 };

/** MACs remembered for one VIP; the answers of more are only counted. */
const MOST_CLAIMS = 64;
const MOST_CHANGES = 64;
const MOST_EVENTS = 1000;
const MOST_LEAKED_FOR = 8;
const MOST_SENT_BY = 4;
const MOST_MACS = 4096;
const QUIET_US = 1_000_000;
/** Unanswered questions in a row after which an owner counts as gone. */
const SILENT_AFTER = 3;

type Counted = { -readonly [K in keyof Claim]: Claim[K] };
interface ClaimState extends Omit<Counted, "answers" | "leakedFor" | "sentBy" | "latencyUs"> {
  readonly answers: Record<QuestionKind, number>;
  readonly leakedFor: Ipv4[];
  readonly sentBy: Mac[];
  latencyUs?: { first: number; last: number; shortest: number; longest: number };
  /** Number of the question answered last, to know duplicates. */
  answeredQuestion: number;
  /** When an event of this MAC was last told. */
  toldUs: number;
}
interface Target {
  readonly address: Ipv4;
  readonly sender: Ipv4;
  readonly heldHere: string | undefined;
  readonly decoy: boolean;
  readonly asked: Record<QuestionKind, number>;
  lastAskedUs: number;
  lastKind: QuestionKind;
  /** Counts all questions: the number of the one that answers belong to. */
  question: number;
  answered: number;
  together: number;
  /** Who answered the present broadcast question, in order. */
  present: Mac[];
  owner: Mac | undefined;
  silentInARow: number;
  claims: Map<Mac, ClaimState> | undefined;
  unlisted: number;
  changes: OwnerChange[] | undefined;
  lastRace: string;
}

const newTarget = (address: Ipv4, sender: Ipv4 | undefined, decoy: boolean, heldHere?: string): Target => ({
  address,
  sender: sender ?? ANY,
  heldHere,
  decoy,
  asked: { own: 0, probe: 0, unicast: 0 },
  lastAskedUs: 0,
  lastKind: "own",
  question: 0,
  answered: 0,
  together: 0,
  present: [],
  owner: undefined,
  silentInARow: 0,
  claims: undefined,
  unlisted: 0,
  changes: undefined,
  lastRace: "",
});

const newClaim = (mac: Mac): ClaimState => ({
  mac,
  answers: { own: 0, probe: 0, unicast: 0 },
  firstAnswers: 0,
  duplicates: 0,
  overheard: 0,
  gratuitous: 0,
  leaks: 0,
  leakedFor: [],
  sentBy: [],
  answeredQuestion: -1,
  toldUs: Number.NEGATIVE_INFINITY,
});

/** One ARP packet, as far as we look. */
interface Heard {
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetIp: Ipv4;
  readonly toUs: boolean;
  readonly toAll: boolean;
  readonly frameSource: Mac;
  readonly atUs: number;
}

export class Asking {
  readonly #config: AskingConfig;
  readonly #targets: Target[] = [];
  readonly #byAddress = new Map<number, Target>();
  readonly #macs = new Map<number, Mac>();
  readonly #malformed = new Map<string, number>();
  #events: AskingEvent[] = [];
  #received = 0;
  #other = 0;
  #tagged = 0;
  #questions = 0;

  #round = 0;
  #cursor = 0;
  #roundBeganUs = Number.NEGATIVE_INFINITY;
  #lastSentUs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(config: AskingConfig) {
    if (config.rounds.length === 0 || config.vips.length === 0) throw new RangeError("nothing to ask");
    if (config.rounds.includes("unicast") && config.unicastTo === undefined) throw new RangeError("unicast to whom?");
    this.#config = config;
    for (const vip of config.vips) this.#add(newTarget(vip.address, vip.sender, false, vip.heldHere));
    for (const decoy of config.decoys)
      for (const address of decoy.addresses) this.#add(newTarget(address, decoy.sender, true));
  }
  #add(target: Target): void {
    if (this.#byAddress.has(target.address)) throw new RangeError("an address is asked for twice");
    this.#targets.push(target);
    this.#byAddress.set(target.address, target);
  }

  // What is to be asked

  get #kind(): QuestionKind {
    return this.#config.rounds[this.#round % this.#config.rounds.length] as QuestionKind;
  }
  get #lastRound(): boolean {
    return this.#stopped || (!this.#config.endless && this.#round >= this.#config.rounds.length - 1);
  }
  #open(nowUs: number): void {
    if (this.#stopped) return;
    if (this.#roundBeganUs === Number.NEGATIVE_INFINITY) this.#roundBeganUs = nowUs;
    if (this.#cursor < this.#targets.length || this.#lastRound) return;
    if (nowUs < this.#roundBeganUs + this.#config.intervalUs) return;
    this.#round++;
    this.#cursor = 0;
    this.#roundBeganUs = nowUs;
  }
  /** Rounds begin at different places, so that a burst that something drops does not always hit the same VIPs. */
  #at(place: number): Target {
    const count = this.#targets.length;
    return this.#targets[(place + this.#round * Math.floor(count * 0.382)) % count] as Target;
  }
  #kindFor(target: Target): QuestionKind {
    const kind = this.#kind;
    return kind === "own" && target.sender === ANY ? "probe" : kind;
  }

  /** Questions due now, `atMost`; asked(n) says that the first n of them went out. */
  due(nowUs: number, atMost: number): Question[] {
    this.#open(nowUs);
    const { questionsPerSecond } = this.#config;
    const allowed =
      questionsPerSecond === Number.POSITIVE_INFINITY
        ? Number.POSITIVE_INFINITY
        : Math.floor(((nowUs - this.#roundBeganUs) * questionsPerSecond) / 1e6) + 1 - this.#cursor;
    const count = this.#stopped ? 0 : Math.min(atMost, allowed, this.#targets.length - this.#cursor);
    const questions: Question[] = [];
    for (let i = 0; i < count; i++) {
      const target = this.#at(this.#cursor + i);
      const kind = this.#kindFor(target);
      questions.push({ kind, target: target.address, sender: kind === "probe" ? ANY : target.sender });
    }
    return questions;
  }

  /** The first `count` questions that due() gave went out at `nowUs`, stamped evenly from `firstUs` to `lastUs`. */
  asked(count: number, nowUs: number, firstUs: number, lastUs: number): void {
    for (let i = 0; i < count; i++) {
      const target = this.#at(this.#cursor + i);
      const stampUs = firstUs + ((lastUs - firstUs) * i) / count;
      this.#closeQuestion(target, stampUs);
      const kind = this.#kindFor(target);
      target.asked[kind]++;
      target.question++;
      target.lastAskedUs = stampUs;
      target.lastKind = kind;
    }
    this.#cursor += count;
    this.#questions += count;
    if (count > 0) this.#lastSentUs = nowUs;
  }

  /** When due() or done() may next say something new; Infinity never. */
  deadlineUs(): number {
    const { intervalUs, timeoutUs, questionsPerSecond } = this.#config;
    if (this.#cursor < this.#targets.length && !this.#stopped)
      return this.#roundBeganUs + (this.#cursor * 1e6) / questionsPerSecond;
    return this.#lastRound ? this.#lastSentUs + timeoutUs : this.#roundBeganUs + intervalUs;
  }
  done(nowUs: number): boolean {
    if (this.#stopped) return true;
    return (
      this.#lastRound && this.#cursor >= this.#targets.length && nowUs >= this.#lastSentUs + this.#config.timeoutUs
    );
  }
  /** No more questions; what was heard is judged as it is. */
  stop(): void {
    this.#stopped = true;
  }

  // What is heard

  /** One frame from the wire. `kind` as the kernel has it: 0 to us, 1 broadcast, 4 sent by ourselves. Never throws. */
  hear(octets: Uint8Array, stampUs: number, kind: number): void {
    if (kind === 4) return;
    this.#received++;
    // The short way for all but a few frames: untagged, for IPv4 over Ethernet, and about nothing that was asked.
    const plain =
      octets.length >= 42 &&
      readU16(octets, 12) === ETHERTYPE.arp &&
      readU32(octets, 14) === 0x00010800 &&
      readU16(octets, 18) === 0x0604;
    if (!plain) this.#hearOther(octets, stampUs, kind);
    else if (!this.#byAddress.has(readU32(octets, 28))) this.#other++;
    else this.#hearArp(octets, 14, stampUs, kind);
  }

  #hearOther(octets: Uint8Array, stampUs: number, kind: number): void {
    const frame = decodeEthernet(octets);
    if (!frame.ok) {
      this.#fault(frame.code);
      return;
    }
    const { vlan, serviceVlan, etherType, payloadOffset } = frame.value;
    if ((vlan !== undefined && vlan.id !== 0) || serviceVlan !== undefined) {
      this.#tagged++; // VLAN 0 is a priority only: such a frame belongs to this LAN
      return;
    }
    if (etherType !== ETHERTYPE.arp) {
      this.#other++;
      return;
    }
    const read = decodeArp(octets, payloadOffset);
    if (!read.ok) this.#fault(read.code);
    else if (!this.#byAddress.has(read.value.senderIp)) this.#other++;
    else this.#hearArp(octets, payloadOffset, stampUs, kind);
  }

  /** The lengths have been checked, and the sender is somebody we ask for. */
  #hearArp(octets: Uint8Array, at: number, stampUs: number, kind: number): void {
    const senderMac = this.#mac(octets, at + 8);
    if (senderMac === ZERO_MAC || isGroupMac(senderMac)) {
      this.#fault("arp/sender-mac");
      return;
    }
    const { ownMac } = this.#config;
    const target = this.#byAddress.get(readU32(octets, at + 14));
    if (target === undefined || senderMac === ownMac) {
      this.#other++;
      return;
    }
    const named = this.#mac(octets, at + 18) === ownMac;
    this.#weigh(target, {
      operation: readU16(octets, at + 6),
      senderMac,
      senderIp: target.address,
      targetIp: ipv4FromNumber(readU32(octets, at + 24)),
      toUs: kind === 0 || named,
      toAll: kind === 1 && !named, // RFC 5227 section 2.6: some answer an asker by broadcast
      frameSource: this.#mac(octets, 6),
      atUs: stampUs,
    });
  }

  #weigh(target: Target, heard: Heard): void {
    const { operation, targetIp } = heard;
    if (operation !== ARP_REQUEST && operation !== ARP_REPLY) {
      this.#other++;
      return;
    }
    const claim = this.#claim(target, heard);
    if (claim === undefined) return;
    if (targetIp === target.address || (operation === ARP_REPLY && heard.toAll)) {
      claim.gratuitous++;
      if (!target.decoy)
        this.#tell(claim, { kind: "gratuitous", atUs: heard.atUs, vip: target.address, mac: claim.mac });
    } else if (operation === ARP_REQUEST) {
      claim.leaks++;
      if (claim.leakedFor.length < MOST_LEAKED_FOR && !claim.leakedFor.includes(targetIp))
        claim.leakedFor.push(targetIp);
      if (!target.decoy)
        this.#tell(claim, { kind: "leak", atUs: heard.atUs, vip: target.address, mac: claim.mac, askedFor: targetIp });
    } else if (heard.toUs && target.question > 0) this.#answer(target, claim, heard);
    else claim.overheard++;
  }

  #claim(target: Target, { senderMac, frameSource }: Heard): ClaimState | undefined {
    target.claims ??= new Map();
    let claim = target.claims.get(senderMac);
    if (claim === undefined) {
      if (target.claims.size >= MOST_CLAIMS) {
        target.unlisted++;
        return undefined;
      }
      claim = newClaim(senderMac);
      target.claims.set(senderMac, claim);
    }
    const { sentBy } = claim;
    if (frameSource !== senderMac && sentBy.length < MOST_SENT_BY && !sentBy.includes(frameSource))
      sentBy.push(frameSource);
    return claim;
  }

  #answer(target: Target, claim: ClaimState, { atUs }: Heard): void {
    if (claim.answeredQuestion === target.question) {
      claim.duplicates++;
      return;
    }
    claim.answeredQuestion = target.question;
    claim.answers[target.lastKind]++;
    const latencyUs = Math.max(0, atUs - target.lastAskedUs);
    if (claim.latencyUs === undefined)
      claim.latencyUs = { first: latencyUs, last: latencyUs, shortest: latencyUs, longest: latencyUs };
    else {
      claim.latencyUs.last = latencyUs;
      if (latencyUs < claim.latencyUs.shortest) claim.latencyUs.shortest = latencyUs;
      if (latencyUs > claim.latencyUs.longest) claim.latencyUs.longest = latencyUs;
    }
    if (target.lastKind === "unicast") return;
    if (target.present.length === 0) {
      claim.firstAnswers++;
      target.answered++;
    } else if (target.present.length === 1) target.together++;
    target.present.push(claim.mac);
    if (!target.decoy) this.#follow(target, claim, atUs);
  }

  /** Live news of an answer. An owner that answers alone has become the owner; several are a race. */
  #follow(target: Target, claim: ClaimState, atUs: number): void {
    const { address: vip, present } = target;
    if (target.owner === undefined) {
      target.owner = claim.mac;
      this.#push({ kind: "first-answer", atUs, vip, mac: claim.mac });
    } else if (present.length > 1) {
      const macs = [...present].sort();
      if (macs.join() !== target.lastRace) {
        target.lastRace = macs.join();
        this.#push({ kind: "race", atUs, vip, macs });
      }
    } else if (target.silentInARow >= SILENT_AFTER && target.owner === claim.mac)
      this.#push({ kind: "back", atUs, vip, mac: claim.mac });
  }

  /** The next question begins, or all is over: who answered this one is known now. */
  #closeQuestion(target: Target, atUs: number): void {
    if (target.question === 0 || target.lastKind === "unicast") return;
    const [only, second] = target.present;
    if (only === undefined) {
      target.silentInARow++;
      if (target.silentInARow === SILENT_AFTER && target.owner !== undefined && !target.decoy)
        this.#push({ kind: "silent", atUs, vip: target.address, last: target.owner });
    } else {
      target.silentInARow = 0;
      if (second === undefined) {
        target.lastRace = "";
        if (target.owner !== undefined && target.owner !== only && !target.decoy) {
          const change = { atUs: target.lastAskedUs, from: target.owner, to: only };
          target.changes ??= [];
          if (target.changes.length >= MOST_CHANGES) target.changes.shift();
          target.changes.push(change);
          this.#push({ kind: "owner-changed", vip: target.address, ...change });
        }
        target.owner = only;
      }
    }
    target.present = [];
  }

  #mac(octets: Uint8Array, at: number): Mac {
    const key = readU16(octets, at) * 2 ** 32 + readU32(octets, at + 2);
    let text = this.#macs.get(key);
    if (text === undefined) {
      if (this.#macs.size >= MOST_MACS) this.#macs.clear();
      text = macFromOctets(octets, at);
      this.#macs.set(key, text);
    }
    return text;
  }
  #fault(code: string): void {
    this.#malformed.set(code, (this.#malformed.get(code) ?? 0) + 1);
  }
  #tell(claim: ClaimState, event: AskingEvent): void {
    if (event.atUs - claim.toldUs < QUIET_US) return;
    claim.toldUs = event.atUs;
    this.#push(event);
  }
  #push(event: AskingEvent): void {
    if (this.#events.length < MOST_EVENTS) this.#events.push(event);
  }

  // What came of it

  /** News since the last call, in order. */
  takeEvents(): AskingEvent[] {
    if (this.#events.length === 0) return [];
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** The MAC that answered each VIP's last question, or several, or none: for a live display. */
  present(): { readonly vip: Ipv4; readonly macs: readonly Mac[]; readonly silentInARow: number }[] {
    return this.#targets
      .filter((t) => !t.decoy)
      .map((t) => ({
        vip: t.address,
        macs:
          t.present.length > 0 ? t.present : t.owner !== undefined && t.silentInARow < SILENT_AFTER ? [t.owner] : [],
        silentInARow: t.silentInARow,
      }));
  }

  #evidence(target: Target, decoys: readonly DecoyReport[]): Evidence {
    this.#closeQuestion(target, target.lastAskedUs);
    const claims = [...(target.claims?.values() ?? [])].map(({ answeredQuestion: _, toldUs: __, ...claim }) => claim);
    return {
      vip: target.address,
      asked: target.asked,
      answered: target.answered,
      together: target.together,
      claims,
      unlisted: target.unlisted,
      changes: target.changes ?? [],
      mayMove: this.#config.endless,
      wholeSubnet: decoys.flatMap(({ subnet, wholeSubnet }) => wholeSubnet.map((mac) => ({ mac, subnet }))),
      ...(target.heldHere !== undefined && { heldHere: target.heldHere }),
    };
  }

  #decoyReport({ subnet, addresses }: DecoyWish): DecoyReport {
    const answers = addresses.flatMap((address) => {
      const claims = this.#byAddress.get(address)?.claims;
      const macs = [...(claims?.values() ?? [])].filter((c) => c.answers.own + c.answers.probe > 0).map((c) => c.mac);
      return macs.length === 0 ? [] : [{ address, macs }];
    });
    const [first] = answers;
    const all = addresses.length >= 2 && answers.length === addresses.length;
    const wholeSubnet = all && first ? first.macs.filter((m) => answers.every((a) => a.macs.includes(m))) : [];
    return { subnet, asked: addresses, answers, wholeSubnet };
  }

  /** Ends the last question of each VIP and judges: call once, at the end. */
  report(): AskingReport {
    const decoys = this.#config.decoys.map((d) => this.#decoyReport(d));
    const vips: VipReport[] = [];
    for (const target of this.#targets)
      if (!target.decoy) vips.push(judge(this.#evidence(target, decoys), this.#config.expected));
    return {
      vips,
      decoys,
      frames: {
        received: this.#received,
        other: this.#other,
        tagged: this.#tagged,
        malformed: Object.fromEntries([...this.#malformed].sort()),
      },
      questions: this.#questions,
    };
  }
}
