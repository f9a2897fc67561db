import assert from "node:assert/strict";
import { test } from "node:test";
import { LIVE_VIP, LiveHost, type LiveRole } from "../testing/liveHost.ts";
import { needsRoot } from "../testing/root.ts";
import type { CheckReport } from "./check.ts";
import { type LiveCase, liveCases } from "./testing/liveCases.ts";

/** Each finding that a namespace can show, on the running kernel: host, twin, packets, and the remedy's own lines. */

const roleOf = (c: LiveCase): LiveRole => ({ role: "real-server", ...c });
const ids = (report: CheckReport): string[] => report.findings.map((f) => f.id);

/** The report's words about eth0 against what the wire shows. */
function packetsAgree(host: LiveHost, report: CheckReport, about: string): void {
  const vip = report.vips.find((v) => v.vips.includes(LIVE_VIP));
  assert.ok(vip, about);
  for (const said of vip.answers)
    if (said.link === "eth0")
      assert.equal(host.answers(LIVE_VIP), said.says.startsWith("answers"), `${about}: ${said.says}`);
  for (const said of vip.announces)
    if (said.link === "eth0" && said.says.includes(" 10.0.0.1 ") && vip.held.length > 0)
      assert.equal(host.shows(LIVE_VIP).includes(LIVE_VIP), said.says.includes("as the VIP"), `${about}: ${said.says}`);
  for (const said of vip.accepts)
    if (said.link === "eth0" && !/redirect|nat/i.test(said.because))
      assert.equal(host.takes(LIVE_VIP), !said.wrong, `${about}: ${said.says}`);
}

function on<T>(label: string, lines: readonly string[], use: (host: LiveHost) => T): T {
  const host = new LiveHost(label, lines);
  try {
    return use(host);
  } finally {
    host.close();
  }
}

for (const [i, c] of liveCases.entries())
  test(`${c.id} on the running kernel; not on its twin (${c.twin})`, (t) => {
    if (!needsRoot(t)) return;
    on(`l${i}h`, c.has, (host) => {
      const report = host.check(roleOf(c));
      const finding = report.findings.find((f) => f.id === c.id);
      assert.ok(finding, `found instead: ${ids(report).join(", ") || "nothing"}`);
      packetsAgree(host, report, "host");
      for (const [ip, has] of c.answers ?? []) assert.equal(host.answers(ip), has, `host: ${ip}`);
      if (c.saysVip) assert.ok(host.says(...c.saysVip).includes(LIVE_VIP), "announces the VIP by itself");
      if (c.byHand) return;
      const lines = finding.remedy.shell.filter((l) => !l.startsWith("#"));
      assert.ok(lines.length > 0, "lines to run");
      for (const line of lines) host.run(line);
      const after = host.check(roleOf(c));
      assert.ok(!ids(after).includes(c.id), `still there after ${lines.join("; ")}`);
      packetsAgree(host, after, "mended");
    });
    on(`l${i}t`, c.hasNot, (host) => {
      const report = host.check(roleOf(c));
      assert.ok(!ids(report).includes(c.id), ids(report).join(", "));
      packetsAgree(host, report, "twin");
      for (const [ip, , hasNot] of c.answers ?? []) assert.equal(host.answers(ip), hasNot, `twin: ${ip}`);
      if (c.saysVip) assert.ok(!host.says(...c.saysVip).includes(LIVE_VIP), "says nothing of the VIP");
    });
  });
