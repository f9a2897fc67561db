import type { Ipv4 } from "../base/ipv4.ts";
import type { Host } from "./host.ts";
import { type NeighbourEntry, unconfirmedMs } from "./neighbour.ts";
import { completeUntilMs, neighbourTimes20, tick20 } from "./neighbourTimers20.ts";

/** Aging and resolution (B-2.2-03, B-N-06): the timer side of the neighbour state machine, for one entry. */
export const neighbourTimes = {
  /** base_reachable_time; the kernel draws 0.5 to 1.5 of it. The caller passes the draw, this is its middle. */
  reachableMs: 30_000,
  delayMs: 5_000,
  retransMs: 1_000,
  unicastProbes: 3,
  multicastProbes: 3,
} as const;

export interface TimerStep {
  readonly entry: NeighbourEntry;
  /** An ARP request to send now. */
  readonly send: "nothing" | "unicast" | "broadcast";
  /** 2.0: what waits for the MAC is thrown away. */
  readonly gaveUp?: true;
  /** 2.0: the entry is no more. */
  readonly removed?: true;
}

const quiet = (entry: NeighbourEntry): TimerStep => ({ entry, send: "nothing" });

/** The entry of a neighbour that a packet is for and nobody knows: its MAC is asked for by broadcast now. */
export function neighbourAsked(host: Host, ip: Ipv4, link: number, nowMs: number): NeighbourEntry {
  const is20 = host.switches.arpScope === "device";
  return {
    ip,
    link,
    mac: undefined,
    state: "INCOMPLETE",
    updatedMs: nowMs,
    confirmedMs: unconfirmedMs(nowMs),
    usedMs: nowMs,
    timerAtMs: nowMs + (is20 ? neighbourTimes20.resolveMs : neighbourTimes.retransMs),
    probes: is20 ? neighbourTimes20.tries : neighbourTimes.unicastProbes + 1,
  };
}

/**
 * A packet wants to use the entry (neigh_event_send). STALE starts its delay, a failed one starts over; in every other
 * state only the time of use is noted, so that traffic, however much, puts no probe off.
 */
export function neighbourUse(host: Host, entry: NeighbourEntry, nowMs: number): TimerStep {
  const used = { ...entry, usedMs: nowMs };
  switch (entry.state) {
    case "STALE":
      return quiet(changed(host, used, { state: "DELAY", timerAtMs: nowMs + neighbourTimes.delayMs }, nowMs));
    case "FAILED": {
      const probes = neighbourTimes.unicastProbes + 1;
      const timerAtMs = nowMs + neighbourTimes.retransMs;
      return { entry: changed(host, used, { state: "INCOMPLETE", probes, timerAtMs }, nowMs), send: "broadcast" };
    }
    default:
      return quiet(used);
  }
}

/** When the entry's timer runs out; Infinity: it has none. */
export function neighbourDeadlineMs(entry: NeighbourEntry, reachableMs: number = neighbourTimes.reachableMs): number {
  switch (entry.state) {
    case "REACHABLE":
      return entry.confirmedMs + reachableMs;
    case "DELAY":
    case "PROBE":
    case "INCOMPLETE":
      return entry.timerAtMs;
    case "COMPLETE":
      return completeUntilMs(entry);
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** neigh_timer_handler; call it at the deadline. An early call changes nothing. */
export function neighbourTick(
  host: Host,
  entry: NeighbourEntry,
  nowMs: number,
  reachableMs: number = neighbourTimes.reachableMs,
): TimerStep {
  if (nowMs < neighbourDeadlineMs(entry, reachableMs)) return quiet(entry);
  if (host.switches.arpScope === "device") return tick20(entry, nowMs);
  const { unicastProbes, multicastProbes, delayMs, retransMs } = neighbourTimes;
  const to = (change: Partial<NeighbourEntry>): NeighbourEntry => changed(host, entry, change, nowMs);
  switch (entry.state) {
    case "REACHABLE":
      return quiet(
        to(nowMs <= entry.usedMs + delayMs ? { state: "DELAY", timerAtMs: nowMs + delayMs } : { state: "STALE" }),
      );
    case "DELAY": {
      const proofMs = host.switches.delayProof === "delay time" ? delayMs : reachableMs;
      if (nowMs <= entry.confirmedMs + proofMs) return quiet(to({ state: "REACHABLE" }));
      return { entry: to({ state: "PROBE", probes: 1, timerAtMs: nowMs + retransMs }), send: "unicast" };
    }
    case "PROBE":
    case "INCOMPLETE": {
      // Newer kernels give PROBE its unicast tries only; 2.2 and 2.4 go on with broadcasts in the same round.
      const onlyUnicast = entry.state === "PROBE" && !host.switches.broadcastsInProbe;
      const most = unicastProbes + (onlyUnicast ? 0 : multicastProbes);
      if (entry.probes >= most) return quiet({ ...entry, state: "FAILED", updatedMs: nowMs });
      const send = entry.probes < unicastProbes ? "unicast" : "broadcast";
      return { entry: { ...entry, probes: entry.probes + 1, timerAtMs: nowMs + retransMs }, send };
    }
    default:
      return quiet(entry);
  }
}

/** A state that a use or the timer changed: from 2.6.22 such a change starts the lock time, too. */
const changed = (
  host: Host,
  entry: NeighbourEntry,
  change: Partial<NeighbourEntry>,
  nowMs: number,
): NeighbourEntry => ({
  ...entry,
  ...change,
  updatedMs: host.switches.stateChangeRestartsLock ? nowMs : entry.updatedMs,
});
