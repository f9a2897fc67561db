import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { buildWires, type Wires } from "../testing/wires.ts";
import { within } from "../testing/within.ts";
import { decodeEthernet } from "../wire/ethernet.ts";
import { arpProbe, arpRequest, ipv4Frame, udpPacket } from "../wire/frame.ts";
import { filterProgram, isArp } from "../wire/packetFilter.ts";
import { HostError } from "./errors.ts";
import { realtimeUs } from "./libc.ts";
import {
  copyFrame,
  interfaceIndex,
  openPacketSocket,
  packetKindOf,
  type ReceivedFrame,
  SendBatch,
} from "./packetSocket.ts";
import { type CapturedFrame, CREDIT, startCapture } from "./packetWorker.ts";

const root = process.getuid?.() === 0;
const arpFilter = filterProgram(isArp);
const a1 = mac("02:00:00:00:00:01");
const b1 = mac("02:00:00:00:00:02");
let wires: Wires;
before(() => {
  if (root)
    wires = buildWires(testPrefix("ps"), {
      a: ["addr add 10.8.0.1/24 dev eth0"],
      b: ["addr add 10.8.0.2/24 dev eth0", "addr add 10.8.0.3/24 dev eth0"],
    });
});
after(() => wires?.close());

const question = (target: string) => arpRequest({ senderMac: a1, senderIp: ipv4("10.8.0.1"), targetIp: ipv4(target) });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a question goes out, its answer comes back with the kernel's time, and IPv4 is filtered away", async (t) => {
  if (!needsRoot(t)) return;
  const socket = openPacketSocket({ interface: "eth0", namespace: wires.machine("a"), filter: arpFilter });
  const other = openPacketSocket({ interface: "eth0", namespace: wires.machine("b") });
  try {
    const beforeUs = realtimeUs();
    assert.equal(socket.send([question("10.8.0.2"), question("10.8.0.3")]), 2);
    const ip = { source: ipv4("10.8.0.2"), destination: ipv4("10.8.0.1") };
    const datagram = udpPacket(ip, { sourcePort: 9, destinationPort: 9 }, new Uint8Array(8));
    assert.equal(other.send([ipv4Frame({ source: b1, destination: a1 }, datagram)]), 1);
    const seen: ReceivedFrame[] = [];
    socket.receive((frame) => seen.push(copyFrame(frame)));
    const replies = seen.filter((f) => f.octets[21] === 2 && packetKindOf(f.kind) === "host");
    assert.ok(replies.length >= 2, `${replies.length} replies`);
    for (const { octets, timeUs } of seen) {
      const read = decodeEthernet(octets);
      assert.ok(read.ok && read.value.etherType === 0x0806);
      assert.ok(timeUs >= beforeUs && timeUs <= realtimeUs(), `${timeUs - beforeUs} us after`);
    }
    assert.equal(socket.statistics().received, seen.length);
    assert.equal(socket.statistics().dropped, 0);
    assert.equal(
      socket.receive(() => assert.fail("nothing is left")),
      0,
    );
  } finally {
    other.close();
    socket.close();
  }
});

test("a VLAN tag that the kernel took off is back, and a long frame is cut but its length told", (t) => {
  if (!needsRoot(t)) return;
  const from = openPacketSocket({ interface: "eth0", namespace: wires.machine("b") });
  const to = openPacketSocket({
    interface: "eth0",
    namespace: wires.machine("a"),
    filter: arpFilter,
    longestFrameOctets: 64,
  });
  try {
    const tagged = arpRequest({
      senderMac: b1,
      senderIp: ipv4("10.8.0.2"),
      targetIp: ipv4("10.8.0.9"),
      vlan: { id: 7, priority: 3 },
    });
    const long = new Uint8Array(500);
    long.set(question("10.8.0.9"));
    assert.equal(to.wait(0), false);
    assert.equal(from.send([tagged, long]), 2);
    assert.equal(to.wait(100), true);
    const seen: ReceivedFrame[] = [];
    to.receive((frame) => seen.push(copyFrame(frame)));
    assert.equal(seen.length, 2);
    assert.deepEqual(seen[0]?.octets, tagged);
    assert.equal(seen[0]?.wireOctets, tagged.length);
    assert.equal(seen[1]?.octets.length, 64);
    assert.equal(seen[1]?.wireOctets, 500);
  } finally {
    from.close();
    to.close();
  }
});

test("a batch built once is patched and sent again", (t) => {
  if (!needsRoot(t)) return;
  const from = openPacketSocket({ interface: "eth0", namespace: wires.machine("a"), bypassQueue: true });
  const to = openPacketSocket({ interface: "eth0", namespace: wires.machine("b"), filter: arpFilter });
  const batch = new SendBatch(100, 64);
  try {
    for (let slot = 0; slot < 100; slot++) batch.put(slot, arpProbe({ senderMac: a1, targetIp: ipv4FromNumber(slot) }));
    for (let round = 0; round < 3; round++) {
      for (let slot = 0; slot < 100; slot++) batch.frame(slot)[38] = round;
      assert.equal(from.sendBatch(batch, 0, 100), 100);
    }
    const targets: number[] = [];
    to.receive(({ octets }) => targets.push((octets[38] as number) * 1000 + (octets[41] as number)));
    assert.deepEqual(
      targets,
      Array.from({ length: 300 }, (_, i) => Math.floor(i / 100) * 1000 + (i % 100)),
    );
    assert.throws(() => from.sendBatch(batch, 50, 51), RangeError);
  } finally {
    batch.close();
    from.close();
    to.close();
  }
});

test("a socket of all interfaces names the interface of each frame, and sends where it is told", (t) => {
  if (!needsRoot(t)) return;
  const all = openPacketSocket({ namespace: wires.machine("a"), filter: arpFilter, outgoing: true });
  const peer = openPacketSocket({ interface: "eth0", namespace: wires.machine("b"), filter: arpFilter });
  const sender = openPacketSocket({ namespace: wires.machine("a") });
  const index = wires.machine("a").run(() => interfaceIndex("eth0"));
  const batch = new SendBatch(1, 64, index);
  try {
    batch.put(0, arpProbe({ senderMac: a1, targetIp: ipv4("10.8.0.77") }));
    assert.equal(sender.sendBatch(batch, 0, 1), 1);
    assert.equal(
      peer.receive(() => {}),
      1,
    );
    const kinds: string[] = [];
    all.receive((f) => {
      kinds.push(packetKindOf(f.kind));
      assert.equal(f.interfaceIndex, index);
    });
    assert.deepEqual(kinds, ["outgoing"]);
  } finally {
    batch.close();
    sender.close();
    all.close();
    peer.close();
  }
});

test("an unknown interface and a downed one are errors with a remedy, and leave no descriptor", async (t) => {
  if (!needsRoot(t)) return;
  const { readdirSync } = await import("node:fs");
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const open = descriptors();
  assert.throws(
    () => openPacketSocket({ interface: "nope0", namespace: wires.machine("a") }),
    (e: unknown) => e instanceof HostError && e.code === "interface/ENODEV" && e.remedy.includes("ip link"),
  );
  assert.equal(descriptors(), open);
  await assert.rejects(
    startCapture({ sockets: [{ interface: "nope0" }], onFrames: () => {} }),
    (e: unknown) => e instanceof HostError && e.code === "interface/ENODEV",
  );
  await assert.rejects(
    startCapture({ sockets: [{ namespace: "vw-no-such-namespace" }], onFrames: () => {} }),
    (e: unknown) => e instanceof HostError && e.code === "open/ENOENT",
  );
});

test("a worker captures two machines at once, sends, and hands over all it has when stopped", async (t) => {
  if (!needsRoot(t)) return;
  const seen: CapturedFrame[] = [];
  const capture = await startCapture({
    sockets: ["a", "b"].map((m) => ({ interface: "eth0", namespace: wires.machine(m).name, filter: arpFilter })),
    onFrames: (batch) => seen.push(...batch),
  });
  assert.equal(await capture.send(0, [question("10.8.0.2")]), 1);
  const kinds = (): string[] => [...new Set(seen.map((f) => `${f.socket}:${f.octets[21]}`))].sort();
  await within(10_000, () => kinds().length === 2);
  assert.deepEqual(kinds(), ["0:2", "1:1"]);
  await capture.send(
    0,
    Array.from({ length: 500 }, () => question("10.8.0.3")),
  );
  const statistics = await capture.stop();
  assert.equal(seen.filter((f) => f.socket === 0 && f.octets[21] === 2).length, 501);
  assert.equal(statistics[0]?.dropped, 0);
  assert.deepEqual(await capture.stop(), statistics);
  await assert.rejects(capture.send(0, []), /has ended/);
});

test("a reader that sleeps costs bounded memory, loses frames with a count, and the flood goes on afterwards", async (t) => {
  if (!needsRoot(t)) return;
  let frames = 0;
  let batches = 0;
  const capture = await startCapture({
    sockets: [
      { interface: "eth0", namespace: wires.machine("b").name, filter: arpFilter, receiveBufferOctets: 1 << 20 },
    ],
    onFrames: (batch) => {
      frames += batch.count;
      batches++;
    },
    gatherMs: 0,
  });
  const from = openPacketSocket({ interface: "eth0", namespace: wires.machine("a") });
  const batch = new SendBatch(256, 64);
  const probe = arpProbe({ senderMac: a1, targetIp: ipv4("10.8.0.99") });
  try {
    for (let slot = 0; slot < 256; slot++) batch.put(slot, probe);
    // This thread sends without ever returning to its event loop: no batch is acknowledged. Slowly enough for the other
    // thread to keep up, so that what is lost is lost because it was held back.
    for (let round = 0; round < 240; round++) {
      from.sendBatch(batch, 0, 256);
      for (const endMs = performance.now() + 2; performance.now() < endMs; );
    }
    const counts = async () => (await capture.statistics())[0];
    await within(10_000, async () => (await counts())?.received === 240 * 256);
    await pause(200); // what was held back would come now
    const { received = 0, dropped = 0 } = (await counts()) ?? {};
    assert.equal(received, 240 * 256);
    assert.ok(dropped > 0, "the thread was never held back");
    assert.equal(frames, received - dropped);
    assert.ok(frames <= CREDIT * 1024 + 4096, `${frames} frames were waiting in memory`);
    from.sendBatch(batch, 0, 10);
    await within(10_000, () => frames === received - dropped + 10);
    assert.equal(frames, received - dropped + 10);
    assert.ok(batches > 0);
  } finally {
    batch.close();
    from.close();
    await capture.stop();
  }
});
