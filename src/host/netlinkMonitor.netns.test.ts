import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { prefix } from "../base/prefix.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { within } from "../testing/within.ts";
import { createNamespace, type Namespace, removeNamespace } from "./namespace.ts";
import { type Change, watchChanges } from "./netlinkMonitor.ts";
import { ask, openRtnetlink, type Rtnetlink } from "./rtnetlink.ts";

const names = testPrefix("mon");

async function inside(name: string, body: (ns: Namespace, rt: Rtnetlink) => Promise<void>): Promise<void> {
  const ns = createNamespace(`${names}${name}`);
  const rt = openRtnetlink(ns);
  try {
    await body(ns, rt);
  } finally {
    rt.close();
    ns.close();
    removeNamespace(ns.name);
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  assert.ok(await within(20_000, condition), `never happened: ${what}`);
}

const fail = (error: unknown): void => assert.fail(String(error));

test("changes of every kind are told on the event loop, in order, and end with the monitor", async (t) => {
  if (!needsRoot(t)) return;
  await inside("a", async (namespace, rt) => {
    const seen: Change[] = [];
    const monitor = watchChanges({
      namespace,
      groups: ["link", "address", "route", "rule", "neighbour"],
      onChange: (change) => seen.push(change),
      onResync: () => assert.fail("nothing was lost"),
      onError: fail,
    });
    const has = (kind: Change["kind"], action: Change["action"], more: (c: never) => boolean) => (): boolean =>
      seen.some((c) => c.kind === kind && c.action === action && more(c as never));
    rt.createVeth({ name: "m0" }, { name: "m1" });
    for (const name of ["m0", "m1"]) rt.setLink(name, { up: true });
    rt.addAddress("m0", { prefix: prefix("10.1.0.1/24"), label: "m0:x" });
    rt.addRoute({ destination: prefix("10.2.0.0/16"), gateway: ipv4("10.1.0.2") });
    rt.addRule({ priority: 50, table: 9 });
    rt.setNeighbour("m0", { address: ipv4("10.1.0.9"), mac: mac("02:00:00:00:00:09") });
    rt.removeNeighbour("m0", ipv4("10.1.0.9"));
    rt.removeRule({ priority: 50 });
    rt.removeRoute({ destination: prefix("10.2.0.0/16") });
    rt.removeAddress("m0", prefix("10.1.0.1/24"));
    rt.deleteLink("m0");
    const removed = has("link", "removed", (c: Change & { kind: "link" }) => c.link.name === "m0");
    await until(removed, "the link's removal");
    const at = ipv4("10.1.0.1");
    for (const action of ["set", "removed"] as const) {
      assert.ok(has("link", action, (c: Change & { kind: "link" }) => c.link.name === "m0")());
      assert.ok(has("address", action, (c: Change & { kind: "address" }) => c.address.address === at)());
      assert.ok(has("route", action, (c: Change & { kind: "route" }) => c.route.gateway === ipv4("10.1.0.2"))());
      assert.ok(has("rule", action, (c: Change & { kind: "rule" }) => c.rule.priority === 50)());
      const nine = ipv4("10.1.0.9");
      assert.ok(has("neighbour", "set", (c: Change & { kind: "neighbour" }) => c.neighbour.address === nine)());
    }
    const order = seen.flatMap((c) => (c.kind === "address" && c.address.address === at ? [c.action] : []));
    assert.deepEqual(order, ["set", "removed"]);
    monitor.close();
    monitor.close();
    const count = seen.length;
    rt.createVeth({ name: "m0" }, { name: "m1" });
    await sleep(50);
    assert.equal(seen.length, count);
  });
});

test("a burst beyond the buffer is told as a loss, and changes after it are told again", async (t) => {
  if (!needsRoot(t)) return;
  await inside("b", async (namespace, rt) => {
    let losses = 0;
    const seen = new Set<number>();
    const monitor = watchChanges({
      namespace,
      groups: ["address"],
      receiveBufferOctets: 4608,
      onChange: (change) => {
        if (change.kind === "address") seen.add(change.address.address);
      },
      onResync: () => losses++,
      onError: fail,
    });
    const lo = rt.indexOf("lo");
    const wish = (i: number) => ask.addAddress(lo, { prefix: { address: ipv4FromNumber(0x0a000000 + i), length: 32 } });
    // One synchronous batch: the event loop has no turn to read in between.
    assert.deepEqual(rt.batch(Array.from({ length: 500 }, (_, i) => wish(i))), []);
    await until(() => losses > 0, "the loss");
    assert.ok(seen.size < 500);
    rt.batch([wish(1000)]);
    await until(() => seen.has(0x0a000000 + 1000), "a change after the loss");
    monitor.close();
  });
});

test("a handler may close the monitor, and an error in a handler ends in onError", async (t) => {
  if (!needsRoot(t)) return;
  await inside("c", async (namespace, rt) => {
    let told = 0;
    const closing = watchChanges({
      namespace,
      groups: ["address"],
      onChange: () => {
        told++;
        closing.close();
      },
      onResync: () => {},
      onError: fail,
    });
    const errors: unknown[] = [];
    watchChanges({
      namespace,
      groups: ["address"],
      onChange: () => {
        throw new Error("handler");
      },
      onResync: () => {},
      onError: (error) => errors.push(error),
    });
    const lo = rt.indexOf("lo");
    for (const i of [1, 2, 3])
      rt.batch([ask.addAddress(lo, { prefix: { address: ipv4FromNumber(0x0a000000 + i), length: 32 } })]);
    await until(() => errors.length > 0, "the error");
    await sleep(50);
    assert.equal(told, 1);
    assert.equal(errors.length, 1);
  });
});
