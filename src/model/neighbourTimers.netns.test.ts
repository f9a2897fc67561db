import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { Wire } from "../testing/arpWire.ts";
import { needsRoot } from "../testing/root.ts";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Here, and not in host/, because it is the model's rule that the kernel is asked about. */
test("B-N-06 on the running kernel: the delay runs from the first use, however many follow", async (t) => {
  if (!needsRoot(t)) return;
  const wire = new Wire("delay");
  try {
    wire.rs.run(() => writeFileSync("/proc/sys/net/ipv4/neigh/eth0/delay_first_probe_time", "1"));
    wire.setNeighbour("10.0.0.1", "stale");
    wire.seen();
    const startMs = performance.now();
    let probedMs = Number.POSITIVE_INFINITY;
    // Traffic for three seconds; were each use to put the timer off, no request could come before its end.
    while (performance.now() - startMs < 3000 && probedMs === Number.POSITIVE_INFINITY) {
      wire.sendFrom("10.0.0.11");
      await sleep(100);
      if (wire.seen().some((a) => a.operation === 1 && a.targetIp === "10.0.0.1"))
        probedMs = performance.now() - startMs;
    }
    assert.ok(probedMs < 3000, "no probe while traffic went on");
    assert.ok(probedMs >= 900, `probed after ${probedMs} ms`);
  } finally {
    wire.close();
  }
});
