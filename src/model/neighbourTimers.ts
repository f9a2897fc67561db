import type { Host } from "./host.ts";
import type { NeighbourEntry } from "./neighbour.ts";

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
}

const quiet = (entry: NeighbourEntry): TimerStep => ({ entry, send: "nothing" });

/** A packet wants to use the entry (neigh_event_send). STALE starts its delay, a failed one starts over. */
export function neighbourUse(entry: NeighbourEntry, nowMs: number): TimerStep {
  const used = { ...entry, usedMs: nowMs };
  switch (entry.state) {
    case "STALE":
      return quiet({ ...used, state: "DELAY", updatedMs: nowMs });
    case "FAILED":
      return {
        entry: { ...used, state: "INCOMPLETE", probes: neighbourTimes.unicastProbes + 1, updatedMs: nowMs },
        send: "broadcast",
      };
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
      return entry.usedMs + neighbourTimes.delayMs;
    // `updatedMs` stays where the round began, as the lock time runs from there; the probes sent tell the rest.
    case "PROBE":
      return entry.updatedMs + entry.probes * neighbourTimes.retransMs;
    case "INCOMPLETE":
      return entry.updatedMs + Math.max(1, entry.probes - neighbourTimes.unicastProbes) * neighbourTimes.retransMs;
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
  const { unicastProbes, multicastProbes, delayMs } = neighbourTimes;
  switch (entry.state) {
    case "REACHABLE":
      return quiet({ ...entry, state: nowMs <= entry.usedMs + delayMs ? "DELAY" : "STALE", updatedMs: nowMs });
    case "DELAY":
      if (nowMs <= entry.confirmedMs + delayMs) return quiet({ ...entry, state: "REACHABLE", updatedMs: nowMs });
      return { entry: { ...entry, state: "PROBE", probes: 1, updatedMs: nowMs }, send: "unicast" };
    case "PROBE":
    case "INCOMPLETE": {
      // Newer kernels give PROBE its unicast tries only; 2.2 and 2.4 go on with broadcasts in the same round.
      const onlyUnicast = entry.state === "PROBE" && !host.switches.broadcastsInProbe;
      const most = unicastProbes + (onlyUnicast ? 0 : multicastProbes);
      if (entry.probes >= most) return quiet({ ...entry, state: "FAILED", updatedMs: nowMs });
      const send = entry.probes < unicastProbes ? "unicast" : "broadcast";
      return { entry: { ...entry, probes: entry.probes + 1 }, send };
    }
    default:
      return quiet(entry);
  }
}
