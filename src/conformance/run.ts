/** A whole run: two workers, what they find, and what of the model was exercised. */
import { Worker } from "node:worker_threads";
import { leftoverNamespaces, removeNamespace } from "../host/namespace.ts";
import { rules } from "../model/rules.ts";
import type { Abilities } from "./generate.ts";
import type { Finding, WorkerNews, WorkerOrder } from "./messages.ts";

export interface RunOptions {
  readonly cases: number;
  readonly seed: number;
  readonly workers: number;
  readonly signal?: AbortSignal;
  /** Called some times a second. */
  readonly onProgress?: (asked: number, perSecond: number, findings: number) => void;
  readonly onFinding?: (finding: Finding) => void;
}

export interface RunReport {
  readonly seed: number;
  readonly asked: number;
  readonly hosts: number;
  readonly seconds: number;
  readonly abilities: Abilities;
  readonly findings: readonly Finding[];
  /** How often each rule decided, most first. */
  readonly exercised: readonly (readonly [string, number])[];
  readonly unexercised: readonly Unexercised[];
}

export interface Unexercised {
  readonly rule: string;
  readonly why: string;
}

export async function runConformance(options: RunOptions): Promise<RunReport> {
  for (const name of leftoverNamespaces({ kept: false })) if (name.startsWith("vw-c")) removeNamespace(name);
  const name = (worker: number | string): string => `vw-c${process.pid}-${worker}`;
  const abilities = await abilitiesInWorker(name("t"));
  const started = performance.now();
  const counts = new Map<string, number>();
  const findings: Finding[] = [];
  let asked = 0;
  let hosts = 0;
  const seconds = (): number => (performance.now() - started) / 1000;
  const timer = setInterval(() => options.onProgress?.(asked, asked / seconds(), findings.length), 250);
  try {
    await Promise.all(
      Array.from({ length: options.workers }, (_, i) => {
        const order: WorkerOrder = {
          seed: options.seed,
          first: i,
          step: options.workers,
          cases: Math.ceil(options.cases / options.workers),
          abilities,
          name: name(i),
        };
        return oneWorker(order, options.signal, (news) => {
          if (news.kind === "asked") asked += news.count;
          else if (news.kind === "rules") {
            hosts += news.hosts;
            for (const [rule, count] of news.rules) counts.set(rule, (counts.get(rule) ?? 0) + count);
          } else if (news.kind === "finding") {
            findings.push(news.finding);
            options.onFinding?.(news.finding);
          }
        });
      }),
    );
  } finally {
    clearInterval(timer);
    for (let i = 0; i < options.workers; i++) for (const end of ["h", "p"]) removeNamespace(`${name(i)}${end}`);
  }
  return {
    seed: options.seed,
    asked,
    hosts,
    seconds: seconds(),
    abilities,
    findings,
    exercised: [...counts].sort((a, b) => b[1] - a[1]),
    unexercised: unexercised(counts, abilities),
  };
}

function oneWorker(
  order: WorkerOrder,
  signal: AbortSignal | undefined,
  hear: (news: WorkerNews) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: order });
    const abort = (): void => {
      void worker.terminate();
      reject(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    signal?.addEventListener("abort", abort);
    worker.on("message", (news: WorkerNews) => {
      if (news.kind === "failed") reject(new Error(news.message));
      else if (news.kind === "done") resolve();
      else hear(news);
    });
    worker.on("error", reject);
    worker.on("exit", (code) => {
      signal?.removeEventListener("abort", abort);
      reject(new Error(`a conformance worker ended with ${code}`)); // after "done" this says nothing any more
    });
  });
}

/** Tried in a thread of its own, because a stage leaves its thread in another namespace. */
function abilitiesInWorker(name: string): Promise<Abilities> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./abilitiesWorker.js", import.meta.url), { workerData: name });
    worker.on("message", (news: Abilities | { readonly failed: string }) =>
      "failed" in news ? reject(new Error(news.failed)) : resolve(news),
    );
    worker.on("error", reject);
  });
}

/** Why a rule can never be the one that decides in a run on a kernel of today; all others should be. */
const reasons: readonly (readonly [RegExp, string])[] = [
  [
    /^[ABC]-2\.(0|2|4)|^A-2\.(2|4)h|^A-2\.2(sdw|inv)|^B-2\.(2|4)h|^C-2\.2/,
    "a rule of older or patched kernels, or restated by a later one",
  ],
  [/^D-/, "IPv6 is not part of the harness"],
  [/^C-DIR/, "IPVS, not part of the model"],
  [/^S-/, "says how values combine: at work in every decision that reads one, decides none by itself"],
];
const single: Readonly<Record<string, string>> = {
  "A-ALL-04": "holds for every answer; each one's link and MAC are compared",
  "A-ALL-05": "says what makes no difference; broadcast and unicast requests are both asked",
  "A-2.2-04": "says what local means: every question about an address of another link asks it",
  "A-2.2-05": "prefixes on lo are drawn; the rule acts through the local table",
  "A-2.2-06": "NOARP links that hold addresses are drawn; the rule says that nothing follows",
  "A-2.6-02": "all and links are drawn apart; acts in A-2.6-03 to A-2.6-07",
  "A-2.6-08": "all and links are drawn apart; acts in A-2.6-03 to A-2.6-07",
  "A-2.6-09": "acts inside A-2.6-04 to A-2.6-06",
  "A-2.6-12": "older kernels; that nothing is learned here is compared with the neighbour cache",
  "A-2.6-15": "acts in A-2.2-09, with arp_ignore and arp_filter drawn",
  "A-2.6-18": "local routes are drawn; acts in A-2.6-03 to A-2.6-06",
  "A-2.6-19": "route_localnet is drawn; acts in A-ALL-03, A-2.6-06 and source selection",
  "A-2.6-22": "2.6.30 only",
  "B-2.6-01": "all and links are drawn apart; acts in B-2.6-02 to B-2.6-04",
  "B-2.6-05": "3 is drawn; acts in B-2.6-02",
  "B-2.6-06": "acts inside B-2.6-03, B-2.6-04 and B-2.6-08",
  "B-2.6-07": "a combination of B-2.6-06 and A-2.2-07 over two hosts",
  "B-G-02": "a remark for people",
  "B-N-06": "aging is not drawn, it takes seconds; neighbourTimers.netns.test.ts asks the kernel",
  "B-N-07": "2.6.9 - 4.11",
  "B-N-08": "carrier loss is not asked",
  "C-ALL-02": "a remark for people",
  "C-ALL-04": "a remark for people",
  "C-2.4-01": "acts when a prerouting rule drops",
  "B-2.2-02": "acts inside B-2.6-03, B-2.6-04 and B-2.6-08",
  "B-2.2-03": "counts and times of probes are not asked: they take seconds",
  "C-2.4-02": "redirects are not drawn: connection tracking would tie one question to the next",
  "C-2.6-06": "which source a UDP service answers from is not asked",
  "C-2.6-07": "a remark for people",
};

function unexercised(counts: ReadonlyMap<string, number>, abilities: Abilities): Unexercised[] {
  return Object.keys(rules)
    .filter((rule) => !counts.has(rule))
    .map((rule) => {
      const pattern = reasons.find(([p]) => p.test(rule))?.[1];
      const tunnels = !abilities.ipip && (rule === "C-2.6-05" || rule === "C-2.6-03");
      const why = single[rule] ?? pattern ?? (tunnels ? "this kernel has no ipip" : "");
      return { rule, why: why === "" ? "NOT EXERCISED, and nothing excuses it" : why };
    });
}
