import assert from "node:assert/strict";
import { test } from "node:test";
import type { CheckReport } from "../doctor/check.ts";
import type { LiveCase } from "../doctor/testing/liveCase.ts";
import { LIVE_VIP, LiveHost, type LiveRole } from "./liveHost.ts";
import { needsRoot } from "./root.ts";

const roleOf = ({ clusterNot: _, ...c }: LiveCase): LiveRole => ({ role: "real-server", ...c });
const twinRoleOf = ({ clusterNot, ...c }: LiveCase): LiveRole => ({
  role: "real-server",
  ...c,
  ...(clusterNot === undefined ? {} : { cluster: clusterNot }),
});
const ids = (report: CheckReport): string[] => report.findings.map((f) => f.id);

/** The report's words about eth0 against what the wire shows. */
function packetsAgree(host: LiveHost, report: CheckReport, about: string, method?: "tun"): void {
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
      assert.equal(host.takes(LIVE_VIP, method), !said.wrong, `${about}: ${said.says}`);
}

function on<T>(label: string, lines: readonly string[], use: (host: LiveHost) => T): T {
  const host = new LiveHost(label, lines);
  try {
    return use(host);
  } finally {
    host.close();
  }
}

/** Each case as a test: host, twin, packets where `withPackets` wants them, and the remedy's own lines. */
export function testLiveCases(
  cases: readonly LiveCase[],
  label: string,
  withPackets: (c: LiveCase) => boolean = () => true,
): void {
  for (const [i, c] of cases.entries())
    testLiveCase(c, `${label}${i}`, withPackets(c) ? packetsAgree : () => undefined);
}

const testLiveCase = (c: LiveCase, label: string, agree: typeof packetsAgree): void =>
  void test(`${c.id} on the running kernel; not on its twin (${c.twin})`, (t) => {
    if (!needsRoot(t)) return;
    on(`${label}h`, c.has, (host) => {
      const report = host.check(roleOf(c));
      const finding = report.findings.find((f) => f.id === c.id);
      assert.ok(finding, `found instead: ${ids(report).join(", ") || "nothing"}`);
      agree(host, report, "host", c.method);
      for (const [ip, has] of c.answers ?? []) assert.equal(host.answersNeighbours(ip), has, `host: ${ip}`);
      if (c.saysVip) assert.ok(host.says(...c.saysVip).includes(LIVE_VIP), "announces the VIP by itself");
      if (c.byHand) return;
      const lines = finding.remedy.shell.filter((l) => !l.startsWith("#"));
      assert.ok(lines.length > 0, "lines to run");
      for (const line of lines) host.run(line);
      const after = host.check(roleOf(c));
      assert.ok(!ids(after).includes(c.id), `still there after ${lines.join("; ")}`);
      agree(host, after, "mended", c.method);
    });
    on(`${label}t`, c.hasNot, (host) => {
      const report = host.check(twinRoleOf(c));
      assert.ok(!ids(report).includes(c.id), ids(report).join(", "));
      agree(host, report, "twin", c.method);
      for (const [ip, , hasNot] of c.answers ?? []) assert.equal(host.answersNeighbours(ip), hasNot, `twin: ${ip}`);
      if (c.saysVip) assert.ok(!host.says(...c.saysVip).includes(LIVE_VIP), "says nothing of the VIP");
    });
  });
