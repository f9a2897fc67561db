import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { type Mac, mac } from "../../base/mac.ts";
import { openPacketSocket, SendBatch } from "../../host/packetSocket.ts";
import { ipv4Conf, writeSysctl } from "../../host/sysctl.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";
import { arpAnnouncement, arpReply, arpRequest } from "../../wire/frame.ts";
import type { Io } from "../io.ts";
import { runWhoHas, type WhoHasFlags } from "./whoHas.ts";

/** Machines in the order of their MACs, 02:00:00:00:00:01 and on. */
const asker = mac("02:00:00:00:00:01");
const lb = mac("02:00:00:00:00:02");
const web1 = mac("02:00:00:00:00:03");
const web2 = mac("02:00:00:00:00:04");
const vip = ipv4("10.7.0.100");
const root = process.getuid?.() === 0;
let wires: Wires;
before(() => {
  if (root)
    wires = buildWires(testPrefix("wh"), {
      asker: ["addr add 10.7.0.1/24 dev eth0"],
      lb: ["addr add 10.7.0.2/24 dev eth0"],
      web1: ["addr add 10.7.0.3/24 dev eth0"],
      web2: ["addr add 10.7.0.4/24 dev eth0"],
    });
});
after(() => wires?.close());
/** What a test did to the machines, to be undone after it. */
const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

const ip = (machine: string, ...args: string[]): string => wires.run(machine, "ip", ...args);
function hold(machine: string, address: string, link: string): void {
  ip(machine, "addr", "add", address, "dev", link);
  undo.push(() => ip(machine, "addr", "del", address, "dev", link));
}
function sysctl(machine: string, name: string, value: string): void {
  wires.machine(machine).run(() => writeSysctl(ipv4Conf("eth0", name), value));
  undo.push(() => wires.machine(machine).run(() => writeSysctl(ipv4Conf("eth0", name), "0")));
}
/** Sends frames as a machine, whatever its kernel thinks of them. */
function inject(machine: string, ...frames: Uint8Array[]): void {
  const socket = openPacketSocket({ interface: "eth0", namespace: wires.machine(machine) });
  try {
    assert.equal(socket.send(frames), frames.length);
  } finally {
    socket.close();
  }
}

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}
interface Session extends Promise<Outcome> {
  end(): void;
  said(): string;
}
/** Runs the command in the asker's namespace, with a terminal that remembers. */
function session(vips: string[], flags: WhoHasFlags = {}, terminal: Partial<Io> = {}): Session {
  let out = "";
  let err = "";
  const ending = new AbortController();
  const io: Io = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTerminal: false,
    colour: false,
    endsInOrder: () => {},
    columns: 80,
    signal: ending.signal,
    ...terminal,
  };
  const all = { netns: wires.machine("asker").name, timeout: "100", interval: "10", ...flags };
  const run = runWhoHas(vips, all, io).then((status) => ({ status, out, err }));
  return Object.assign(run, { end: () => ending.abort(), said: () => out });
}

interface Document {
  readonly exitStatus: number;
  readonly vips: readonly {
    readonly verdict: string;
    readonly healthy: boolean;
    readonly owners: readonly {
      readonly mac: Mac;
      readonly answers: Record<string, number>;
      readonly firstAnswerShare: number;
    }[];
    readonly findings: readonly {
      readonly kind: string;
      readonly bad: boolean;
      readonly mac: Mac;
      readonly text: string;
    }[];
  }[];
  readonly interfaces: readonly {
    readonly frames: { readonly tagged: number; readonly malformed: Record<string, number>; readonly lost: number };
    readonly decoys: readonly { readonly wholeSubnet: readonly Mac[] }[];
  }[];
}
async function ask(vips: string[], flags: WhoHasFlags = {}): Promise<Document & Document["vips"][number]> {
  const { status, out, err } = await session(vips, { ...flags, json: true });
  assert.equal(err, "");
  const document = JSON.parse(out) as Document;
  assert.equal(document.exitStatus, status);
  return { ...document, ...(document.vips[0] as Document["vips"][number]) };
}
const until = async (ready: () => boolean, what: string): Promise<void> => {
  assert.ok(await within(3000, ready), `waited 3 s for ${what}`);
};

test("one owner: status 0, and every question is answered by the director alone", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  hold("web1", "10.7.0.100/32", "lo");
  sysctl("web1", "arp_ignore", "1");
  const report = await ask(["10.7.0.100"], { expect: lb });
  assert.equal(report.exitStatus, 0);
  assert.equal(report.verdict, "one-owner");
  assert.deepEqual(
    report.owners.map((o) => [o.mac, o.answers]),
    [[lb, { own: 3, probe: 1, unicast: 0 }]],
  );
  const text = await session(["10.7.0.100"]);
  assert.equal(text.status, 0);
  assert.match(
    text.out,
    /^10\.7\.0\.100 on eth0, asked 3 times and once as a probe: one owner\n {2}02:00:00:00:00:02 .*answered 4 of 4 {2}first 100 %/,
  );
});

test("the same LAN without the sysctl is a race, and the wrong expectation a wrong owner", async (t) => {
  if (!needsRoot(t)) return;
  hold("web1", "10.7.0.100/32", "lo");
  const wrong = await ask(["10.7.0.100"], { expect: lb });
  assert.deepEqual([wrong.exitStatus, wrong.verdict, wrong.owners[0]?.mac], [1, "wrong-owner", web1]);
  hold("web2", "10.7.0.100/32", "lo");
  hold("lb", "10.7.0.100/32", "eth0");
  const race = await ask(["10.7.0.100"]);
  assert.deepEqual([race.exitStatus, race.verdict], [1, "race"]);
  assert.deepEqual(race.owners.map((o) => o.mac).sort(), [lb, web1, web2]);
  const shares = race.owners.reduce((total, o) => total + o.firstAnswerShare, 0);
  assert.ok(Math.abs(shares - 1) < 0.01, `${shares}`);
});

test("nobody: status 2; several VIPs are listed and summed up, the worst decides", async (t) => {
  if (!needsRoot(t)) return;
  assert.equal((await ask(["10.7.0.100"])).exitStatus, 2);
  const many = await session(["10.7.0.2-10.7.0.4", "10.7.0.100-10.7.0.109"], { count: "1" });
  assert.equal(many.status, 2);
  assert.match(many.out, /10\.7\.0\.3 +one owner +02:00:00:00:00:03 100 %\n/);
  assert.match(many.out, /13 VIPs: 3 with one owner, 10 that nobody answers for\n$/);
});

test("a VIP with the LAN's mask on lo is found by its answers for decoys", async (t) => {
  if (!needsRoot(t)) return;
  hold("web2", "10.7.0.100/24", "lo");
  const report = await ask(["10.7.0.100"]);
  assert.deepEqual(report.interfaces[0]?.decoys[0]?.wholeSubnet, [web2]);
  assert.deepEqual([report.exitStatus, report.verdict, report.healthy], [1, "one-owner", false]);
  assert.deepEqual(
    report.findings.map((f) => [f.kind, f.mac]),
    [["whole-subnet", web2]],
  );
  const blind = await ask(["10.7.0.100"], { decoy: false });
  assert.deepEqual([blind.exitStatus, blind.interfaces[0]?.decoys], [0, []]);
});

test("a leak, a gratuitous ARP by another, tagged and broken frames are seen among the answers", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  const running = session(["10.7.0.100"], { json: true, timeout: "300" });
  await new Promise((resolve) => setTimeout(resolve, 60));
  const good = arpReply({ senderMac: web2, senderIp: vip, targetMac: asker, targetIp: ipv4("10.7.0.1") });
  const otherHardware = good.slice();
  otherHardware[15] = 6;
  inject("web1", arpRequest({ senderMac: web1, senderIp: vip, targetIp: ipv4("10.7.0.9") as Ipv4 }));
  inject(
    "web2",
    arpAnnouncement({ senderMac: web2, senderIp: vip }),
    arpReply({
      senderMac: web2,
      senderIp: vip,
      targetMac: asker,
      targetIp: ipv4("10.7.0.1"),
      vlan: { id: 7, priority: 0 },
    }),
    good.slice(0, 30),
    otherHardware,
  );
  const { status, out } = await running;
  const report = JSON.parse(out) as Document;
  assert.equal(status, 1);
  const only = report.vips[0] as Document["vips"][number];
  assert.equal(only.verdict, "one-owner", "none of these is an answer");
  assert.deepEqual(only.findings.map((f) => [f.kind, f.bad, f.mac]).sort(), [
    ["gratuitous", true, web2],
    ["leak", true, web1],
  ]);
  assert.match(
    only.findings.find((f) => f.kind === "leak")?.text ?? "",
    /asked for 10\.7\.0\.9 with the VIP as its sender, once/,
  );
  const frames = report.interfaces[0]?.frames;
  assert.deepEqual(
    { tagged: frames?.tagged, malformed: frames?.malformed, lost: frames?.lost },
    { tagged: 1, malformed: { "arp/hardware-type": 1, "arp/short": 1 }, lost: 0 },
  );
});

test("a real leak: a host whose own question carries the VIP poisons, and arp_announce 2 ends it", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  hold("web1", "10.7.0.100/32", "lo");
  sysctl("web1", "arp_ignore", "1");
  const leaks = async (target: string): Promise<string[]> => {
    const running = session(["10.7.0.100"], { json: true, timeout: "300" });
    await new Promise((resolve) => setTimeout(resolve, 40));
    // A datagram from the VIP: the kernel has to ask for the target's MAC, and chooses a sender for that.
    const script = `const s=require("dgram").createSocket("udp4");s.bind(0,"10.7.0.100",()=>s.send("x",9,"${target}",()=>s.close()))`;
    const child = wires.machine("web1").run(() => spawnSync(process.execPath, ["-e", script]));
    assert.equal(child.status, 0, String(child.stderr));
    const { out } = await running;
    return (JSON.parse(out) as Document).vips[0]?.findings.filter((f) => f.kind === "leak").map((f) => f.mac) ?? [];
  };
  assert.deepEqual(await leaks("10.7.0.44"), [web1]);
  sysctl("web1", "arp_announce", "2");
  assert.deepEqual(await leaks("10.7.0.45"), []);
});

test("--unicast finds a machine that is silent only to broadcasts", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  // The kernel's own rules make no such host any more; a raw answer to the asker stands for it.
  const socket = openPacketSocket({ interface: "eth0", namespace: wires.machine("web1") });
  const watch = socket.onReadable(() =>
    socket.receive((f) => {
      if (f.kind === 0 && f.octets[13] === 6 && f.octets[21] === 1)
        socket.send([arpReply({ senderMac: web1, senderIp: vip, targetMac: asker, targetIp: ipv4("10.7.0.1") })]);
    }),
  );
  try {
    const report = await ask(["10.7.0.100"], { unicast: web1 });
    assert.deepEqual(
      report.findings.map((f) => [f.kind, f.mac]),
      [["unicast-only", web1]],
    );
    assert.equal(report.exitStatus, 1);
  } finally {
    watch.close();
    socket.close();
  }
});

test("--source: an own address, a probe, and what happens with rp_filter on the far side", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  assert.deepEqual((await ask(["10.7.0.100"], { source: "probe" })).owners[0]?.answers, {
    own: 0,
    probe: 3,
    unicast: 0,
  });
  assert.deepEqual((await ask(["10.7.0.100"], { source: "own" })).owners[0]?.answers, { own: 3, probe: 0, unicast: 0 });
  // An asker that the far side has no route to: silence to the question, an answer to the probe.
  sysctl("lb", "rp_filter", "1");
  hold("asker", "192.0.2.9/32", "eth0");
  const odd = await ask(["10.7.0.100"], { source: "192.0.2.9" });
  assert.equal(odd.verdict, "nobody");
  assert.equal((await ask(["10.7.0.100"], { source: "probe" })).verdict, "one-owner");
});

test("--watch sees a failover, a race and a gratuitous ARP as they come, and ends with a summary", async (t) => {
  if (!needsRoot(t)) return;
  ip("lb", "addr", "add", "10.7.0.100/32", "dev", "eth0");
  const watching = session(["10.7.0.100"], { watch: true, interval: "30" });
  await until(() => watching.said().includes("is answered by 02:00:00:00:00:02"), "the first answer");
  ip("lb", "addr", "del", "10.7.0.100/32", "dev", "eth0");
  hold("web1", "10.7.0.100/32", "eth0");
  inject("web1", arpAnnouncement({ senderMac: web1, senderIp: vip }));
  await until(() => /owner changed: 02:00:00:00:00:02 -> 02:00:00:00:00:03/.test(watching.said()), "the owner change");
  assert.match(watching.said(), /announced by 02:00:00:00:00:03 \(gratuitous ARP\)/);
  watching.end();
  const { status, out } = await watching;
  assert.equal(status, 0, out);
  assert.match(out, /one owner\n {2}02:00:00:00:00:03 /);
  assert.ok(!out.includes("\u001b"), "no cursor tricks where the output is piped");

  const race = session(["10.7.0.100"], { watch: true, interval: "30", json: true });
  await until(() => race.said().includes("first-answer"), "the first answer");
  hold("web2", "10.7.0.100/32", "eth0");
  await until(() => race.said().includes('"event":"race"'), "the race");
  race.end();
  const lines = (await race).out
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l) as { event?: string; format?: string; exitStatus?: number });
  assert.deepEqual([lines.at(-1)?.format, lines.at(-1)?.exitStatus], ["vipward/who-has/1", 1]);
});

test("on a terminal the live view draws over itself and leaves only news and the summary", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  const watching = session(["10.7.0.100"], { watch: true, interval: "30" }, { isTerminal: true, colour: true });
  await until(() => watching.said().includes("Ctrl-C ends"), "the live view");
  watching.end();
  const { status, out } = await watching;
  assert.equal(status, 0);
  assert.ok(out.includes("\u001b[32m02:00:00:00:00:02\u001b[39m"));
  const rest = out.slice(out.lastIndexOf("\u001b[J") + 3);
  assert.doesNotMatch(rest, /Ctrl-C/);
});

test("without the right to open a packet socket: status 77 and the remedy", (t) => {
  if (!needsRoot(t)) return;
  const module = fileURLToPath(new URL("./whoHas.js", import.meta.url));
  const terminal = fileURLToPath(new URL("../io.js", import.meta.url));
  const ending = fileURLToPath(new URL("../ending.js", import.meta.url));
  const script = `const { runWhoHas } = await import(${JSON.stringify(module)});
    const { processIo } = await import(${JSON.stringify(terminal)}); const { Ending } = await import(${JSON.stringify(ending)});
    process.exit(await runWhoHas(["10.7.0.100"], { interface: "eth0" }, processIo(new Ending())));`;
  const nobody = [
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ];
  const child = wires.machine("asker").run(() => spawnSync("setpriv", nobody, { encoding: "utf8", cwd: "/" }));
  assert.equal(child.status, 77, child.stderr);
  assert.match(child.stderr, /not permitted.*\n {2}remedy: .*CAP_NET_RAW/);
});

test("an interface that goes down ends the questions with the reason, and with --watch it may come back", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  const once = session(["10.7.0.100"], { count: "100", interval: "20" });
  await new Promise((resolve) => setTimeout(resolve, 100));
  ip("asker", "link", "set", "eth0", "down");
  const { status, err } = await once;
  assert.deepEqual([status, /interface is down/.test(err)], [71, true], err);
  ip("asker", "link", "set", "eth0", "up");
  await until(() => ip("asker", "link", "show", "dev", "eth0").includes("state UP"), "the link");

  const watching = session(["10.7.0.100"], { watch: true, interval: "20" });
  await until(() => watching.said().includes("is answered by"), "the first answer");
  ip("asker", "link", "set", "eth0", "down");
  await new Promise((resolve) => setTimeout(resolve, 50));
  ip("asker", "link", "set", "eth0", "up");
  await new Promise((resolve) => setTimeout(resolve, 800));
  watching.end();
  const after = await watching;
  assert.equal(after.status, 0, after.out + after.err);
});

test("Ctrl-C ends a long asking at once with status 130 and what was seen", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  const long = session(["10.7.0.100"], { count: "1000", timeout: "60000" });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const endedMs = performance.now();
  long.end();
  const { status, out } = await long;
  assert.ok(performance.now() - endedMs < 200);
  assert.equal(status, 130);
  assert.match(out, /one owner/);
});

test("a flood of foreign ARP does not keep the event loop, nor the answers, away", async (t) => {
  if (!needsRoot(t)) return;
  hold("lb", "10.7.0.100/32", "eth0");
  // Another process floods; this one must go on turning.
  const socketModule = fileURLToPath(new URL("../../host/packetSocket.js", import.meta.url));
  const frame = [...arpRequest({ senderMac: web2, senderIp: ipv4("10.7.0.200"), targetIp: ipv4("10.7.0.201") })];
  const script = `const { openPacketSocket, SendBatch } = await import(${JSON.stringify(socketModule)});
    const socket = openPacketSocket({ interface: "eth0" }); const batch = new SendBatch(256, 64);
    for (let i = 0; i < 256; i++) batch.put(i, Uint8Array.from(${JSON.stringify(frame)}));
    const endMs = performance.now() + 1200; let sent = 0;
    while (performance.now() < endMs) sent += socket.sendBatch(batch, 0, 256);
    console.log(sent);`;
  const { spawn } = await import("node:child_process");
  const flooder = wires.machine("web2").run(() => spawn(process.execPath, ["--input-type=module", "-e", script]));
  let sent = "";
  flooder.stdout.on("data", (d) => {
    sent += d;
  });
  const ended = new Promise((resolve) => flooder.on("close", resolve));
  await new Promise((resolve) => setTimeout(resolve, 250));
  let longestMs = 0;
  let lastMs = performance.now();
  const beat = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - lastMs);
    lastMs = performance.now();
  }, 5);
  const { status, out } = await session(["10.7.0.100"], { count: "10", interval: "50", timeout: "200" });
  clearInterval(beat);
  await ended;
  assert.equal(status, 0, out);
  assert.ok(Number(sent) > 20_000, `only ${sent} frames`);
  assert.ok(longestMs < 250, `the event loop stood still for ${longestMs} ms`);
});

test("4,096 VIPs in one run: all asked, all answered, none lost", async (t) => {
  if (!needsRoot(t)) return;
  const lines = Array.from({ length: 4096 }, (_, i) => `addr add 10.8.${i >> 8}.${i & 255}/32 dev lo`);
  const batch = lines.join("\n");
  wires.machine("web2").run(() => spawnSync("ip", ["-batch", "-"], { input: batch }));
  undo.push(() =>
    wires
      .machine("web2")
      .run(() => spawnSync("ip", ["-batch", "-"], { input: batch.replaceAll("addr add", "addr del") })),
  );
  const { status, out } = await session(["10.8.0.0-10.8.15.255"], { interface: "eth0", count: "1", json: true });
  const report = JSON.parse(out) as Document;
  assert.equal(report.vips.filter((v) => v.verdict === "one-owner").length, 4096);
  assert.equal(status, 0);
  assert.equal(report.interfaces[0]?.frames.lost, 0);
});

test("a flood that loses its interface says so, and one that is interrupted ends at once", async (t) => {
  if (!needsRoot(t)) return;
  const flood = { interface: "eth0", count: "500", interval: "1" };
  const broken = session(["10.8.0.0-10.8.7.255"], flood);
  await new Promise((resolve) => setTimeout(resolve, 300));
  ip("asker", "link", "set", "eth0", "down");
  const { status, err } = await broken;
  ip("asker", "link", "set", "eth0", "up");
  assert.deepEqual([status, /interface is down/.test(err)], [71, true], err);
  await until(() => ip("asker", "link", "show", "dev", "eth0").includes("state UP"), "the link");

  const interrupted = session(["10.8.0.0-10.8.7.255"], flood);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const endedMs = performance.now();
  interrupted.end();
  assert.equal((await interrupted).status, 130);
  assert.ok(performance.now() - endedMs < 500);
});

test("nothing is left open behind any of these", async (t) => {
  if (!needsRoot(t)) return;
  const { readdirSync } = await import("node:fs");
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  await session(["10.7.0.100"]);
  const before = descriptors();
  for (let i = 0; i < 3; i++) await session(["10.7.0.100"], { count: "1", timeout: "20" });
  await session(["10.7.0.100"], { interface: "lo" });
  await session(["10.99.0.1"]);
  assert.equal(descriptors(), before);
  const batch = new SendBatch(1, 64);
  batch.close();
});
