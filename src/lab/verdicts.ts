/** The wire's word, line by line: each verdict compares what was measured with what a healthy cluster shows. */

import type { ChapterReport, TrafficStep, Verdict, WhoHasStep } from "./report.ts";
import { judgeSpread } from "./spread.ts";

/** What the verdicts need to know of the lab beside its measurements. */
export interface Expectations {
  readonly owner: string;
  readonly engine: string;
  /** Of each service "VIP:port": the weight of each real server. */
  readonly weights: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** The real servers' kernels are silent as they are: then the "problem" is that there is none. */
  readonly quietByNature?: boolean;
}

type Steps = Omit<ChapterReport, "verdicts" | "tookMs" | "machines" | "forwarding" | "engine">;

const verdict = (id: string, title: string, expected: string, measured: string, held: boolean): Verdict => ({
  id,
  title,
  expected,
  measured,
  held,
});

const list = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${n}`)
    .join(", ") || "none";
const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
const owners = (step: WhoHasStep): string => step.shares.map((s) => s.machine).join(", ") || "nobody";

function quietVerdicts({ problem }: Steps, { owner }: Expectations): Verdict[] {
  const { whoHas, traffic } = problem;
  return [
    verdict(
      "problem/by-nature",
      "these kernels are silent as they are: one machine answers without any discipline",
      owner,
      whoHas.map(owners).join("; "),
      whoHas.every((step) => step.shares.length === 1 && step.shares[0]?.machine === owner),
    ),
    verdict(
      "problem/none-broken",
      "and nothing breaks",
      "0",
      `${traffic.bypassedDirector} bypassed the director, ${traffic.connections - traffic.completed} broken`,
      traffic.bypassedDirector === 0 && traffic.completed === traffic.connections,
    ),
  ];
}

function problemVerdicts({ problem, leak }: Steps, { owner }: Expectations): Verdict[] {
  const { whoHas, traffic } = problem;
  const shown = [
    verdict(
      "problem/answers",
      "without discipline several machines answer for the VIP",
      "more than one",
      whoHas.map(owners).join("; "),
      whoHas.every((step) => step.shares.length > 1),
    ),
    verdict(
      "problem/bypass",
      "connections reach real servers behind the director's back",
      "at least one",
      `${traffic.bypassedDirector} of ${traffic.connections}`,
      traffic.bypassedDirector > 0,
    ),
    verdict(
      "problem/broken",
      "long-lived connections break in the middle",
      "at least one",
      `${traffic.longLivedBroken} of ${traffic.longLived}`,
      traffic.longLivedBroken > 0,
    ),
  ];
  if (leak !== undefined)
    shown.push(
      verdict(
        "leak/poisons",
        "a real server that answers nothing still moves the VIP by its own ARP request",
        `${leak.neighbour}'s cache moves from ${owner} to ${leak.realServer}`,
        `${leak.before} -> ${leak.after}, ${leak.leaked} leaked, who-has shows ${leak.whoHas.map((s) => s.machine).join(", ")}`,
        leak.before === owner && leak.after === leak.realServer && leak.leaked > 0 && leak.whoHas.length === 1,
      ),
    );
  return shown;
}

function trafficVerdicts(traffic: TrafficStep, expectations: Expectations): Verdict[] {
  const n = traffic.connections;
  return [
    verdict(
      "proof/through-director",
      "all traffic goes through the director",
      `${n} of ${n}`,
      `${traffic.openedAtDirector} opened there, ${traffic.bypassedDirector} bypassed it, ${traffic.changedMachine} changed machine`,
      n > 0 && traffic.openedAtDirector === n && traffic.bypassedDirector === 0 && traffic.changedMachine === 0,
    ),
    verdict(
      "proof/none-broken",
      "no connection breaks",
      `${n} of ${n} completed`,
      `${traffic.completed} completed, ${traffic.refused} refused, ${traffic.reset} reset, ${traffic.hung} hung`,
      n > 0 && traffic.completed === n,
    ),
    ...traffic.services.map((service) => {
      const name = `${service.vip}:${service.port}`;
      const spread = judgeSpread(service.scheduler, expectations.weights[name] ?? {}, service.served);
      return verdict(
        "proof/spread",
        `connections to ${name} are spread`,
        spread.expected,
        list(service.served),
        spread.held,
      );
    }),
  ];
}

export function judgeProof(proof: ChapterReport["proof"], expectations: Expectations): Verdict[] {
  const { whoHas, traffic, reach, counts, leaks, lostFrames } = proof;
  const ripsWrong = reach.filter((r) => r.answeredBy.length !== 1 || r.answeredBy[0] !== r.realServer);
  const unreached = reach.filter((r) => r.reached.length !== r.asked.length || r.asked.length === 0);
  const differing = counts.filter((c) => c.counted !== c.seen);
  return [
    verdict(
      "proof/one-owner",
      "exactly one machine answers for the VIP",
      expectations.owner,
      whoHas.map(owners).join("; "),
      whoHas.every(
        (step) =>
          step.shares.length === 1 &&
          step.shares[0]?.machine === expectations.owner &&
          // the client's kernel may ask as well: there may be more answers than questions of ours, never fewer
          step.shares[0].answers >= step.asked,
      ),
    ),
    verdict("proof/no-leak", "no real server asks in the VIP's name", "none", list(leaks), sum(leaks) === 0),
    verdict(
      "proof/rip-answered",
      "every real server's own address is still answered",
      `${reach.length} of ${reach.length}`,
      ripsWrong.length === 0
        ? `${reach.length} of ${reach.length}`
        : `not so: ${ripsWrong.map((r) => r.realServer).join(", ")}`,
      reach.length > 0 && ripsWrong.length === 0,
    ),
    verdict(
      "proof/neighbours",
      "every real server still reaches its neighbours",
      `${reach.length} of ${reach.length}`,
      unreached.length === 0
        ? `${reach.length} of ${reach.length}`
        : `not so: ${unreached.map((r) => r.realServer).join(", ")}`,
      reach.length > 0 && unreached.length === 0,
    ),
    ...trafficVerdicts(traffic, expectations),
    verdict(
      "proof/counts-agree",
      `${expectations.engine}'s own packet counts agree with the wire`,
      counts.map((c) => `${c.realServer} ${c.seen}`).join(", "),
      counts.map((c) => `${c.realServer} ${c.counted}`).join(", ") +
        (lostFrames > 0 ? `; the tap lost ${lostFrames} frames` : ""),
      counts.length > 0 &&
        sum(Object.fromEntries(counts.map((c) => [c.realServer, c.counted]))) > 0 &&
        differing.length === 0 &&
        lostFrames === 0,
    ),
  ];
}

export const judge = (steps: Steps, expectations: Expectations): Verdict[] => [
  ...(expectations.quietByNature === true ? quietVerdicts : problemVerdicts)(steps, expectations),
  ...judgeProof(steps.proof, expectations),
];
