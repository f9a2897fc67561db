import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeakStep, WhoHasShare } from "../lab/report.ts";
import { paint } from "./colour.ts";
import { eventText, verdictTable } from "./labText.ts";

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

test("a verdict is one line where it fits, and never wider than the terminal where it can be broken", () => {
  const verdicts = [
    { id: "a", title: "no connection breaks", expected: "", measured: "60 completed, 0 refused, 0 reset", held: true },
    { id: "b", title: "exactly one machine answers", expected: "", measured: "lb1", held: false },
  ];
  assert.match(
    verdictTable(verdicts, paint(false)),
    /^ {4}held {4}no connection breaks {9}60 completed, 0 refused, 0 reset\n/,
  );
  const narrow = verdictTable(verdicts, paint(false), 40).trimEnd().split("\n");
  assert.ok(
    narrow.every((line) => line.length <= 40 && line !== ""),
    narrow.join("\n"),
  );
  assert.match(narrow.join("\n"), /FAILED {2}exactly one machine answers\n {14}lb1$/);
});

test("a kept lab says how to take it away again, by the prefix it was made with", () => {
  const kept = (prefix: string): string => eventText({ kind: "kept", machines: [], prefix }, paint(false));
  assert.match(kept("vw-"), /vipward lab --clean\n/);
  assert.match(kept("other-"), /vipward lab --clean --prefix other-\n/);
});
