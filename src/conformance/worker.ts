/** A worker: groups of hosts until its share of cases is asked. Lives in the namespaces that it makes. */
import { parentPort, workerData } from "node:worker_threads";
import { hostsInGroup, runGroup } from "./group.ts";
import type { WorkerNews, WorkerOrder } from "./messages.ts";
import { shrink } from "./shrink.ts";
import { vectorOf } from "./vector.ts";

const { seed, first, step, cases, abilities, name } = workerData as WorkerOrder;
const tell = (news: WorkerNews): void => parentPort?.postMessage(news);
/** Enough to see the pattern; making thousands small would take the rest of the day. */
const mostShrunk = 12;

try {
  let left = cases;
  let shrunk = 0;
  for (let group = first; left > 0; group += step) {
    const hosts = Array.from({ length: hostsInGroup }, (_, i) => i);
    const report = runGroup(seed, group, hosts, abilities, name, (count) => {
      left -= count;
      tell({ kind: "asked", count });
      return left > 0;
    });
    tell({ kind: "rules", rules: [...report.rules], hosts: report.hosts });
    for (const { host, case: drawn, examined } of report.failures)
      for (const difference of examined.differences.slice(0, 2)) {
        const small = shrunk++ < mostShrunk ? shrink(drawn, difference, name) : undefined;
        const shown = small?.difference ?? difference;
        const vector =
          small && vectorOf(`CF-${seed}-${group}-${host}-${difference.n}`, small.case.topology, small.facts, shown);
        tell({
          kind: "finding",
          finding: {
            seed,
            group,
            host,
            what: shown.what,
            rule: shown.rule,
            kernel: shown.kernel,
            model: shown.model,
            repeatable: small !== undefined || shrunk > mostShrunk,
            ...(vector === undefined ? {} : { vector }),
          },
        });
      }
  }
  tell({ kind: "done" });
} catch (error) {
  tell({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
