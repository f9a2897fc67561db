import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { clusterText, DirectorLab, vip } from "../../testing/directorLab.ts";
import { testsInVm } from "../../testing/vm.ts";

testsInVm(import.meta.url, "two vipward directors: election, health, drain, switch-over, crash, restart", () => {
  let lab: DirectorLab;
  const vrrp = { version: 3, intervalMs: 500 } as const;
  const text = (): string => clusterText(vrrp);
  before(async () => {
    lab = new DirectorLab("vw-dir-");
    await lab.serve("web1");
    await lab.serve("web2");
  });
  after(() => lab?.close());
  const lost = () => lab.attempts.filter((a) => a.by === undefined);
  const table = (lb: "lb1" | "lb2"): string => lab.run(lb, "ipvsadm", "-S", "-n");

  test("the higher priority takes the VIP, programs IPVS, and clients are served by both", async () => {
    lab.vipward("lb1", text());
    lab.vipward("lb2", text());
    await lab.until("lb1 alone holds the VIP", () => lab.holders().join() === "lb1", 60_000);
    await lab.until("both are in the table", () => (table("lb1").match(/-w 1/g) ?? []).length === 2, 30_000);
    await lab.probe(100, 5000);
    await lab.until(
      "both serve",
      () => new Set(lab.attempts.map((a) => a.by).filter((b) => b !== undefined)).size === 2,
      20_000,
    );
    const phaseOfLb2 = async () => (await lab.status("lb2").catch(() => undefined))?.instances[0]?.phase;
    await lab.until("lb2 stands by", async () => (await phaseOfLb2()) === "backup", 60_000);
    const status = await lab.status("lb2");
    assert.match(status.instances[0]?.owner ?? "", /lb1/);
    assert.equal(status.services[0]?.servers[0]?.health, "up");
    assert.ok(vip);
  });

  test("a dead server leaves the table, and comes back", async () => {
    await lab.stopServing("web2");
    await lab.until("web2 is out", () => !table("lb1").includes("10.50.0.12"), 20_000);
    await lab.serve("web2");
    await lab.until("web2 is back", () => table("lb1").includes("10.50.0.12:80 -g -w 1"), 20_000);
  });

  test("a planned switch-over refuses nobody who comes; release takes it back", async () => {
    lab.attempts.length = 0;
    const answer = await lab.ask("lb1", "switchover");
    assert.equal(answer.ok, true, JSON.stringify(answer));
    await lab.until("lb2 alone holds the VIP", () => lab.holders().join() === "lb2", 10_000);
    await lab.until("clients were served since", () => lab.attempts.length > 20, 20_000);
    assert.deepEqual(lost(), []);
    await lab.ask("lb1", "switchover", { release: true });
    await lab.until("lb1 has it again", () => lab.holders().join() === "lb1", 20_000);
  });

  test("drain: weight 0, out when empty, and back by undrain", async () => {
    await lab.ask("lb1", "drain", { server: "web1", timeoutMs: 3000 });
    assert.match(table("lb1"), /10\.50\.0\.11:80 -g -w 0/);
    await lab.until("web1 is out", () => !table("lb1").includes("10.50.0.11"), 20_000);
    await lab.ask("lb1", "undrain", { server: "web1" });
    assert.match(table("lb1"), /10\.50\.0\.11:80 -g -w 1/);
  });

  test("a drain ends with its server's leaving the file, for the restart that follows too", async () => {
    await lab.ask("lb1", "drain", { server: "web1", timeoutMs: 3000 });
    await lab.reload("lb1", text().replace(/web1: [0-9.]+, /, ""));
    await lab.reload("lb1", text());
    await lab.until("web1 is back", () => table("lb1").includes("10.50.0.11:80 -g -w 1"), 20_000);
  });

  test("a director killed at once is followed by the other; restarted, it adopts its table and takes over again", async () => {
    lab.signal("lb1", "SIGKILL");
    await lab.ended("lb1", 5000);
    await lab.until("lb2 holds the VIP too", () => lab.holders().includes("lb2"), 20_000);
    const before = table("lb1");
    assert.match(before, /10\.50\.0\.100:80/);
    lab.vipward("lb1", text());
    await lab.until("lb1 alone", () => lab.holders().join() === "lb1", 60_000);
    assert.equal(table("lb1"), before);
  });

  test("a graceful stop hands over within the skew, and leaves the table", async () => {
    lab.attempts.length = 0;
    lab.signal("lb1", "SIGTERM");
    await lab.ended("lb1", 15_000);
    assert.equal(lab.process("lb1").exitCode, 0, lab.output.get("lb1"));
    await lab.until("lb2 alone", () => lab.holders().join() === "lb2", 10_000);
    await lab.until("clients were served since", () => lab.attempts.length > 20, 20_000);
    assert.deepEqual(lost(), []);
  });
});
