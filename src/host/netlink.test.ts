import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { splitMessages } from "../wire/netlink.ts";
import { NetlinkError, SystemCallError } from "./errors.ts";
import { type NetlinkMessage, type NetlinkRequest, NetlinkSocket, type NetlinkTransport, NLM_F } from "./netlink.ts";

const PORT = 4711;
const ERROR = 2;
const DONE = 3;
const ITEM = 20;

interface Sent {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}
type Message = Omit<Partial<NetlinkMessage>, "type"> & { readonly type: number };

function encode(messages: readonly Message[]): Uint8Array {
  const octets: number[] = [];
  for (const m of messages) {
    const payload = m.payload ?? new Uint8Array(0);
    const head = new DataView(new ArrayBuffer(16));
    head.setUint32(0, 16 + payload.length, true);
    head.setUint16(4, m.type, true);
    head.setUint16(6, m.flags ?? 0, true);
    head.setUint32(8, m.sequence ?? 0, true);
    head.setUint32(12, m.port ?? PORT, true);
    octets.push(...new Uint8Array(head.buffer), ...payload, ...new Uint8Array(-payload.length & 3));
  }
  return Uint8Array.from(octets);
}

const int32 = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
/** errno and the refused request's header, as a capped NLMSG_ERROR has them. */
const status = (errno: number): Uint8Array => Uint8Array.of(...int32(errno), 16, ...new Uint8Array(15));

/** A kernel that answers each send with what `answer` says: datagrams, or the name of an errno for a failing recv. */
class FakeKernel implements NetlinkTransport {
  readonly portId = PORT;
  readonly sendRoomOctets: number;
  readonly receiveRoomOctets: number;
  readonly sends: Sent[][] = [];
  readonly #answer: (sent: readonly Sent[], nth: number) => (readonly Message[] | "ENOBUFS")[];
  readonly #waiting: (readonly Message[] | "ENOBUFS")[] = [];
  constructor(
    answer: (sent: readonly Sent[], nth: number) => (readonly Message[] | "ENOBUFS")[],
    room: { readonly send?: number; readonly receive?: number } = {},
  ) {
    this.#answer = answer;
    this.sendRoomOctets = room.send ?? 1 << 20;
    this.receiveRoomOctets = room.receive ?? 4 << 20;
  }
  send(octets: Uint8Array): void {
    const sent = [...splitMessages(octets.slice()).messages];
    this.sends.push(sent);
    this.#waiting.push(...this.#answer(sent, this.sends.length));
  }
  receive(): Uint8Array | undefined {
    const next = this.#waiting.shift();
    if (next === "ENOBUFS") throw new SystemCallError("recv", 105, "ENOBUFS", "netlink answer");
    return next === undefined ? undefined : encode(next);
  }
  close(): void {}
}

const request = (payload: Uint8Array = new Uint8Array(4)): NetlinkRequest => ({
  type: ITEM,
  flags: 0,
  payload,
  operation: "add thing",
  object: "number 1",
});
const code = (expected: string) => (error: unknown) => error instanceof NetlinkError && error.code === expected;

test("a call gives the messages before its own acknowledgement, and nobody else's", () => {
  const kernel = new FakeKernel(([sent]) => [
    [{ type: ERROR, sequence: (sent?.sequence ?? 0) - 1, payload: status(-17) }], // left over from a call given up
    [{ type: ITEM, sequence: sent?.sequence ?? 0, port: 99, payload: int32(1) }], // for another port
    [{ type: ITEM, sequence: sent?.sequence ?? 0, payload: int32(2) }],
    [{ type: ERROR, sequence: sent?.sequence ?? 0, payload: status(0) }],
  ]);
  const answers = new NetlinkSocket(kernel).call(request());
  assert.deepEqual(
    answers.map((a) => a.payload[0]),
    [2],
  );
});

test("a refusal names the operation, the object and the kernel's own words", () => {
  const text = new TextEncoder().encode("Nexthop has invalid gateway\0");
  const attribute = Uint8Array.of(text.length + 4, 0, 1, 0, ...text);
  for (const [flags, skipped] of [
    [NLM_F.ackTlvs | NLM_F.capped, 16],
    [NLM_F.ackTlvs, 24],
  ] as const) {
    const kernel = new FakeKernel(([sent]) => {
      const original = new Uint8Array(skipped);
      original[0] = skipped;
      const payload = Uint8Array.of(...int32(-101), ...original, ...attribute);
      return [[{ type: ERROR, flags, sequence: sent?.sequence ?? 0, payload }]];
    });
    assert.throws(
      () => new NetlinkSocket(kernel).call(request()),
      (error: unknown) =>
        error instanceof NetlinkError &&
        error.code === "netlink/ENETUNREACH" &&
        error.message.startsWith("add thing number 1: ") &&
        error.message.includes("Nexthop has invalid gateway") &&
        error.remedy.includes("subnet"),
    );
  }
});

test("no answer at all ends in a time-out, not in a hang", () => {
  const kernel = new FakeKernel(() => []);
  assert.throws(() => new NetlinkSocket(kernel).call(request()), code("netlink/ETIMEDOUT"));
  assert.throws(() => new NetlinkSocket(kernel).dump(request()), code("netlink/ETIMEDOUT"));
  assert.throws(() => new NetlinkSocket(kernel).batch([request()]), code("netlink/ETIMEDOUT"));
});

const part = (sequence: number, value: number, flags = 0): Message => ({
  type: ITEM,
  sequence,
  flags: NLM_F.multi | flags,
  payload: int32(value),
});

test("a dump that changed meanwhile, or lost answers, is asked for again and never mixed", () => {
  const kernel = new FakeKernel(([sent], nth) => {
    const sequence = sent?.sequence ?? 0;
    const done: Message = { type: DONE, sequence, payload: int32(0) };
    if (nth === 1) return [[part(sequence, 1)], [part(sequence, 2, NLM_F.dumpInterrupted)], [done]];
    if (nth === 2) return [[part(sequence, 3)], "ENOBUFS", [part(sequence, 4), done]];
    if (nth === 3) return [[part(sequence, 5)], [{ ...done, flags: NLM_F.dumpInterrupted }]];
    return [[part(sequence, 6), part(sequence, 7)], [part(sequence, 8)], [done]];
  });
  const found = new NetlinkSocket(kernel).dump(request());
  assert.deepEqual(
    found.map((m) => m.payload[0]),
    [6, 7, 8],
  );
  assert.equal(kernel.sends.length, 4);
  for (const [sent] of kernel.sends) assert.equal((sent?.flags ?? 0) & NLM_F.dump, NLM_F.dump);
});

test("a dump that never holds still is an error after a bounded number of tries", () => {
  const kernel = new FakeKernel(([sent]) => {
    const sequence = sent?.sequence ?? 0;
    return [[part(sequence, 1, NLM_F.dumpInterrupted), { type: DONE, sequence, payload: int32(0) }]];
  });
  assert.throws(() => new NetlinkSocket(kernel).dump(request()), code("netlink/EINTR"));
  assert.ok(kernel.sends.length <= 20);
});

test("an error at the end of a dump is an error of the dump", () => {
  const kernel = new FakeKernel(([sent]) => [
    [part(sent?.sequence ?? 0, 1)],
    [{ type: DONE, sequence: sent?.sequence ?? 0, payload: int32(-19) }],
  ]);
  assert.throws(() => new NetlinkSocket(kernel).dump(request()), code("netlink/ENODEV"));
});

test("a batch tells which requests were refused, whatever the windows", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ size: fc.nat({ max: 80 }), refused: fc.boolean() }), { maxLength: 60 }),
      fc.integer({ min: 20, max: 2000 }),
      fc.integer({ min: 0, max: 40_000 }),
      (wanted, send, receive) => {
        let taken = 0;
        const kernel = new FakeKernel(
          (sent) => {
            const octets = sent.reduce((sum, s) => sum + 16 + ((s.payload.length + 3) & ~3), 0);
            assert.ok(octets <= send || sent.length === 1, "more than the send buffer holds");
            assert.ok(sent.length * 2048 <= receive || sent.length === 1, "more answers than the buffer holds");
            return sent.flatMap((s, i) => {
              const refused = wanted[taken++]?.refused;
              const last = i === sent.length - 1;
              assert.equal((s.flags & NLM_F.ack) !== 0, last);
              if (!refused && !last) return [];
              return [[{ type: ERROR, sequence: s.sequence, payload: status(refused ? -17 : 0) }]];
            });
          },
          { send, receive },
        );
        const failures = new NetlinkSocket(kernel).batch(wanted.map((w) => request(new Uint8Array(w.size))));
        assert.deepEqual(
          failures.map((f) => f.index),
          wanted.flatMap((w, i) => (w.refused ? [i] : [])),
        );
        assert.equal(taken, wanted.length);
        for (const failure of failures) assert.equal(failure.error.code, "netlink/EEXIST");
      },
    ),
  );
});

test("no datagram makes the reader throw or loop", () => {
  const socketOf = (octets: Uint8Array): NetlinkSocket => {
    let given = false;
    return new NetlinkSocket({
      portId: 0,
      sendRoomOctets: 4096,
      receiveRoomOctets: 4096,
      send: () => {},
      receive: () => {
        if (given) return undefined;
        given = true;
        return octets;
      },
      close: () => {},
    });
  };
  const message = fc
    .record({
      type: fc.constantFrom(0, 1, 2, 3, 4, 20),
      flags: fc.nat({ max: 0xffff }),
      sequence: fc.constantFrom(0, 1, 2),
      port: fc.constant(0),
      payload: fc.uint8Array({ maxLength: 60 }),
    })
    .map((m) => encode([m]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), message), (octets) => {
      for (const use of ["call", "dump"] as const)
        try {
          socketOf(octets)[use](request());
        } catch (error) {
          assert.ok(error instanceof NetlinkError, String(error));
        }
    }),
  );
});
