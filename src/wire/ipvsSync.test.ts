import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4 } from "../base/ipv4.ts";
import {
  connectionsPerMessage,
  ipvsSyncConnection,
  ipvsSyncHeader,
  isLearnt,
  readConnection,
  SYNC_FLAG,
  syncMessage,
} from "./ipvsSync.ts";

/** As Linux 6.1 prints them. */
const heading = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData";
const established = "TCP 0A3200C8 9C42 0A320064 0050 0A32000B 0050 ESTABLISHED     899";
const halfOpen = "TCP 0A3200C8 9C43 0A320064 0050 0A32000C 0050 SYN_RECV         59";
const datagram = "UDP 0A3200C8 9C44 0A320064 0035 0A32000C 0035 UDP             299";
const template = "TCP 0A3200C8 0000 0A320064 0050 0A32000C 0050 NONE             99";

test("a line of /proc/net/ip_vs_conn is a connection; headings, templates and IPv6 are none", () => {
  assert.deepEqual(readConnection(established), {
    protocol: 6,
    client: ipv4("10.50.0.200"),
    clientPort: 40_002,
    virtual: ipv4("10.50.0.100"),
    virtualPort: 80,
    server: ipv4("10.50.0.11"),
    serverPort: 80,
    state: 1,
  });
  assert.equal(readConnection(halfOpen)?.state, 3);
  assert.equal(readConnection(datagram)?.protocol, 17);
  const v6 = "TCP [2001:0db8:0000:0000:0000:0000:0000:0001] 9C42 [2001::1] 0050 [2001::2] 0050 ESTABLISHED 899";
  for (const line of [heading, template, v6, "", established.replace("ESTABLISHED", "WHATEVER")])
    assert.equal(readConnection(line), undefined, line);
  fc.assert(fc.property(fc.string(), (text) => readConnection(text) === undefined));
});

test("ip_vs_conn_sync: a connection, and whether another director told it", () => {
  const told = (origin: string): string =>
    `TCP 0A3200C8 9C42 0A320064 0050 0A32000B 0050 ESTABLISHED ${origin.padEnd(6)}     899`;
  for (const origin of ["LOCAL", "SYNC"]) {
    assert.deepEqual(readConnection(told(origin)), readConnection(established));
    assert.equal(isLearnt(told(origin)), origin === "SYNC");
  }
});

test("the message is what the kernel's version 1 has: header, then 36 octets for each connection", () => {
  const connections = [established, halfOpen].flatMap((line) => readConnection(line) ?? []);
  const octets = syncMessage(7, connections, (c) => ({ method: c.state === 1 ? "dr" : "tun", fwmark: 5 }));
  assert.equal(
    Buffer.from(octets).toString("hex"),
    [
      "0007005002010000",
      "0006002400000003" + "00019c4200500050" + "0000000500000000" + "0a3200c80a3200640a32000b",
      "0006002400000102" + "00039c4300500050" + "0000000500000000" + "0a3200c80a3200640a32000c",
    ].join(""),
  );
  assert.deepEqual(ipvsSyncHeader.decode(octets), { ok: true, value: { syncId: 7, size: 80, count: 2 } });
  const read = ipvsSyncConnection.decode(octets, 44);
  assert.ok(read.ok && read.value.flags === (SYNC_FLAG.tun | SYNC_FLAG.inactive));
  const many = Array.from({ length: connectionsPerMessage }, () => connections[0] as (typeof connections)[0]);
  const way = (): { method: "dr"; fwmark: number } => ({ method: "dr", fwmark: 0 });
  assert.ok(syncMessage(0, many, way).length + 28 <= 1500, "one message is one packet");
  assert.throws(() => syncMessage(0, [...many, many[0] as (typeof many)[0]], way), RangeError);
});
