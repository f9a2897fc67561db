import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import {
  decodeDaemon,
  decodeDestination,
  decodeInfo,
  decodeService,
  decodeTimeouts,
  FORWARDING,
  IPVS_CMD,
  type IpAddress,
  ipvs,
  ipvsFormats,
  SERVICE_FLAG,
  type ServiceKey,
  type ServiceSettings,
} from "./ipvs.ts";
import { MessageBuilder, NLM_F, splitMessages } from "./netlink.ts";
import { LITTLE_ENDIAN_HOST, toHex, writeHost32 } from "./octets.ts";

const asked = { type: 0x23, sequence: 1 };
const vip = ipv4("10.0.0.100");
const http: ServiceKey = { kind: "address", protocol: 6, address: vip, port: 80 };
const plain: ServiceSettings = { scheduler: "wlc", flags: 0, timeoutSeconds: 0, netmask: 0xffffffff };
const direct = { forwarding: FORWARDING.directRoute, weight: 1, upperThreshold: 0, lowerThreshold: 0 };
const payload = (octets: Uint8Array): Uint8Array => {
  const { messages, fault } = splitMessages(octets);
  assert.equal(fault, undefined);
  const [message] = messages;
  assert.ok(message && messages.length === 1);
  return message.payload;
};

test("adding a service and a real server: every octet as ip_vs.h lays it out", (t) => {
  if (!LITTLE_ENDIAN_HOST) return t.skip("written for a little-endian machine");
  const service = [
    "06000100 02000000", // AF, the machine's order
    "06000200 06000000", // protocol, the machine's order
    "14000300 0a000064 000000000000000000000000", // 16 octets, IPv4 first
    "06000400 00500000", // port 80, network order
  ];
  const create = [
    "68000000 2300 0500 01000000 00000000",
    "01 01 0000",
    "54000180",
    ...service,
    "08000600 776c6300", // "wlc"
    "0c000700 00000000 ffffffff", // flags and mask
    "08000800 00000000",
    "08000900 ffffffff", // netmask, network order
  ];
  assert.equal(toHex(ipvs.newService(asked, http, plain)), create.join("").replaceAll(" ", ""));
  const attach = [
    "8c000000 2300 0500 01000000 00000000",
    "05 01 0000",
    "30000180",
    ...service,
    "48000280",
    "14000100 0a000002 000000000000000000000000",
    "06000200 00500000",
    "08000300 03000000", // direct routing is 3
    "08000400 01000000",
    "08000500 00000000",
    "08000600 00000000",
    "06000b00 02000000",
  ].join("");
  const real = { address: ipv4("10.0.0.2"), port: 80 };
  assert.equal(toHex(ipvs.newDestination(asked, http, real, direct)), attach.replaceAll(" ", ""));
});

const anyAddress: fc.Arbitrary<IpAddress> = fc.oneof(
  fc.nat(0xffffffff).map(ipv4FromNumber),
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map((o) => new Uint8Array(o)),
);
const plainRecord = { noNullPrototype: true } as const;
const port = fc.nat(0xffff);
const anyKey: fc.Arbitrary<ServiceKey> = fc.oneof(
  fc.record(
    { kind: fc.constant("address"), protocol: fc.constantFrom(6, 17, 132), address: anyAddress, port },
    plainRecord,
  ),
  fc.record(
    {
      kind: fc.constant("mark"),
      mark: fc.integer({ min: 1, max: 0xffffffff }),
      family: fc.constantFrom("ipv4", "ipv6"),
    },
    plainRecord,
  ),
);
const number = fc.nat(0xffffffff);

test("services of every kind of key survive being written and read", () => {
  const settings = fc.record(
    {
      scheduler: fc.constantFrom("rr", "mh", "sh"),
      flags: fc.nat(0xff).map((bits) => bits & ~2),
      timeoutSeconds: number,
      netmask: number,
      persistenceEngine: fc.constant("sip"),
    },
    { ...plainRecord, requiredKeys: ["scheduler", "flags", "timeoutSeconds", "netmask"] },
  );
  fc.assert(
    fc.property(anyKey, settings, (key, value) => {
      const read = decodeService(payload(ipvs.newService(asked, key, value)));
      assert.deepEqual(read, { ok: true, value: { key, ...value } });
    }),
  );
});

test("destinations with thresholds and tunnels survive being written and read", () => {
  const settings = fc.record(
    {
      forwarding: fc.nat(4),
      weight: fc.nat(0x7fffffff),
      upperThreshold: number,
      lowerThreshold: number,
      tunnelType: fc.nat(2),
      tunnelPort: port,
      tunnelFlags: fc.nat(0xffff),
    },
    { ...plainRecord, requiredKeys: ["forwarding", "weight", "upperThreshold", "lowerThreshold"] },
  );
  fc.assert(
    fc.property(anyKey, anyAddress, port, settings, (service, address, number, value) => {
      const key = { address, port: number };
      const counts = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 };
      for (const write of [ipvs.newDestination, ipvs.setDestination]) {
        const read = decodeDestination(payload(write(asked, service, key, value)));
        assert.deepEqual(read, { ok: true, value: { key, ...value, ...counts } });
      }
    }),
  );
});

test("the kernel's own flag is never asked for and never told", () => {
  const written = command.decode(
    payload(ipvs.newService(asked, http, { ...plain, flags: 2 | SERVICE_FLAG.persistent })),
  );
  assert.equal(written.ok && written.value.service?.flags?.flags, SERVICE_FLAG.persistent);
  const told = decodeService(
    answer({ service: { ...raw, flags: { flags: 2 | SERVICE_FLAG.onePacket, mask: 0xffffffff } } }),
  );
  assert.equal(told.ok && told.value.flags, SERVICE_FLAG.onePacket);
});

const { command } = ipvsFormats;
type Body = Parameters<typeof command.encode>[1];
/** As the kernel would answer. */
const answer = (body: Omit<Body, "command" | "version">): Uint8Array =>
  payload(
    command
      .encode(new MessageBuilder({ type: 0x23, flags: 0, sequence: 1 }), { command: 1, version: 1, ...body })
      .finish(),
  );
const octets16 = Uint8Array.from([10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const raw = { family: 2, protocol: 6, address: octets16, port: 80 };

test("64-bit counters are preferred, 32-bit ones taken where there are no others", () => {
  const stats = { connections: 1, inOctets: 5n, inPacketRate: 9 };
  const old = decodeService(answer({ service: { ...raw, stats } }));
  assert.ok(old.ok);
  assert.deepEqual(
    [
      old.value.stats?.connections,
      old.value.stats?.inOctets,
      old.value.stats?.inPacketRate,
      old.value.stats?.outOctets,
    ],
    [1n, 5n, 9n, 0n],
  );
  const both = decodeService(answer({ service: { ...raw, stats, stats64: { connections: 1n << 40n } } }));
  assert.equal(both.ok && both.value.stats?.connections, 1n << 40n);
});

test("a destination's method is cut to its three bits, and takes the service's family on old kernels", () => {
  const found = decodeDestination(
    answer({ destination: { address: octets16, port: 80, forwarding: 0x103, activeConnections: 7 } }),
  );
  assert.ok(found.ok);
  assert.deepEqual(
    [found.value.forwarding, found.value.activeConnections, found.value.key.address],
    [FORWARDING.directRoute, 7, vip],
  );
  const six = decodeDestination(answer({ destination: { address: octets16, port: 80 } }), "ipv6");
  assert.deepEqual(six.ok && six.value.key.address, octets16);
});

test("daemon and timeouts survive being written and read", () => {
  const daemon = {
    state: 1,
    device: "eth0",
    syncId: 5,
    largestMessageOctets: 1400,
    group: 0xe0000051,
    port: 8848,
    ttl: 1,
  };
  assert.deepEqual(decodeDaemon(payload(ipvs.newDaemon(asked, daemon))), { ok: true, value: daemon });
  const timeouts = { tcpTimeoutSeconds: 900, tcpFinTimeoutSeconds: 120, udpTimeoutSeconds: 300 };
  assert.deepEqual(decodeTimeouts(payload(ipvs.setConfig(asked, timeouts))), { ok: true, value: timeouts });
});

test("each command carries its number and asks for an answer", () => {
  const cases: readonly (readonly [Uint8Array, number, number])[] = [
    [ipvs.setService(asked, http, plain), IPVS_CMD.setService, NLM_F.ack],
    [ipvs.delService(asked, http), IPVS_CMD.delService, NLM_F.ack],
    [ipvs.getService(asked, http), IPVS_CMD.getService, NLM_F.ack],
    [ipvs.dumpServices(asked), IPVS_CMD.getService, NLM_F.dump],
    [ipvs.delDestination(asked, http, { address: vip, port: 80 }), IPVS_CMD.delDestination, NLM_F.ack],
    [ipvs.dumpDestinations(asked, http), IPVS_CMD.getDestination, NLM_F.dump],
    [ipvs.delDaemon(asked, { state: 1 }), IPVS_CMD.delDaemon, NLM_F.ack],
    [ipvs.dumpDaemons(asked), IPVS_CMD.getDaemon, NLM_F.dump],
    [ipvs.getConfig(asked), IPVS_CMD.getConfig, NLM_F.ack],
    [ipvs.getInfo(asked), IPVS_CMD.getInfo, NLM_F.ack],
    [ipvs.zero(asked), IPVS_CMD.zero, NLM_F.ack],
    [ipvs.zero(asked, http), IPVS_CMD.zero, NLM_F.ack],
    [ipvs.flush(asked), IPVS_CMD.flush, NLM_F.ack],
  ];
  for (const [octets, command, flags] of cases) {
    assert.equal(payload(octets)[0], command);
    assert.equal(splitMessages(octets).messages[0]?.flags, flags | NLM_F.request);
  }
});

test("what is missing or of another size is named", () => {
  const code = (read: { readonly ok: boolean; readonly code?: string }): string | undefined => read.code;
  assert.equal(code(decodeService(answer({}))), "ipvs/missing");
  assert.equal(code(decodeService(answer({ service: { family: 2, protocol: 6 } }))), "ipvs/missing");
  assert.equal(code(decodeService(answer({ service: { ...raw, family: 7 } }))), "ipvs/family");
  assert.equal(code(decodeService(answer({ service: { ...raw, netmask: new Uint8Array(3) } }))), "ipvs/netmask");
  assert.equal(code(decodeDestination(answer({ destination: { port: 1 } }))), "ipvs/missing");
  assert.equal(code(decodeDaemon(answer({}))), "ipvs/missing");
  assert.equal(code(decodeTimeouts(answer({ tcpTimeoutSeconds: 1 }))), "ipvs/missing");
  assert.equal(code(decodeInfo(answer({}))), "ipvs/missing");
  assert.equal(code(decodeService(new Uint8Array(3))), "genetlink/short");
  const short = new MessageBuilder({ type: 0x23, flags: 0, sequence: 1 })
    .fixed(command.header, { command: 1, version: 1 })
    .nest(1, (b) => b.attribute(3, new Uint8Array(5)));
  assert.equal(code(decodeService(payload(short.finish()))), "ipvs/address");
});

test("info: version and table size stand directly after the header", () => {
  const u32 = (value: number): Uint8Array => {
    const octets = new Uint8Array(4);
    writeHost32(octets, 0, value);
    return octets;
  };
  const built = new MessageBuilder({ type: 0x23, flags: 0, sequence: 1 })
    .fixed(command.header, { command: IPVS_CMD.setInfo, version: 1 })
    .attribute(1, u32(0x010201))
    .attribute(2, u32(4096));
  assert.deepEqual(decodeInfo(payload(built.finish())), { ok: true, value: { version: 0x010201, tableSize: 4096 } });
});

test("no octets, random or damaged, make a decoder throw", () => {
  const decoders = [decodeService, decodeDestination, decodeDaemon, decodeTimeouts, decodeInfo];
  const good = [
    payload(ipvs.newService(asked, http, plain)),
    payload(ipvs.newDestination(asked, http, { address: vip, port: 80 }, { ...direct, tunnelType: 1, tunnelPort: 9 })),
    answer({ service: { ...raw, stats64: { connections: 1n } } }),
    payload(ipvs.newDaemon(asked, { state: 1, device: "eth0" })),
  ];
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => decoders.forEach((d) => void d(octets))));
  fc.assert(
    fc.property(
      fc.constantFrom(...good),
      fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (octets, changes) => {
        const changed = new Uint8Array(octets);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        for (const decode of decoders) decode(changed);
      },
    ),
    { numRuns: 1000 },
  );
});
