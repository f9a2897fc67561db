import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeakStep, WhoHasShare } from "../lab/report.ts";
import { paint } from "./colour.ts";
import { eventText } from "./labText.ts";

const share = (machine: string): WhoHasShare => ({ machine, mac: "02:76:77:00:00:01", answers: 20, first: 20 });
const leak = (...machines: string[]): string => {
  const step: LeakStep = {
    realServer: "web1",
    neighbour: "router",
    vip: "10.10.0.100",
    whoHas: machines.map(share),
    before: "lb1",
    after: "web1",
    leaked: 1,
  };
  return eventText({ kind: "leak", step }, paint(false));
};

test("the leak's text says 'only' and 'nothing looks wrong' where one machine answered, and nowhere else", () => {
  assert.match(leak("lb1"), /nothing looks wrong\n {4}who has 10\.10\.0\.100\? only lb1 answers/);
  assert.doesNotMatch(leak("lb1", "web2"), /only lb1|nothing looks wrong/);
  assert.match(leak("lb1", "web2"), /answered by lb1, web2/);
  assert.match(leak(), /answered by nobody/);
});
