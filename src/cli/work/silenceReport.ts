/** What the agent says of its real server's silence: what `vipward apply` came to, in one line. */
import type { Recovery } from "../../apply/run.ts";
import type { SilenceReport } from "../../host/agent/agent.ts";
import { describe } from "../../plan/change.ts";
import { type Applied, headline } from "./silence.ts";

const left = (what: readonly string[]): string => (what.length === 0 ? "" : `; left: ${what.join("; ")}`);

const recovered = (r: Recovery): string =>
  `an earlier run had died half way and was ${r.result === "finished" ? "finished" : "taken back"}${left(r.left)}`;

function reportOfRun({ outcome, policy }: Pick<Applied, "outcome" | "policy">): SilenceReport {
  switch (outcome.kind) {
    case "busy":
      return { state: "busy", text: "another run is at work on this host" };
    case "nothing":
      return { state: "silent", text: "silent for every VIP, as the file says" };
    case "refused":
      return { state: "refused", text: `nothing was changed: ${outcome.why.join("; ")}` };
    case "tookBack": {
      const back = outcome.left.length === 0 ? "all of it was taken back" : "what could be was taken back";
      const remedy = outcome.remedy === undefined ? "" : `; remedy: ${outcome.remedy}`;
      return { state: "failed", text: `${outcome.why}; ${back}${left(outcome.left)}${remedy}` };
    }
    case "done": {
      const changes = outcome.plan.steps.map((step) => describe(step.change)).join("; ");
      return { state: "changed", text: `${headline(policy, outcome.plan)}: ${changes}${left(outcome.left)}` };
    }
  }
}

export function reportOf(applied: Pick<Applied, "outcome" | "policy">): SilenceReport {
  const { outcome } = applied;
  const report = reportOfRun(applied);
  if (!("recovered" in outcome) || outcome.recovered === undefined) return report;
  const state = report.state === "silent" ? "changed" : report.state;
  return { state, text: `${recovered(outcome.recovered)}; ${report.text}` };
}
