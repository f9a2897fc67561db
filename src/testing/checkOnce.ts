/** One health check at a time over real sockets, to its verdict: for tests of what the sockets make of a server. */

import { ProbeSockets } from "../host/agent/probeSockets.ts";
import { type Checker, type Probe, startProbe, stepProbe, type Verdict } from "../machine/health/probe.ts";
import type { ProbeAction } from "../ports/probes.ts";

export interface Checks {
  /** "up: why", or the code of what is wrong. */
  check<S>(checker: Checker<S>, timeoutMs?: number): Promise<string>;
  /** The same in full. */
  verdict<S>(checker: Checker<S>, timeoutMs?: number): Promise<Verdict>;
  close(): void;
}

/** `inside`: where sockets are opened. */
export function makeChecks(inside: (open: () => void) => void = (open) => open()): Checks {
  const running = new Map<number, { probe: Probe<never>; done: (probe: Probe<never>) => void }>();
  const perform = (attempt: number, actions: readonly unknown[]): void =>
    inside(() => {
      for (const action of actions) sockets.perform(attempt, action as ProbeAction);
    });
  const sockets = new ProbeSockets({
    toNeighbour: () => {},
    onEvent(attempt, event) {
      const one = running.get(attempt);
      if (one === undefined) return;
      const step = stepProbe(one.probe, event, performance.now());
      one.probe = step.probe;
      perform(attempt, step.effects);
      if (step.probe.verdict !== undefined) one.done(step.probe);
    },
  });
  let next = 1;
  async function verdict<S>(checker: Checker<S>, timeoutMs = 2000): Promise<Verdict> {
    const attempt = next++;
    const step = startProbe(checker, timeoutMs, 12345, performance.now());
    let timer: NodeJS.Timeout | undefined;
    const ended = await new Promise<Probe<never>>((done) => {
      running.set(attempt, { probe: step.probe as unknown as Probe<never>, done });
      perform(attempt, step.effects);
      timer = setTimeout(() => {
        const one = running.get(attempt);
        if (one === undefined) return;
        const late = stepProbe(one.probe, { kind: "tick" }, performance.now() + 10);
        perform(attempt, late.effects);
        done(late.probe);
      }, timeoutMs);
    });
    clearTimeout(timer);
    running.delete(attempt);
    if (ended.verdict === undefined) throw new Error("it ended without a verdict");
    return ended.verdict;
  }
  return {
    verdict,
    async check(checker, timeoutMs) {
      const found = await verdict(checker, timeoutMs);
      return found.up ? `up: ${found.why}` : found.code;
    },
    close: () => sockets.close(),
  };
}
