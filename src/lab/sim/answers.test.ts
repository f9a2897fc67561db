/** A service that answers, and wrongly: what the agent's own http check makes of it, and what clients get meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterOfText, scenarioPlotOf, tellScenario } from "../../testing/scenarios.ts";
import type { ScenarioOutcome } from "./scenario.ts";
import { scheduleOf } from "./schedule.ts";

const file = (check: string, faults: string): string => `version: 1
name: answering
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12, web3: 10.10.0.13 }
vips: { web: 10.10.0.100 }
policy: arp-sysctl
services: [{ name: it, port: 80, scheduler: rr, health: ${check} }]
lab: { scenario: { seconds: 40, longLived: 0, faults: [${faults}] } }
`;
const check = (more: string): string => `{ type: http, intervalMs: 1000, rise: 2, fall: 3, jitterPercent: 0${more} }`;
const errs = "{ at: 5, do: answers, host: web2, value: 503 }";

const told = ({ timeline }: ScenarioOutcome): string[] =>
  timeline.slice(1).map((t) => `${Math.round(t.atMs / 1000)} ${t.text}`);
const whole = [
  "5 web2 answers everything with status 503",
  "8 lb1: it web2: http: status 503",
  "20 web2 answers as it should",
  "22 lb1: it web2: http: status 200",
];

test("out of service after `fall` wrong answers, in again after `rise` right ones", async () => {
  const outcome = await tellScenario(file(check(""), `${errs}, { at: 20, do: answers, host: web2 }`));
  assert.deepEqual(told(outcome), whole);
  const { total, completed, failed = 0 } = outcome.connections;
  assert.equal(completed, total);
  // a third of those of three seconds, and not of fifteen
  assert.ok(failed >= 2 && failed <= 5, `${failed} of ${total}`);
});

test("a check that asks for another status, path, method or host gets it, until the server answers wrongly", async () => {
  const asked = check(", path: '/is-it-up?', method: HEAD, host: www.example.com, status: [100, 204, '300-308']");
  const outcome = await tellScenario(file(asked, `${errs}, { at: 20, do: answers, host: web2 }`));
  assert.deepEqual(told(outcome), [...whole.slice(0, 3), "22 lb1: it web2: http: status 204"]);
  const other = await tellScenario(file(asked, "{ at: 5, do: answers, host: web2, value: 302 }"));
  assert.deepEqual(told(other), ["5 web2 answers everything with status 302"]);
});

test("a status that is good elsewhere is wrong where the check asks for another", async () => {
  const outcome = await tellScenario(file(check(", status: 204"), "{ at: 5, do: answers, host: web1, value: 200 }"));
  assert.deepEqual(told(outcome).slice(1), ["7 lb1: it web1: http: status 200"]);
  assert.equal(outcome.connections.failed, 0);
});

test("a server that starts again answers as it should; stories without such a fault count no errors", async () => {
  const power = "{ at: 10, do: crash, host: web2 }, { at: 20, do: restart, host: web2 }";
  const outcome = await tellScenario(file(check(""), `${errs}, ${power}`));
  assert.match(told(outcome).at(-1) ?? "", /lb1: it web2: http: status 200/);
  assert.ok(!("failed" in (await tellScenario(file(check(""), power))).connections));
});

test("explore's dice know it where an http check asks, and nowhere else", () => {
  const actionsOf = (health: string): Set<string> => {
    const cluster = clusterOfText(file(health, ""));
    const plot = scenarioPlotOf(cluster);
    const runs = Array.from({ length: 200 }, (_, run) => scheduleOf(cluster, plot, 1, run, 3_600_000));
    return new Set(runs.flat().map((f) => f.action));
  };
  assert.ok(actionsOf(check("")).has("answers"));
  assert.ok(!actionsOf("tcp").has("answers"));
});
