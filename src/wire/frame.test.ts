import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import {
  arpAnnouncement,
  arpProbe,
  arpReply,
  arpRequest,
  countFault,
  type Dissected,
  dissect,
  faultOf,
  icmpPacket,
  ipip,
  ipv4Frame,
  tcpPacket,
  tcpSynPacket,
} from "./frame.ts";
import { decodeIpv4, encodeIpv4 } from "./ipv4.ts";
import { fromHex, toHex } from "./octets.ts";
import { decodeTcp, encodeTcp, TCP_FLAG, tcpFlagNames } from "./tcp.ts";
import { decodeUdp, encodeUdp } from "./udp.ts";

const hex = (text: string): Uint8Array => fromHex(text) as Uint8Array;
const [macA, macB] = [mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02")];
const [ipA, ipB, vip] = [ipv4("10.9.0.1"), ipv4("10.9.0.2"), ipv4("10.9.0.100")];
const hop = { source: macA, destination: macB };
const around = { source: ipA, destination: ipB };

/** What Linux 6.18 put on a veth pair between 10.9.0.1 and 10.9.0.2, in order. */
const captured = {
  arpRequest: "ffffffffffff020000000001080600010800060400010200000000010a0900010000000000000a090002",
  arpReply: "020000000001020000000002080600010800060400020200000000020a0900020200000000010a090001",
  udp: "020000000002020000000001080045000021847e40004011a2390a0900010a09000297511092000d143368656c6c6f",
  portUnreachable:
    "020000000001020000000002080045c0003d21d50000400144170a0900020a0900010303fd060000000045000021847e40004011a2390a0900010a09000297511092000d143368656c6c6f",
  syn: "02000000000202000000000108004500003c4d2c40004006d97b0a0900010a0900029e2e005127aa650f00000000a002faf014430000020405b40402080a15aca5b9000000000103030a",
  reset: "02000000000102000000000208004500002800004000400626bc0a0900020a09000100519e2e0000000027aa65105014000070820000",
  echoRequest: "02000000000202000000000108004500001c651c40004001c1b00a0900010a0900020800f7fd00010001",
  echoReply: "02000000000102000000000208004500001c21d60000400144f70a0900020a0900010000fffd00010001",
};

/** The kinds from outside in: "ipv4 tcp". */
function path({ inside }: Dissected): string {
  const kinds: string[] = [];
  let at = inside;
  for (; at.kind === "ipv4"; at = at.inside) kinds.push(at.kind);
  return [...kinds, at.kind].join(" ");
}
function innermost(frame: Dissected): Dissected["inside"] {
  let at = frame.inside;
  while (at.kind === "ipv4") at = at.inside;
  return at;
}
const codeOf = (octets: Uint8Array): string | undefined => faultOf(dissect(octets).inside)?.code;

test("captured frames are read for what they are", () => {
  const paths = Object.values(captured).map((text) => path(dissect(hex(text))));
  assert.deepEqual(paths, ["arp", "arp", "ipv4 udp", "ipv4 icmp", "ipv4 tcp", "ipv4 tcp", "ipv4 icmp", "ipv4 icmp"]);

  const unreachable = innermost(dissect(hex(captured.portUnreachable)));
  assert.ok(unreachable.kind === "icmp");
  assert.deepEqual(unreachable.icmp, { kind: "unreachable", code: 3 });
  assert.equal(unreachable.quoted?.destination, ipB);

  const syn = innermost(dissect(hex(captured.syn)));
  assert.ok(syn.kind === "tcp");
  assert.equal(tcpFlagNames(syn.tcp.flags), "SYN");
  assert.deepEqual(syn.tcp.options, {
    mssOctets: 1460,
    sackPermitted: true,
    timestamp: { value: 0x15aca5b9, echo: 0 },
    windowScale: 10,
  });
  assert.equal(syn.tcp.checksum, "bad", "left to the card by the sender");

  const reset = innermost(dissect(hex(captured.reset)));
  assert.ok(reset.kind === "tcp");
  assert.equal(tcpFlagNames(reset.tcp.flags), "RST,ACK");
  assert.equal(reset.tcp.checksum, "good");
});

test("our frames are the kernel's, octet for octet", () => {
  assert.equal(toHex(arpRequest({ senderMac: macA, senderIp: ipA, targetIp: ipB })), captured.arpRequest);
  const reply = { senderMac: macB, senderIp: ipB, targetMac: macA, targetIp: ipA };
  assert.equal(toHex(arpReply(reply)), captured.arpReply);
  const echo = icmpPacket({ ...around, id: 0x651c, dontFragment: true }, { kind: "echo-request", id: 1, sequence: 1 });
  assert.equal(toHex(ipv4Frame(hop, echo)), captured.echoRequest);
  const reset = tcpPacket(
    { source: ipB, destination: ipA },
    {
      sourcePort: 81,
      destinationPort: 0x9e2e,
      sequence: 0,
      acknowledgment: 0x27aa6510,
      flags: TCP_FLAG.rst | TCP_FLAG.ack,
      window: 0,
    },
  );
  assert.equal(toHex(ipv4Frame({ source: macB, destination: macA }, reset)), captured.reset);
});

test("a probe names no sender address, an announcement asks for its own", () => {
  const probe = dissect(arpProbe({ senderMac: macA, targetIp: vip, vlan: { id: 5, priority: 0 } }));
  assert.ok(probe.inside.kind === "arp");
  assert.equal(probe.inside.arp.senderIp, 0);
  assert.equal(probe.ethernet?.vlan?.id, 5);
  const garp = dissect(arpAnnouncement({ senderMac: macA, senderIp: vip })).inside;
  assert.ok(garp.kind === "arp");
  assert.equal(garp.arp.targetIp, vip);
});

test("a handshake for the VIP inside IPIP is found inside, as LVS/TUN sends it", () => {
  const inner = tcpSynPacket(
    { source: ipv4("192.0.2.7"), destination: vip },
    { sourcePort: 1025, destinationPort: 80, sequence: 9 },
  );
  const frame = dissect(ipip(hop, around, inner));
  assert.equal(path(frame), "ipv4 ipv4 tcp");
  const tcp = innermost(frame);
  assert.ok(tcp.kind === "tcp");
  assert.equal(tcp.tcp.checksum, "good");
  assert.deepEqual(tcp.tcp.options, { mssOctets: 1460 });
});

test("packets inside packets inside packets end somewhere", () => {
  let packet = tcpSynPacket(around, { sourcePort: 1, destinationPort: 2, sequence: 3 });
  for (let i = 0; i < 60; i++) packet = encodeIpv4({ ...around, protocol: 4 }, packet);
  assert.equal(path(dissect(ipv4Frame(hop, packet))), `${"ipv4 ".repeat(5)}other`);
});

test("each kind of damage has its own code", () => {
  const syn = hex(captured.syn);
  const echo = hex(captured.echoRequest);
  const datagram = hex(captured.udp);
  const changed = (octets: Uint8Array, at: number, value: number, fix = false): Uint8Array => {
    const copy = new Uint8Array(octets);
    copy[at] = value;
    if (!fix) return copy;
    const payload = copy.subarray(34);
    const protocol = octets[23] as number;
    return ipv4Frame(hop, encodeIpv4({ ...around, protocol }, payload));
  };
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ["ethernet/short", syn.subarray(0, 13)],
    ["ipv4/short", syn.subarray(0, 30)],
    ["ipv4/version", changed(syn, 14, 0x65)],
    ["ipv4/header-length", changed(syn, 14, 0x44)],
    ["ipv4/short", changed(echo, 14, 0x4f)],
    ["ipv4/total-length", changed(syn, 17, 19)],
    ["ipv4/truncated", syn.subarray(0, 60)],
    ["ipv4/checksum", changed(syn, 22, 63)],
    ["tcp/short", ipv4Frame(hop, encodeIpv4({ ...around, protocol: 6 }, new Uint8Array(19)))],
    ["tcp/header-length", changed(syn, 46, 0x40, true)],
    ["tcp/header-length", changed(syn, 46, 0xf0, true)],
    ["udp/short", ipv4Frame(hop, encodeIpv4({ ...around, protocol: 17 }, new Uint8Array(7)))],
    ["udp/length", changed(datagram, 39, 7, true)],
    ["udp/length", changed(datagram, 39, 200, true)],
    ["icmp/short", ipv4Frame(hop, encodeIpv4({ ...around, protocol: 1 }, new Uint8Array(7)))],
    ["icmp/checksum", changed(echo, 41, 9)],
    ["ipv4/version", ipv4Frame(hop, encodeIpv4({ ...around, protocol: 4 }, new Uint8Array(20)))],
    ["arp/short", hex(captured.arpReply).subarray(0, 41)],
    ["arp/hardware-type", changed(hex(captured.arpReply), 15, 6)],
  ];
  const counts = new Map<string, number>();
  for (const [code, octets] of cases) {
    assert.equal(codeOf(octets), code);
    countFault(counts, dissect(octets));
  }
  countFault(counts, dissect(syn));
  assert.equal(counts.get("ipv4/short"), 2);
  assert.equal(
    [...counts.values()].reduce((a, b) => a + b),
    cases.length,
  );
});

test("fragments, other protocols and 802.3 frames are named, not refused", () => {
  const part = encodeIpv4({ ...around, protocol: 6, fragmentOffsetOctets: 1480 }, new Uint8Array(3));
  assert.equal(path(dissect(ipv4Frame(hop, part))), "ipv4 fragment");
  const gre = innermost(dissect(ipv4Frame(hop, encodeIpv4({ ...around, protocol: 47 }, new Uint8Array(3)))));
  assert.deepEqual(gre, { kind: "other", what: "ip-protocol", number: 47 });
  const spanningTree = dissect(hex("0180c2000000 020000000001 0026 424203")).inside;
  assert.deepEqual(spanningTree, { kind: "other", what: "802.3-length", number: 0x26 });
});

test("fragmentation needed tells the MTU; the quoted packet may end early", () => {
  const quoted = hex(captured.syn).subarray(14, 42);
  const packet = icmpPacket(around, { kind: "unreachable", code: 4, mtuOctets: 1480 }, quoted);
  const icmp = innermost(dissect(ipv4Frame(hop, packet)));
  assert.ok(icmp.kind === "icmp");
  assert.deepEqual(icmp.icmp, { kind: "unreachable", code: 4, mtuOctets: 1480 });
  assert.equal(icmp.quoted?.protocol, 6);
});

const anyIp = fc.nat(0xffffffff).map(ipv4FromNumber);
const anyPayload = fc.uint8Array({ maxLength: 60 });

test("IPv4, TCP and UDP survive being written and read", () => {
  const port = fc.nat(0xffff);
  const options = fc.uint8Array({ maxLength: 10 }).map((o) => o.slice(0, o.length - (o.length % 4)));
  fc.assert(
    fc.property(
      anyIp,
      anyIp,
      fc.nat(255),
      fc.nat(0x1fff),
      options,
      anyPayload,
      (source, destination, n, part, o, payload) => {
        const fields = { source, destination, protocol: n, ttl: n, tos: n, id: part, fragmentOffsetOctets: part * 8 };
        const octets = encodeIpv4({ ...fields, options: o, moreFragments: true }, payload);
        const read = decodeIpv4(octets);
        assert.ok(read.ok);
        const { options: back, payloadOffset, payloadEnd, ...rest } = read.value;
        assert.deepEqual(rest, { ...fields, dontFragment: false, moreFragments: true });
        assert.deepEqual([...back], [...o]);
        assert.deepEqual(octets.subarray(payloadOffset, payloadEnd), payload);
      },
    ),
  );
  fc.assert(
    fc.property(anyIp, anyIp, port, port, anyPayload, (source, destination, sourcePort, destinationPort, payload) => {
      const addresses = { source, destination };
      const read = decodeUdp(encodeUdp({ sourcePort, destinationPort }, addresses, payload), addresses);
      assert.ok(read.ok);
      assert.deepEqual(
        [read.value.sourcePort, read.value.destinationPort, read.value.checksum],
        [sourcePort, destinationPort, "good"],
      );
      const fields = {
        sourcePort,
        destinationPort,
        sequence: source,
        acknowledgment: destination,
        flags: 0x1f,
        window: 77,
      };
      const timestamp = { value: 5, echo: source };
      const told = { mssOctets: 1400, windowScale: 7, sackPermitted: true, timestamp, sack: { from: 9, end: source } };
      const segment = decodeTcp(encodeTcp({ ...fields, options: told }, addresses, payload), addresses);
      assert.ok(segment.ok);
      const { options: back, payloadOffset, payloadEnd, checksum, ...rest } = segment.value;
      assert.deepEqual(rest, fields);
      assert.deepEqual(back, told);
      assert.equal(payloadEnd - payloadOffset, payload.length);
      assert.equal(checksum, "good");
    }),
  );
});

test("no octets, random or damaged, make the dissector throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => void dissect(octets)),
    { numRuns: 500 },
  );
  const change = fc.tuple(fc.nat(200), fc.nat(255));
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(captured)),
      fc.array(change, { maxLength: 4 }),
      fc.nat(90),
      (text, changes, cut) => {
        const octets = hex(text);
        for (const [at, value] of changes) octets[at % octets.length] = value;
        dissect(octets.subarray(0, cut));
        dissect(octets);
        decodeTcp(octets, around, 34); // past the checksums that would stop it
        decodeIpv4(octets, 14, { quoted: true });
      },
    ),
    { numRuns: 1000 },
  );
});
