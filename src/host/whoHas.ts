/** Asks who has VIPs, on the real interfaces of a namespace: plans, sends at full speed, listens, reports. */
import { ANY, type Ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, writeMac } from "../base/mac.ts";
import { Asking, type AskingEvent, type Question } from "../machine/whoHas.ts";
import { type LinkPlan, planWhoHas, type SourceChoice } from "../machine/whoHasPlan.ts";
import type { AskingReport } from "../machine/whoHasReport.ts";
import { arpProbe } from "../wire/frame.ts";
import { writeU32 } from "../wire/octets.ts";
import { filterProgram, isArp } from "../wire/packetFilter.ts";
import { HostError, SystemCallError } from "./errors.ts";
import { realtimeUs, type Watch } from "./libc.ts";
import type { Namespace } from "./namespace.ts";
import { openPacketSocket, type PacketSocket, type PacketStatistics, SendBatch } from "./packetSocket.ts";
import { openRtnetlink } from "./rtnetlink.ts";
import { BURST, openLanes, type SendLanes } from "./sendLanes.ts";

export interface WhoHasOptions {
  readonly vips: readonly Ipv4[];
  /** The one whose subnet the VIP is in, when absent. */
  readonly interface?: string;
  readonly namespace?: Namespace;
  readonly source?: SourceChoice;
  /** How often each VIP is asked; 3 unless said. */
  readonly count?: number;
  /** From one round of questions to the next; 100 unless said. */
  readonly intervalMs?: number;
  /** How long to listen after the last question; 1,000 unless said, as proxies may wait 0.8 s (A-2.2-09). */
  readonly timeoutMs?: number;
  /** Ask this MAC once more, by a frame that only it gets. */
  readonly unicastTo?: Mac;
  readonly expected?: ReadonlySet<Mac>;
  /** Unused addresses to ask for in each subnet; 2 unless said, 0 for none. */
  readonly decoys?: number;
  /** As fast as the interface takes them, unless said. */
  readonly questionsPerSecond?: number;
  /** Ask until `signal` says stop. */
  readonly watch?: boolean;
  /** Ends early; the report then says what was seen so far. */
  readonly signal?: AbortSignal;
  /** News as they come, for live displays. */
  readonly onEvents?: (events: readonly AskingEvent[]) => void;
  /** Called once before the first question. */
  readonly onPlan?: (notes: readonly string[], links: readonly LinkPlan[]) => void;
  /** The present state of each link's questions, for a live display that draws at its own pace. */
  readonly onAsking?: (asking: readonly Asking[]) => void;
}

export interface LinkReport extends AskingReport {
  readonly interface: string;
  readonly mac: Mac;
  readonly kernel: PacketStatistics;
  /** Of the longest burst of questions: how many, and how long the kernel took to send them. */
  readonly sending: { readonly questions: number; readonly durationUs: number };
}
export interface WhoHasReport {
  readonly links: readonly LinkReport[];
  readonly notes: readonly string[];
  /** Ended by the signal before all questions were asked. */
  readonly interrupted: boolean;
}

const BATCH = 128;
/** The least that Ethernet carries; cards pad by themselves, veth does not. */
const FRAME_OCTETS = 60;
/** The longest stay away from the event loop. */
const TURN_US = 5000;
/** Past the queueing discipline only for floods: other sniffers on this host do not see such frames. */
const FLOOD_QUESTIONS = 1024;
const RECEIVE_OCTETS = 32 << 20;

const monotonicUs = (): number => performance.now() * 1000;

function templateOf(mac: Mac): Uint8Array {
  const frame = new Uint8Array(FRAME_OCTETS);
  frame.set(arpProbe({ senderMac: mac, targetIp: ANY }));
  return frame;
}

/** Frames are built once; for each question only the two addresses are patched, and the receiver where it changes. */
class Outbox {
  readonly #batch = new SendBatch(BATCH, FRAME_OCTETS);
  readonly #unicastTo: Mac | undefined;
  #filled = 0;
  #unicast = false;
  constructor(mac: Mac, unicastTo: Mac | undefined) {
    this.#unicastTo = unicastTo;
    const template = templateOf(mac);
    for (let slot = 0; slot < BATCH; slot++) this.#batch.put(slot, template);
  }
  fill(questions: readonly Question[]): void {
    // All questions of a round are of one kind, or are probes in place of own ones: broadcast all the same.
    const unicast = questions[0]?.kind === "unicast";
    for (const [slot, question] of questions.entries()) {
      const frame = this.#batch.frame(slot);
      if (unicast !== this.#unicast) writeMac(unicast ? (this.#unicastTo ?? BROADCAST_MAC) : BROADCAST_MAC, frame, 0);
      writeU32(frame, 28, question.sender);
      writeU32(frame, 38, question.target);
    }
    if (unicast !== this.#unicast && questions.length < BATCH)
      for (let slot = questions.length; slot < BATCH; slot++)
        writeMac(unicast ? (this.#unicastTo ?? BROADCAST_MAC) : BROADCAST_MAC, this.#batch.frame(slot), 0);
    this.#unicast = unicast;
    this.#filled = questions.length;
  }
  send(socket: PacketSocket): number {
    return socket.sendBatch(this.#batch, 0, this.#filled);
  }
  close(): void {
    this.#batch.close();
  }
}

/** Sleeps that a signal cuts short. */
function sleep(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(durationMs, 0x7fffffff));
    signal.addEventListener("abort", end, { once: true });
  });
}
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const isDown = (error: unknown): boolean => error instanceof SystemCallError && error.errnoName === "ENETDOWN";

/** One interface's questions and answers, from opening the socket to the report. */
class LinkRun {
  readonly asking: Asking;
  readonly #plan: LinkPlan;
  readonly #options: WhoHasOptions;
  readonly #socket: PacketSocket;
  readonly #outbox: Outbox;
  /** Aborted by the caller or by a failure while listening. */
  readonly #ending = new AbortController();
  #failure: unknown;
  #lanes: SendLanes | undefined;
  #watch: Watch | undefined;
  #burst = { questions: 0, beganUs: 0, durationUs: 0 };
  #longest = { questions: 0, durationUs: 0 };

  constructor(plan: LinkPlan, options: WhoHasOptions) {
    this.#plan = plan;
    this.#options = options;
    this.asking = new Asking({
      ownMac: plan.mac,
      vips: plan.vips,
      decoys: plan.decoys,
      rounds: plan.rounds,
      endless: options.watch ?? false,
      intervalUs: (options.intervalMs ?? 100) * 1000,
      timeoutUs: (options.timeoutMs ?? 1000) * 1000,
      questionsPerSecond: options.questionsPerSecond ?? Number.POSITIVE_INFINITY,
      ...(options.unicastTo !== undefined && { unicastTo: options.unicastTo }),
      ...(options.expected !== undefined && { expected: options.expected }),
    });
    this.#socket = openPacketSocket({
      interface: plan.link.name,
      // All types, not ARP alone: only then does the kernel tell which frames carry another VLAN's tag.
      filter: filterProgram(isArp),
      longestFrameOctets: 128,
      batchFrames: BATCH,
      receiveBufferOctets: RECEIVE_OCTETS,
      bypassQueue: plan.vips.length >= FLOOD_QUESTIONS,
      ...(options.namespace !== undefined && { namespace: options.namespace }),
    });
    this.#outbox = new Outbox(plan.mac, options.unicastTo);
  }

  /** Hears what waits, 512 frames at most; true when there may be more. */
  #listen(): boolean {
    let heard = 0;
    try {
      heard = this.#socket.receive((f) => this.asking.hear(f.octets, f.timeUs, f.kind), 512);
    } catch (error) {
      // A watched interface may come back: the questions go on.
      if (this.#options.watch !== true || !isDown(error)) {
        this.#failure = error;
        this.#ending.abort();
      }
    }
    this.#tell();
    return heard >= 512;
  }
  /** Hears a whole burst's answers, several to each question; a flood that goes on for ever does not hold it. */
  async #listenToBurst(): Promise<void> {
    let turnUs = monotonicUs();
    for (let turn = 0; turn < (BURST * 4) / 512 && this.#listen(); turn++) {
      if (monotonicUs() - turnUs < TURN_US) continue;
      await breathe();
      turnUs = monotonicUs();
    }
  }
  #tell(): void {
    const events = this.asking.takeEvents();
    if (events.length > 0) this.#options.onEvents?.(events);
  }

  /** Sends what is due; gives how long to wait before the next try, 0 for none. */
  #ask(): number {
    const nowUs = monotonicUs();
    const questions = this.asking.due(nowUs, BATCH);
    if (questions.length === 0) {
      this.#endBurst();
      return Math.max(1, Math.ceil((this.asking.deadlineUs() - nowUs) / 1000));
    }
    this.#outbox.fill(questions);
    const firstUs = realtimeUs();
    let sent: number;
    try {
      sent = this.#outbox.send(this.#socket);
    } catch (error) {
      if (this.#options.watch === true && isDown(error)) return 500;
      throw error;
    }
    const lastUs = realtimeUs();
    this.asking.asked(sent, nowUs, firstUs, lastUs);
    this.#count(sent, firstUs, lastUs);
    return sent < questions.length ? 1 : 0;
  }
  #count(questions: number, firstUs: number, lastUs: number): void {
    if (this.#burst.questions === 0) this.#burst.beganUs = firstUs;
    this.#burst.questions += questions;
    this.#burst.durationUs = Math.max(this.#burst.durationUs, lastUs - this.#burst.beganUs);
  }

  /** The same for a flood, in the lanes. Answers wait in the kernel, as none may be heard before its question counts. */
  async #askMany(lanes: SendLanes): Promise<number> {
    const nowUs = monotonicUs();
    const questions = this.asking.due(nowUs, BURST);
    if (questions.length < BATCH || questions[0]?.kind === "unicast") return this.#ask();
    this.#deaf();
    try {
      for (const { count, firstUs, lastUs } of await lanes.burst(questions)) {
        this.asking.asked(count, nowUs, firstUs, lastUs);
        this.#count(count, firstUs, lastUs);
      }
      await this.#listenToBurst();
      return 0;
    } catch (error) {
      if (this.#options.watch === true && isDown(error)) return 500;
      throw error;
    } finally {
      this.#hearing();
    }
  }
  #hearing(): void {
    this.#watch = this.#socket.onReadable(() => this.#listen());
  }
  #deaf(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }
  #endBurst(): void {
    if (this.#burst.questions > this.#longest.questions)
      this.#longest = { questions: this.#burst.questions, durationUs: this.#burst.durationUs };
    this.#burst = { questions: 0, beganUs: 0, durationUs: 0 };
  }

  async run(): Promise<LinkReport> {
    const outer = this.#options.signal;
    const abort = (): void => this.#ending.abort();
    if (outer?.aborted) abort();
    outer?.addEventListener("abort", abort, { once: true });
    try {
      const { vips, link, mac } = this.#plan;
      if (vips.length >= FLOOD_QUESTIONS && this.#options.questionsPerSecond === undefined)
        this.#lanes = await openLanes(link.name, templateOf(mac), this.#options.namespace);
      this.#hearing();
      let turnUs = monotonicUs();
      while (!this.#ending.signal.aborted && !this.asking.done(monotonicUs())) {
        const waitMs = this.#lanes === undefined ? this.#ask() : await this.#askMany(this.#lanes);
        if (waitMs > 0) await sleep(waitMs, this.#ending.signal);
        else {
          this.#listen();
          if (monotonicUs() - turnUs < TURN_US) continue;
          await breathe();
        }
        turnUs = monotonicUs();
      }
      this.#endBurst();
      await this.#listenToBurst(); // what came in the last instant
      if (this.#failure !== undefined) throw this.#failure;
      this.asking.stop();
      return {
        ...this.asking.report(),
        interface: this.#plan.link.name,
        mac: this.#plan.mac,
        kernel: this.#socket.statistics(),
        sending: this.#longest,
      };
    } finally {
      outer?.removeEventListener("abort", abort);
      this.#deaf();
      await this.#lanes?.close();
    }
  }
  /** Ends run() soon. */
  end(): void {
    this.#ending.abort();
  }
  close(): void {
    this.#outbox.close();
    this.#socket.close();
  }
}

/**
 * Asks for every VIP and says what the wire said. Also ends, with what was seen, when `signal` is aborted.
 *
 * Errors: who-has/usage (a VIP or sender that cannot be one), who-has/no-input (no such interface, no connected
 * subnet), socket/EPERM, sendmmsg/ENETDOWN. Without a connected subnet or a right to send, no frame leaves.
 */
export async function whoHas(options: WhoHasOptions): Promise<WhoHasReport> {
  const netlink = openRtnetlink(options.namespace);
  let around: Parameters<typeof planWhoHas>[0];
  try {
    around = {
      links: netlink.links(),
      addresses: netlink.addresses(),
      routes: netlink.routes(),
      neighbours: netlink.neighbours(),
    };
  } finally {
    netlink.close();
  }
  const plan = planWhoHas(around, {
    vips: options.vips,
    source: options.source ?? "auto",
    count: options.count ?? 3,
    unicast: options.unicastTo !== undefined,
    decoys: options.decoys ?? 2,
    ...(options.interface !== undefined && { interface: options.interface }),
  });
  if ("remedy" in plan) throw new HostError(`who-has/${plan.code}`, plan.why, { remedy: plan.remedy });
  const runs: LinkRun[] = [];
  try {
    for (const link of plan.links) runs.push(new LinkRun(link, options));
    options.onPlan?.(plan.notes, plan.links);
    options.onAsking?.(runs.map((r) => r.asking));
    // All settle before the sockets close: a failed link must not pull the memory from under another.
    const ended = await Promise.allSettled(
      runs.map((run) =>
        run.run().catch((error: unknown) => {
          for (const other of runs) other.end();
          throw error;
        }),
      ),
    );
    const links: LinkReport[] = [];
    for (const end of ended) {
      if (end.status === "rejected") throw end.reason;
      links.push(end.value);
    }
    const interrupted = options.signal?.aborted === true && options.watch !== true;
    return { links, notes: plan.notes, interrupted };
  } finally {
    for (const run of runs) run.close();
  }
}
