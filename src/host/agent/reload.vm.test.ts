import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { addresses, DirectorLab, vip } from "../../testing/directorLab.ts";
import { LineThread } from "../../testing/lineThreads.ts";
import { testsInVm } from "../../testing/vm.ts";

/** A single director, so that what happens to a connection is the director's doing. */
const cluster = (services: string): string => `version: 1
name: reload
networks: { lan: { prefix: 10.50.0.0/24, router: ${addresses.client} } }
directors: { lb1: { dip: ${addresses.lb1} } }
realServers: { web1: ${addresses.web1}, web2: ${addresses.web2} }
vips: { web: ${vip} }
health: { type: tcp, port: 80, intervalMs: 500, timeoutMs: 400, rise: 1, fall: 1 }
silenceCheck: { intervalMs: 60000 }
services:
${services}
agent: { socket: /nowhere }
`;
const weights = (web1: number, web2: number): string =>
  `  - { name: lines, vip: web, port: 80, scheduler: wrr, drainTimeoutMs: 600000, realServers: { web1: ${web1}, web2: ${web2} } }`;
const range = "  - { name: range, vip: web, port: 8000-8010, scheduler: rr, forwarding: dr }";
const other = "  - { name: other, vip: web, port: 81, scheduler: rr }";

testsInVm(import.meta.url, "what a reload does not change loses no connection; nor does a crash of the agent", () => {
  let lab: DirectorLab;
  const threads: LineThread[] = [];
  let client: LineThread;
  let long: { say(): Promise<string | undefined> } | undefined;
  let server: string | undefined;
  const table = (): string => lab.run("lb1", "ipvsadm", "-S", "-n");
  const rewrite = (services: string): void => writeFileSync(lab.clusterFile("lb1"), cluster(services));
  const alive = async (): Promise<void> => assert.equal(await long?.say(), server, "the connection broke");

  before(async () => {
    lab = new DirectorLab("vw-reload-");
    for (const web of ["web1", "web2"] as const) {
      const thread = await LineThread.start(lab.namespace(web), web);
      threads.push(thread);
      for (const port of [80, 81, 8005]) await thread.serve(port);
    }
    client = await LineThread.start(lab.namespace("client"), "client");
    threads.push(client);
    lab.vipward("lb1", cluster(weights(1, 1)));
    await lab.until("both are in", () => (table().match(/-w 1/g) ?? []).length === 2, 90_000);
    long = await client.open(vip, 80);
    server = await long?.say();
    assert.match(server ?? "", /^web[12]$/);
  });
  after(async () => {
    for (const thread of threads) await thread.close();
    await lab?.close();
  });

  test("SIGHUP: one weight changed", async () => {
    rewrite(weights(1, 5));
    lab.process("lb1").kill("SIGHUP");
    await lab.until("the weight is there", () => table().includes("-w 5"), 20_000);
    await alive();
  });

  test("a changed file: two services more, one of them a range of ports by a mark; both serve", async () => {
    rewrite([weights(1, 5), range, other].join("\n"));
    await lab.until("they are in", () => (table().match(/^-A/gm) ?? []).length === 3, 30_000);
    await lab.until("with weights", () => !table().includes("-w 0"), 20_000);
    for (const port of [81, 8005]) {
      const made = await client.open(vip, port);
      assert.match((await made?.say()) ?? "", /^web[12]$/, `port ${port}`);
    }
    await alive();
  });

  test("the API: services go again, and with an error in the file nothing does", async () => {
    rewrite(`${weights(1, 5)}\n  - { vip: nobody, port: 82 }`);
    assert.equal((await lab.ask("lb1", "reload")).ok, false);
    assert.equal((table().match(/^-A/gm) ?? []).length, 3);
    rewrite(weights(2, 2));
    assert.equal((await lab.ask("lb1", "reload")).ok, false, "two of three services are more than half");
    assert.equal((await lab.ask("lb1", "reload", { force: true })).ok, true);
    assert.equal((table().match(/^-A/gm) ?? []).length, 1);
    await alive();
  });

  test("drained, its connection stays and nobody new comes; taken back, it serves again", async () => {
    await lab.ask("lb1", "drain", { server, timeoutMs: 600_000 });
    for (let i = 0; i < 4; i++) assert.notEqual(await (await client.open(vip, 80))?.say(), server);
    await alive();
    await lab.ask("lb1", "undrain", { server });
    await alive();
  });

  test("the agent killed at once and started again: data path, VIP and connection stay, nothing is changed", async () => {
    lab.signal("lb1", "SIGKILL");
    await lab.ended("lb1", 5_000);
    await alive();
    assert.match((await (await client.open(vip, 80))?.say()) ?? "", /^web[12]$/, "nobody forwards");
    const before = table();
    lab.output.set("lb1", "");
    lab.vipward("lb1", cluster(weights(2, 2)));
    await lab.until("it has read the table", () => (lab.output.get("lb1") ?? "").includes("table/loaded"), 60_000);
    assert.match(lab.output.get("lb1") ?? "", /table\/loaded ipvs: 0 changes/);
    await lab.until("it answers", async () => (await lab.status("lb1").catch(() => undefined)) !== undefined, 60_000);
    assert.equal(table(), before);
    await alive();
  });

  test("somebody who empties the table meanwhile is noticed, named as such, and the table stands again", async () => {
    lab.run("lb1", "ipvsadm", "-C");
    await lab.ask("lb1", "reload"); // changes nothing of the file, and looks at the table soon after
    await lab.until("it stands again", () => (table().match(/-w 2/g) ?? []).length === 2, 60_000);
    const status = await lab.status("lb1");
    assert.ok(status.events.some((e) => e.code === "table/drift"));
  });
});
