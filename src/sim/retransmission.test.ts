/**
 * What is lost, and when it is sent again. Rows marked "seen" are times that a kernel 6.18 took (veth pairs, tcpdump);
 * its timers fire up to an eighth late, the model's do not. truthTcp.netns.test.ts asks the running kernel.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addresses, echo, kernelOf, TcpWire } from "../testing/tcpWire.ts";
import type { IpBody } from "./frame.ts";
import { Retransmission } from "./retransmission.ts";
import type { Connection } from "./tcp.ts";

const octets = (length: number): Uint8Array => new Uint8Array(length);

/** An open connection over which one question was answered, so that both ends have measured. */
function opened(release: string, roundTripMs: number): { wire: TcpWire; connection: Connection; broken: string[] } {
  const wire = new TcpWire(release, roundTripMs * 500);
  const broken: string[] = [];
  wire.stacks.server.listen(80, () => echo);
  const connection = wire.stacks.client.connect(addresses.client, addresses.server, 80, {
    connected: (c) => c.send(octets(5)),
    broken: (_, why) => broken.push(why),
  });
  wire.run(10_000);
  assert.equal(connection.state, "established");
  return { wire, connection, broken };
}

/** Nothing gets through any more, and the client says something. */
const lostFor: readonly (readonly [what: string, release: string, roundTripMs: number, times: readonly number[]])[] = [
  // seen: 0, 207, 415, 855, 1687, 3351, 6807
  ["a probe, then timeouts that double", "6.18.0", 0.1, [0, 204, 408, 816, 1632, 3264, 6528]],
  ["a probe has to wait for no more than the timeout", "6.18.0", 100, [0, 300, 600, 1200, 2400, 4800]],
  ["no probe before 3.10", "3.9.0", 0.1, [0, 204, 612, 1428, 3060, 6324]],
  ["nor does one of 3.10", "3.10.0", 40, [0, 240, 480, 960, 1920, 3840, 7680]],
];
for (const [what, release, roundTripMs, times] of lostFor)
  test(`${release}, ${roundTripMs} ms there and back, data is lost: ${what}`, () => {
    const { wire, connection } = opened(release, roundTripMs);
    const sinceUs = wire.nowUs;
    wire.loses = () => true;
    connection.send(octets(9));
    wire.run(9000);
    assert.deepEqual(wire.times("client", sinceUs), times);
  });

test("a probe after one and a half round trips and 200 ms from 3.10, after two from 4.14", () => {
  const probeMs = (release: string, segments: number): number | undefined => {
    const end = new Retransmission(kernelOf(release));
    for (const ms of [10, 1000]) end.measured(ms * 1000, 1, 2);
    assert.equal(end.rtoUs, 1_140_000, "a long way off");
    const us = end.probeUs(segments, true, end.rtoUs);
    return us === undefined ? us : us / 1000;
  };
  assert.deepEqual(
    ["3.9.0", "3.10.0", "4.14.0"].map((release) => [probeMs(release, 1), probeMs(release, 2)]),
    [
      [undefined, undefined],
      [404, 276],
      [468, 276],
    ],
  );
});

/**
 * Round trips and the timeout after each, in milliseconds; worked out by the kernel's own integers (tcp_rtt_estimator), in
 * whole jiffies.
 */
const measured: readonly (readonly [roundTrips: readonly number[], timeouts: readonly number[]])[] = [
  [
    [100, 1000, 100, 100, 100, 100, 100, 20, 100, 100],
    [300, 1264, 1212, 1140, 1060, 972, 888, 812, 744, 676],
  ],
  [
    [300, 10, 10, 10, 10],
    [900, 884, 864, 844, 824],
  ],
];
for (const [roundTrips, timeouts] of measured)
  test(`round trips of ${roundTrips.slice(0, 3).join(", ")}, ... ms: the timeouts that follow`, () => {
    const end = new Retransmission(kernelOf("6.18.0"));
    const said = roundTrips.map((ms, i) => {
      end.measured(ms * 1000, i + 1, i + 1);
      return end.rtoUs / 1000;
    });
    assert.deepEqual(said, timeouts);
  });

/** Nobody is there. */
const synsOf: readonly (readonly [release: string, times: readonly number[], endsAt: number])[] = [
  // seen: 0, 1.0, 2.1, 3.1, 4.1, 5.1, 7.1, 11.2, 19.4, 35.5, 68.8, ETIMEDOUT after 134.3
  ["6.18.0", [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131],
  ["6.4.0", [0, 1, 3, 7, 15, 31, 63], 127],
  ["3.5.0", [0, 1, 3, 7, 15, 31], 63],
  ["2.6.32", [0, 3, 9, 21, 45, 93], 189],
  ["2.2.14", [0, 3, 9, 21, 45, 93, 189, 309, 429, 549, 669], 789],
];
for (const [release, times, endsAt] of synsOf)
  test(`${release}: a SYN that nobody answers`, () => {
    const wire = new TcpWire(release, 50);
    wire.loses = () => true;
    let endedUs = 0;
    wire.stacks.client.connect(addresses.client, addresses.server, 80, {
      broken: (_, why) => {
        assert.equal(why, "timeout");
        endedUs = wire.nowUs;
      },
    });
    wire.run(1_000_000);
    assert.deepEqual(
      wire.times("client", 0),
      times.map((s) => s * 1000),
    );
    assert.equal(endedUs, endsAt * 1_000_000);
  });

test("the answer to a SYN is sent again five times, and then forgotten", () => {
  const wire = new TcpWire("6.18.0", 50);
  wire.stacks.server.listen(80, () => echo);
  let syns = 0;
  wire.loses = (from) => from === "server" || ++syns > 1;
  wire.stacks.client.connect(addresses.client, addresses.server, 80, {});
  wire.run(62_999);
  assert.deepEqual(wire.times("server", 0), [0, 1000, 3000, 7000, 15_000, 31_000]);
  assert.equal(wire.stacks.server.count, 1);
  wire.run(1000);
  assert.equal(wire.stacks.server.count, 0);
});

/** When an open connection is given up, in seconds after the last word; how often it was sent. */
// seen: given up after 938 s; a FIN ten times, the last one after 53 s
const givenUp: readonly (readonly [what: string, release: string, closes: boolean, seconds: number, sent: number])[] = [
  ["924.6 s after it was sent again, at the next timeout", "6.18.0", false, 929, 17],
  ["closed by its program: 102.2 s", "6.18.0", true, 105, 10],
  ["after fifteen times", "2.6.18", false, 929, 16],
];
for (const [what, release, closes, seconds, sent] of givenUp)
  test(`${release}, an open connection that nobody acknowledges any more: ${what}`, () => {
    const { wire, connection } = opened(release, 0.1);
    const sinceUs = wire.nowUs;
    wire.loses = () => true;
    if (closes) connection.close();
    else connection.send(octets(9));
    wire.run((seconds - 1.5) * 1000);
    assert.equal(wire.stacks.client.count, 1);
    wire.run(2000);
    assert.equal(wire.stacks.client.count, 0);
    assert.equal(wire.times("client", sinceUs).length, sent);
  });

test("an answer that comes late makes the next timeout longer, though the question was sent twice (timestamps)", () => {
  for (const [release, times] of [
    ["6.18.0", [0, 304, 764]],
    // without timestamps nobody knows which of the two was answered: nothing measured, and the backing off stays
    ["2.0.36", [0, 816]],
  ] as const) {
    const { wire, connection } = opened(release, 0.1);
    // the server's answer is lost until it is sent again, and the client's own repetition, too
    let answers = 0;
    let questions = 0;
    wire.loses = (from, { payload }) => payload.length > 0 && (from === "server" ? ++answers < 3 : ++questions > 1);
    connection.send(octets(9));
    wire.run(5000);
    const sinceUs = wire.nowUs;
    wire.loses = () => true;
    connection.send(octets(9));
    wire.run(1300);
    assert.deepEqual(wire.times("client", sinceUs), times, release);
  }
});

test("one probe at a time: what it saved is acknowledged, and the next flight has none; come twice, it has", () => {
  const { wire, connection } = opened("6.18.0", 0.1);
  let lost = 0;
  wire.loses = (from, { payload }) => from === "client" && payload.length > 0 && ++lost === 1;
  connection.send(octets(9));
  wire.run(1000);
  assert.equal(connection.unacknowledged, connection.next);
  const without = wire.nowUs;
  wire.loses = () => true;
  connection.send(octets(9));
  wire.run(500);
  assert.deepEqual(wire.times("client", without), [0, 204], "the timeout alone, which would double next");
  wire.run(1);
  wire.loses = () => false;
  wire.run(5000);
  // the acknowledgement alone is lost, so that the probe is a duplicate, and the other end says so
  lost = 0;
  wire.loses = (from) => from === "server" && ++lost === 1;
  connection.send(octets(9));
  wire.run(5000);
  const again = wire.nowUs;
  wire.loses = () => true;
  connection.send(octets(9));
  wire.run(500);
  assert.equal(wire.times("client", again).length, 3);
});

/** Original and probe came both: what gets lost of the two acknowledgements, and how slow the wire has become. */
const bothCame: readonly (readonly [what: string, lost: number, oneWayUs: number])[] = [
  ["the first acknowledgement to get through says so", 1, 50],
  ["the second one does, which says nothing new", 0, 150_000],
];
for (const [what, most, oneWayUs] of bothCame)
  test(`original and probe came both, and the next flight has a probe: ${what}`, () => {
    const wire = new TcpWire("6.18.0", 50);
    wire.stacks.server.listen(80, () => ({}));
    const connection = wire.stacks.client.connect(addresses.client, addresses.server, 80, {});
    wire.run(1000);
    let lost = 0;
    wire.loses = (from) => from === "server" && ++lost <= most;
    wire.oneWayUs = oneWayUs;
    connection.send(octets(9));
    wire.run(1000);
    assert.equal(connection.unacknowledged, connection.next);
    const sinceUs = wire.nowUs;
    wire.loses = () => true;
    connection.send(octets(9));
    wire.run(1200);
    const times = wire.times("client", sinceUs);
    const [first = 0, second = 0] = [(times[1] ?? 0) - (times[0] ?? 0), (times[2] ?? 0) - (times[1] ?? 0)];
    assert.ok(second < 1.9 * first, times.join());
  });

test("a handshake that measured nothing: three seconds, unless timestamps tell", () => {
  for (const [release, times] of [
    ["6.18.0", [0, 204, 408, 816]],
    ["2.0.36", [0, 3000]],
  ] as const) {
    const wire = new TcpWire(release, 50);
    wire.stacks.server.listen(80, () => ({}));
    let syns = 0;
    wire.loses = (from) => from === "client" && ++syns === 1;
    const connection = wire.stacks.client.connect(addresses.client, addresses.server, 80, {});
    wire.run(20_000);
    assert.equal(connection.state, "established");
    const sinceUs = wire.nowUs;
    wire.loses = () => true;
    connection.send(octets(9));
    wire.run(release === "2.0.36" ? 8999 : 1500);
    assert.deepEqual(wire.times("client", sinceUs), times, release);
  }
});

test("after a timeout the first segment alone is sent again, then two more with each acknowledgement", () => {
  const { wire, connection } = opened("6.18.0", 10);
  let lost = 0;
  wire.loses = (from, { payload }) => from === "client" && payload.length > 0 && ++lost <= 7; // six, and the probe
  const sinceUs = wire.nowUs;
  connection.send(octets(6 * connection.maxSegment));
  wire.run(2000);
  assert.equal(connection.unacknowledged, connection.next);
  const times = wire.times("client", sinceUs);
  // all at once; the probe after two round trips; the timeout; then two for each acknowledgement, a round trip later
  assert.deepEqual(times, [0, 0, 0, 0, 0, 0, 28, 240, 250, 250, 260, 260, 260]);
});

test("a kernel without stamps talks to one with them, and neither sends any", () => {
  const wire = new TcpWire("6.18.0", 50);
  const old = new TcpWire("2.0.36", 50);
  wire.stacks.server.listen(80, () => echo);
  old.stacks.client.connect(addresses.client, addresses.server, 80, {});
  const syn = old.seen[0]?.packet as IpBody;
  assert.equal(syn.tcp?.stamp, 0);
  wire.stacks.server.input(syn, addresses.server, 80);
  const [answer] = wire.seen;
  assert.deepEqual([answer?.packet.tcp?.stamp, answer?.packet.lengthOctets], [0, 44]);
});
