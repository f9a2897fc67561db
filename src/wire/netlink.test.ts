import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4 } from "../base/ipv4.ts";
import * as at from "./attributes.ts";
import type { Read } from "./fault.ts";
import { dumpFamilies, family, GENL_ID_CTRL, getFamily } from "./genetlink.ts";
import {
  attributeTree,
  decodeControl,
  MessageBuilder,
  type NetlinkMessage,
  NLM_F,
  Reply,
  splitAttributes,
  splitMessages,
} from "./netlink.ts";
import { fromHex, LITTLE_ENDIAN_HOST, readHost32, toHex, writeHost16, writeHost32 } from "./octets.ts";
import * as rt from "./rtnetlink.ts";

/**
 * Answers of Linux 6.18 (x86, little-endian) in a namespace with a veth `va`, a bridge, a macvlan, rules and routes.
 * IFLA_AF_SPEC was cut out of the links; nothing else is changed.
 */
const captured = {
  veth: "ac0200001000020001000000c135000000000100020000004310010000000000070003007661000008000d00e803000005001000060000000500110000000000050043000000000008000400dc050000080032004400000008003300ffff000008001b000000000008001e000000000008003d000000000008001f000200000008002800ffff0000080029000000010008003a000000010008003f0000000100080040000000010008003b00f8ff070008003c00ffff0000080042000000000008002000020000000500210001000000080023000200000008002f000100000008003000010000000600440000000000060045000000000005002700000000000a00010002000000000100000a000200ffffffffffff0000cc00170004000000000000000500000000000000d5000000000000002701000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000640007000400000005000000d50000002701000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c002b00050002000000000010001200090001007665746800000000080025000000000008000500020000000c0006006e6f71756575650024000e00000000000000000000000000000000000000000000000000000000000000000004003e8004004180",
  bridge:
    "280400001000020001000000c135000000000100030000004310010000000000080003006272300008000d00e803000005001000000000000500110000000000050043000100000008000400dc050000080032004400000008003300ffff000008001b000000000008001e000000000008003d000000000008001f000100000008002800ffff0000080029000000010008003a000000010008003f0000000100080040000000010008003b000000010008003c00ffff0000080042000000000008002000010000000500210001000000080023000000000008002f000000000008003000000000000600440000000000060045000000000005002700000000000a0001008e60b132f03400000a000200ffffffffffff0000cc001700000000000000000002000000000000000000000000000000a40000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000064000700000000000200000000000000a400000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c002b0005000200000000009c0112000b00010062726964676500008c0102000c00100000000000000000000c00110000000000000000000c00120000000000000000000c0013000f7500000000000008000100dc05000008000200c800000008000300d0070000080004003075000008000500000000000600060000800000050007000000000006000900000000000c000b0080000000000000000c000a00800000000000000006000c000000000008000d000000000005000e000000000005000f00000000000a0014000180c200000000000c002e00000000001f00000008003000000000000800310000000000050016000100000005001700010000000500180000000000050019000000000005002a000000000008001a001000000008001b000010000008001c000200000008001d000200000005002b000200000005002c00010000000c001e0064000000000000000c001f0090650000000000000c0020009c630000000000000c002100d4300000000000000c002200e8030000000000000c002300340c0000000000000500240000000000050025000000000005002600000000000c0006006e6f71756575650024000e00000000000000000000000000000000000000000000000000000000000000000004003e8004004180",
  macvlan:
    "d00200001000020001000000c135000000000100040000000210000000000000080003006d76300008000d00e803000005001000020000000500110000000000050043000000000008000400dc050000080032004400000008003300ffff000008001b000000000008001e000000000008003d000000000008001f000100000008002800ffff0000080029000000010008003a000000010008003f0000000100080040000000010008003b00f8ff070008003c00ffff0000080042000000000008002000010000000500210001000000080023000000000008002f000000000008003000000000000600440000000000060045000000000005002700000000000a0001007e0f9ee9190100000a000200ffffffffffff0000cc0017000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000640007000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c002b0005000200000000003c0012000c0001006d6163766c616e002c00020008000100040000000600020000000000080006000000000008000700e803000008000800e80300000800050002000000090006006e6f6f700000000024000e00000000000000000000000000000000000000000000000000000000000000000004003e8004004180",
  addresses:
    "4c0000001400020001000000c1350000020880fe01000000080001007f000001080002007f000001070003006c6f0000080008008000000014000600ffffffffffffffff8e2303008e230300500000001400020001000000c13500000220800001000000080001000a090064080002000a0900640b0003006c6f3a7669700000080008008000000014000600ffffffffffffffff9023030090230300540000001400020001000000c13500000218800002000000080001000a090001080002000a090001080004000a0900ff0700030076610000080008008000000014000600ffffffffffffffff8e2303008e230300140000000300020001000000c135000000000000",
  routes:
    "340000001800220001000000c1350000022000004d03fe020000000008000f004d000000080001000a0900c808000400010000003c0000001800220001000000c135000002180000fe02fd010000000008000f00fe000000080001000a090000080007000a0900010800040002000000580000001800220001000000c135000002100000fe0300010000000008000f00fe000000080001000a14000008000600070000000c0008000800020078050000080007000a090001080005000a0900020800040002000000500000001800220001000000c135000002100000fe0300010000000008000f00fe000000080001000a1e0000240009001000000102000000080005000a0900021000000002000000080005000a0900033c0000001800220001000000c135000002200000ff02fe020000000008000f00ff000000080001000a090001080007000a09000108000400020000003c0000001800220001000000c135000002200000ff02fe020000000008000f00ff000000080001000a090064080007000a09006408000400010000003c0000001800220001000000c135000002200000ff02fd030000000008000f00ff000000080001000a0900ff080007000a09000108000400020000003c0000001800220001000000c135000002080000ff02fe020000000008000f00ff000000080001007f000000080007007f00000108000400010000003c0000001800220001000000c135000002200000ff02fe020000000008000f00ff000000080001007f000001080007007f00000108000400010000003c0000001800220001000000c135000002200000ff02fd030000000008000f00ff000000080001007fffffff080007007f0000010800040001000000140000000300020001000000c135000000000000",
  rules:
    "340000002000020001000000c135000002000000ff0000010000000008000f00ff00000008000e00ffffffff0500150002000000980000002000020001000000c1350000021010104d0000010000000008000f004d00000008000e00080000000500150000000000070003006c6f0000070011007661000008000600f401000008000a001000000008001000ff0000000c001400000000006300000008001700e803d007080018005000500006001d00ffff00000500160006000000080001000a020000080002000a0100003c0000002000020001000000c135000002000000fe0000010000000008000f00fe00000008000e00ffffffff050015000200000008000600fe7f00003c0000002000020001000000c135000002000000fd0000010000000008000f00fd00000008000e00ffffffff050015000200000008000600ff7f0000140000000300020001000000c135000000000000",
  neighbours:
    "4c0000001c00020001000000c135000002000000030000004000000508000100e00000160a00020001005e0000160000080004000000000014000300cc1700005c0000005c000000000000004c0000001c00020001000000c1350000020000000200000002000001080001000a0900020a00020002000000000200000800040004000000140003005a0000005a0000005a000000010000004c0000001c00020001000000c1350000020000000200000080000001080001000a0900090a00020002000000000900000800040000000000140003005b0000005b0000005b00000000000000140000000300020001000000c135000000000000",
  proxy:
    "240000001c00020001000000c1350000020000000200000000000801080001000a09004d140000000300020001000000c135000000000000",
  controller:
    "880000001000000001000000c1350000010200000b0002006e6c6374726c000006000100100000000800030002000000080004000000000008000500000000002c000600140001000800010003000000080002000e00000014000200080001000a000000080002000c0000001c0007001800010008000200100000000b0001006e6f746966790000",
  noFamily: "340000000200000001000000c1350000feffffff2000000010000500010000000000000003020000090002004950565300000000",
  badAddress:
    "540000000200000201000000c1350000eaffffff200000001400050601000000000000000221000001000000080002000a01010120000100697076343a20496e76616c696420707265666978206c656e67746800",
  badKind:
    "5c0000000200000201000000c1350000a1ffffff300000001000050601000000000000000000000000000000000000000000000010001200090001006e6f70650000000018000100556e6b6e6f776e20646576696365207479706500",
};
const hex = (text: string): Uint8Array => fromHex(text) as Uint8Array;
const messagesOf = (name: keyof typeof captured): readonly NetlinkMessage[] => {
  const split = splitMessages(hex(captured[name]));
  assert.equal(split.fault, undefined);
  return split.messages;
};
function value<T>(read: Read<T>): T {
  assert.ok(read.ok, read.ok ? "" : read.why);
  return read.value;
}
/** The messages of one captured answer, without the control message at its end. */
const all = <T>(name: keyof typeof captured, decode: (payload: Uint8Array) => Read<T>): T[] =>
  messagesOf(name)
    .filter((m) => m.type >= 16)
    .map((m) => value(decode(m.payload)));
const captures = LITTLE_ENDIAN_HOST ? {} : { skip: "the captures are little-endian, this machine is not" };

test("captured links tell their kind, their addresses and their counters", captures, () => {
  const [veth, bridge, macvlan] = (["veth", "bridge", "macvlan"] as const).flatMap((n) => all(n, rt.link.decode));
  assert.ok(veth && bridge && macvlan);
  assert.deepEqual(
    [veth.name, veth.address, veth.mtu, veth.index, veth.lowerIndex, veth.peerNetNsId, veth.hardwareType],
    ["va", "02:00:00:00:00:01", 1500, 2, 2, 0, 1],
  );
  assert.equal(veth.info?.kind, "veth");
  assert.equal(rt.OPERSTATE[veth.operState ?? 0], "up");
  assert.ok((veth.counters?.sentPackets ?? 0n) > 3n);
  assert.ok(bridge.info?.kind === "bridge");
  assert.deepEqual(
    [bridge.info.data?.forwardDelayTicks, bridge.info.data?.multicastSnooping, bridge.info.data?.callArptables],
    [1500, 1, 0],
  );
  assert.ok(macvlan.info?.kind === "macvlan");
  assert.equal(macvlan.info.data?.mode, rt.MACVLAN_MODE.bridge);
  assert.equal(macvlan.flags & rt.IFF.up, 0);
});

test("captured addresses tell label, scope and broadcast", captures, () => {
  const found = all("addresses", rt.address.decode);
  assert.deepEqual(
    found.map((a) => [a.local, a.prefixLength, a.label, a.scope, a.broadcast, rt.addressFlags(a)]),
    [
      [ipv4("127.0.0.1"), 8, "lo", rt.SCOPE.host, undefined, rt.IFA_F.permanent],
      [ipv4("10.9.0.100"), 32, "lo:vip", rt.SCOPE.global, undefined, rt.IFA_F.permanent],
      [ipv4("10.9.0.1"), 24, "va", rt.SCOPE.global, ipv4("10.9.0.255"), rt.IFA_F.permanent],
    ],
  );
});

test("captured routes tell table, source, metrics and several next hops", captures, () => {
  const found = all("routes", rt.route.decode);
  const to = (text: string) => found.find((r) => r.destination === ipv4(text));
  const single = to("10.20.0.0");
  assert.deepEqual(
    [single?.gateway, single?.preferredSource, single?.priority, single?.metrics?.mtuOctets],
    [ipv4("10.9.0.2"), ipv4("10.9.0.1"), 7, 1400],
  );
  assert.deepEqual(to("10.30.0.0")?.nextHops, [
    { index: 2, flags: 0, weight: 2, gateway: ipv4("10.9.0.2") },
    { index: 2, flags: 0, weight: 1, gateway: ipv4("10.9.0.3") },
  ]);
  const local = to("10.9.0.200");
  assert.ok(local);
  assert.deepEqual([local.type, rt.routeTable(local), local.scope], [rt.ROUTE_TYPE.local, 77, rt.SCOPE.host]);
});

test("a captured rule tells every selector", captures, () => {
  const found = all("rules", rt.rule.decode);
  assert.deepEqual(found.map(rt.ruleTable), [255, 77, 254, 253]);
  const [, one] = found;
  assert.ok(one);
  assert.deepEqual(
    { ...one, tunnelId: undefined },
    {
      family: 2,
      destinationLength: 16,
      sourceLength: 16,
      tos: 0x10,
      shortTable: 77,
      action: rt.RULE_ACTION.toTable,
      flags: 0,
      destination: ipv4("10.2.0.0"),
      source: ipv4("10.1.0.0"),
      inName: "lo",
      outName: "va",
      priority: 500,
      mark: 0x10,
      markMask: 0xff,
      table: 77,
      suppressPrefixLength: 8,
      users: { first: 0, last: 99 },
      protocol: 0,
      ipProtocol: 6,
      sourcePorts: { first: 1000, last: 2000 },
      destinationPorts: { first: 80, last: 80 },
      destinationPortMask: 0xffff,
      tunnelId: undefined,
    },
  );
});

test("captured neighbours tell state and address; a proxy entry has its flag", captures, () => {
  const found = all("neighbours", rt.neighbour.decode).filter((n) => n.linkAddress?.startsWith("02:"));
  assert.deepEqual(found.map((n) => [n.destination, n.linkAddress, rt.neighbourStateName(n.state)]).sort(), [
    [ipv4("10.9.0.2"), "02:00:00:00:00:02", "reachable"],
    [ipv4("10.9.0.9"), "02:00:00:00:00:09", "permanent"],
  ]);
  const [proxy] = all("proxy", rt.neighbour.decode);
  assert.deepEqual([proxy?.destination, proxy?.flags], [ipv4("10.9.0.77"), rt.NEIGHBOUR_FLAG.proxy]);
});

test("the captured answer about a family gives its number, operations and groups", captures, () => {
  const [one] = all("controller", family.decode);
  assert.equal(one?.id, GENL_ID_CTRL);
  assert.equal(one?.name, "nlctrl");
  assert.deepEqual(one?.groups, [{ name: "notify", id: 16 }]);
  assert.deepEqual(
    one?.operations?.map((o) => o.id),
    [3, 10],
  );
});

test("captured refusals give errno and the kernel's own words", captures, () => {
  const refusal = (name: keyof typeof captured): unknown => {
    const [message] = messagesOf(name);
    assert.ok(message);
    return value(decodeControl(message) as Read<unknown>);
  };
  const text = "ipv4: Invalid prefix length";
  assert.deepEqual(refusal("badAddress"), { kind: "error", errno: 22, extended: { text } });
  assert.deepEqual(refusal("badKind"), { kind: "error", errno: 95, extended: { text: "Unknown device type" } });
  assert.deepEqual(refusal("noFamily"), { kind: "error", errno: 2, extended: {} });
});

test("an answer in several datagrams is put together; strangers are passed over", captures, () => {
  const reply = new Reply(1);
  const [first, ...rest] = messagesOf("addresses");
  assert.ok(first && rest.length === 3);
  const whole = hex(captured.addresses);
  const cut = 16 + first.payload.length;
  const stranger = whole.slice(0, cut);
  writeHost32(stranger, 8, 99);
  assert.equal(reply.take(stranger).kind, "waiting");
  assert.equal(reply.take(whole.subarray(0, cut)).kind, "waiting");
  const done = reply.take(whole.subarray(cut));
  assert.ok(done.kind === "done");
  assert.equal(done.messages.length, 3);
  assert.equal(done.interrupted, false);

  const torn = new Uint8Array(whole);
  writeHost16(torn, 6, NLM_F.multi | NLM_F.dumpInterrupted);
  const again = new Reply(1).take(torn);
  assert.equal(again.kind === "done" && again.interrupted, true);
  const few = new Reply(1, 2).take(whole);
  assert.equal(few.kind === "broken" && few.code, "netlink/too-many");
  assert.deepEqual(new Reply(1).take(hex(captured.noFamily)), { kind: "refused", errno: 2, extended: {} });
});

/** A message with these attributes after nothing else. */
const built = (fill: (b: MessageBuilder) => void): Uint8Array => {
  const builder = new MessageBuilder({ type: 16, flags: 0, sequence: 1 });
  fill(builder);
  return builder.finish();
};

test("extended acknowledgements give offset, cookie and what was missing", () => {
  const u32 = (n: number): Uint8Array => {
    const octets = new Uint8Array(4);
    writeHost32(octets, 0, n);
    return octets;
  };
  const body = built((b) =>
    b
      .attribute(1, new TextEncoder().encode("no\0"))
      .attribute(2, u32(20))
      .attribute(3, Uint8Array.of(7))
      .attribute(5, u32(9)),
  );
  const payload = new Uint8Array(20 + body.length - 16);
  writeHost32(payload, 0, -22 >>> 0);
  writeHost32(payload, 4, 4000); // of a long request, of which only the header is quoted
  payload.set(body.subarray(16), 20);
  const message = { type: 2, flags: NLM_F.capped | NLM_F.ackTlvs, sequence: 1, port: 0, payload };
  assert.deepEqual(decodeControl(message), {
    ok: true,
    value: {
      kind: "error",
      errno: 22,
      extended: { text: "no", offset: 20, cookie: Uint8Array.of(7), missingType: 9 },
    },
  });
  // Not capped, yet shorter than it says: the error stands, the explanation is left out.
  assert.deepEqual(decodeControl({ ...message, flags: NLM_F.ackTlvs }), {
    ok: true,
    value: { kind: "error", errno: 22, extended: {} },
  });
});

test("lengths that lie are named", () => {
  const header = (length: number): Uint8Array => {
    const octets = new Uint8Array(24);
    writeHost32(octets, 0, length);
    return octets;
  };
  assert.equal(splitMessages(header(0)).fault?.code, "netlink/length");
  assert.equal(splitMessages(header(15)).fault?.code, "netlink/length");
  assert.equal(splitMessages(header(25)).fault?.code, "netlink/truncated");
  assert.equal(splitMessages(header(0xffffffff)).fault?.code, "netlink/truncated");
  const behind = splitMessages(header(20));
  assert.deepEqual([behind.messages.length, behind.fault?.code], [1, "netlink/short"]);
  const attribute = (length: number): Read<unknown> => {
    const octets = new Uint8Array(8);
    writeHost16(octets, 0, length);
    return splitAttributes(octets);
  };
  const code = (read: Read<unknown>): string => (read.ok ? "" : read.code);
  assert.equal(code(attribute(0)), "netlink/attribute-length");
  assert.equal(code(attribute(3)), "netlink/attribute-length");
  assert.equal(code(attribute(9)), "netlink/attribute-truncated");
  assert.equal(code(attribute(8)), "");
  const control = (type: number, size: number): Read<unknown> | undefined =>
    decodeControl({ type, flags: 0, sequence: 0, port: 0, payload: new Uint8Array(size) });
  assert.equal(code(control(2, 19) as Read<unknown>), "netlink/error-short");
  assert.equal(code(control(5, 19) as Read<unknown>), "netlink/control-type");
  assert.equal(control(16, 0), undefined);
});

test("attributes nested too deep end in a fault, not in the stack", () => {
  const tree = (levels: number): Read<unknown> => {
    const octets = new Uint8Array(levels * 4);
    for (let level = 0; level < levels; level++) {
      writeHost16(octets, level * 4, octets.length - level * 4);
      writeHost16(octets, level * 4 + 2, 0x8001);
    }
    return attributeTree(octets);
  };
  assert.ok(tree(7).ok);
  const read = tree(16000);
  assert.equal(!read.ok && read.code, "netlink/too-deep");
});

test("a value of the wrong size names its attribute", () => {
  const octets = built((b) => b.fixed(rt.link.header, rt.anyLink).attribute(4, Uint8Array.of(1, 2)));
  const read = rt.link.decode(octets.subarray(16));
  assert.deepEqual(read, { ok: false, code: "link/mtu", why: "link: mtu has 2 octets, needs 4" });
  const hop = built((b) =>
    b
      .fixed(rt.route.header, {
        family: 2,
        destinationLength: 0,
        sourceLength: 0,
        tos: 0,
        shortTable: 0,
        protocol: 0,
        scope: 0,
        type: 0,
        flags: 0,
      })
      .attribute(9, new Uint8Array(8)),
  );
  const hops = rt.route.decode(hop.subarray(16));
  assert.equal(!hops.ok && hops.code, "next-hop/length");
});

test("our own requests stay small and whole", () => {
  assert.throws(() => built((b) => b.attribute(1, new Uint8Array(40000))), RangeError);
  assert.throws(() => built((b) => b.attribute(1, new Uint8Array(70000))), RangeError);
  assert.throws(() => at.attributes("x", { a: at.u8(1), b: at.u8(1) }), /used twice/);
  const octets = built((b) => b.attribute(1, Uint8Array.of(1)));
  assert.equal(octets.length, 24);
  assert.equal(readHost32(octets, 0), 24);
  assert.equal(splitMessages(getFamily("IPVS", 3)).messages[0]?.flags, NLM_F.request | NLM_F.ack);
  assert.equal(splitMessages(dumpFamilies(3)).messages[0]?.flags, NLM_F.request | NLM_F.dump);
  if (LITTLE_ENDIAN_HOST)
    assert.equal(toHex(getFamily("IPVS", 3)), "2000000010000500030000000000000003020000090002004950565300000000");
});

test("requests read back as what they ask", () => {
  const back = <T>(octets: Uint8Array, decode: (payload: Uint8Array) => Read<T>): T => {
    const { messages, fault } = splitMessages(octets);
    assert.equal(fault, undefined);
    assert.equal(messages.length, 1);
    return value(decode((messages[0] as NetlinkMessage).payload));
  };
  const infos: rt.LinkInfo[] = [
    { kind: "dummy" },
    { kind: "ipip", data: { local: ipv4("10.0.0.1"), remote: ipv4("10.0.0.2"), ttl: 64, pathMtuDiscovery: 1 } },
    { kind: "vlan", data: { id: 5 } },
    { kind: "macvlan", data: { mode: rt.MACVLAN_MODE.private } },
    { kind: "bridge", data: { stpState: 0, forwardDelayTicks: 200 } },
    { kind: "veth", data: { peer: { ...rt.anyLink, name: "vb", netNsFd: 9, address: "02:00:00:00:00:02" } } },
    { kind: "other", name: "wireguard" },
  ];
  for (const info of infos) {
    const link: rt.Link = {
      ...rt.anyLink,
      name: "x",
      mtu: 1400,
      master: 3,
      netNsFd: 7,
      address: "02:00:00:00:00:01",
      info,
    };
    assert.deepEqual(
      back(rt.rtRequest(rt.link, { type: rt.RTM.newLink, sequence: 1, value: link }), rt.link.decode),
      link,
    );
  }
  const route: rt.Route = {
    family: 2,
    destinationLength: 16,
    sourceLength: 0,
    tos: 0,
    shortTable: 0,
    protocol: rt.ROUTE_PROTOCOL.static,
    scope: 0,
    type: 1,
    flags: 0,
    destination: ipv4("10.1.0.0"),
    table: 1000,
    metrics: { mtuOctets: 1400 },
    nextHops: [
      { index: 2, flags: 4, weight: 256, gateway: ipv4("10.0.0.1") },
      { index: 3, flags: 0, weight: 1 },
    ],
  };
  assert.deepEqual(
    back(rt.rtRequest(rt.route, { type: rt.RTM.newRoute, sequence: 1, value: route }), rt.route.decode),
    route,
  );
  for (const dump of [rt.dumpRequests.links, rt.dumpRequests.routes, rt.dumpRequests.rules])
    assert.equal(splitMessages(dump(4)).messages[0]?.flags, NLM_F.request | NLM_F.dump);
  const exclusive = { type: rt.RTM.newLink, flags: NLM_F.create | NLM_F.exclusive, sequence: 1, value: rt.anyLink };
  assert.equal(splitMessages(rt.rtRequest(rt.link, exclusive)).messages[0]?.flags, 0x605);
});

test("no octets, random or damaged, make a decoder throw or loop", () => {
  const decoders = [rt.link, rt.address, rt.route, rt.rule, rt.neighbour, family];
  const tryAll = (octets: Uint8Array): void => {
    const reply = new Reply(1);
    reply.take(octets);
    for (const message of splitMessages(octets).messages) {
      decodeControl(message);
      attributeTree(message.payload);
      for (const { decode } of decoders) decode(message.payload);
    }
    for (const { decode } of decoders) decode(octets.subarray(16));
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), tryAll), { numRuns: 500 });
  const change = fc.tuple(fc.nat(3000), fc.nat(255));
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(captured)),
      fc.array(change, { minLength: 1, maxLength: 5 }),
      fc.nat(1000),
      (text, changes, cut) => {
        const octets = hex(text);
        for (const [where, to] of changes) octets[where % octets.length] = to;
        tryAll(octets);
        tryAll(octets.subarray(0, cut));
      },
    ),
    { numRuns: 400 },
  );
});
