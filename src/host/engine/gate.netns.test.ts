import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ipv4 } from "../../base/ipv4.ts";
import { type Mac, mac } from "../../base/mac.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";
import { ARP_REPLY } from "../../wire/arp.ts";
import { arpRequest, dissect, ipv4Frame, tcpPacket } from "../../wire/frame.ts";
import { TCP_FLAG } from "../../wire/tcp.ts";
import { YieldedVips, yieldedTable } from "../agent/yieldedVips.ts";
import { NftSets } from "../nftSet.ts";
import { openPacketSocket, type PacketSocket } from "../packetSocket.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { gateTable, relaySet, setGate } from "./gate.ts";
import { marksTable } from "./marks.ts";
import { ownRules } from "./ownRules.ts";

const vip = ipv4("10.50.0.100");
const client = ipv4("10.50.0.200");
const macs: Readonly<Record<string, Mac>> = {
  lb1: mac("02:00:00:00:00:01"),
  lb2: mac("02:00:00:00:00:02"),
  client: mac("02:00:00:00:00:03"),
};
const lb2 = ipv4("10.50.0.3");
const closed = { closed: [vip], open: [], peers: [] };
const nothing = { closed: [], open: [], peers: [] };

let wires: Wires;
const taps = new Map<string, PacketSocket>();
before(() => {
  if (process.getuid?.() !== 0) return;
  const address = (last: number): string[] => [`address add 10.50.0.${last}/24 dev eth0`];
  wires = buildWires(testPrefix("gate"), { lb1: address(2), lb2: address(3), client: address(200) });
  wires.run("lb1", "ip", "address", "add", "10.50.0.100/32", "dev", "eth0");
  for (const name of ["lb2", "client"])
    taps.set(name, openPacketSocket({ interface: "eth0", namespace: wires.machine(name) }));
});
after(() => {
  for (const tap of taps.values()) tap.close();
  wires?.close();
});

/** Whatever comes, comes by then. */
const shortlyMs = 400;

/** A segment from the client to the VIP at lb1; what of TCP each of the others then hears: lb2 with the hops it has left. */
async function segment(flags: number, port: number, ttl?: number): Promise<{ client: string[]; lb2: string[] }> {
  for (const tap of taps.values()) tap.receive(() => {}, 10_000);
  const tcp = { sourcePort: 40_000, destinationPort: port, sequence: 1, acknowledgment: 1, flags, window: 1000 };
  const packet = tcpPacket({ source: client, destination: vip, ...(ttl !== undefined && { ttl }) }, tcp);
  taps.get("client")?.send([ipv4Frame({ source: macs.client as Mac, destination: macs.lb1 as Mac }, packet)]);
  const found: { client: string[]; lb2: string[] } = { client: [], lb2: [] };
  const hear = (name: "client" | "lb2"): void => {
    taps.get(name)?.receive((frame) => {
      const { ethernet, inside } = dissect(frame.octets.slice());
      if (inside.kind !== "ipv4" || inside.inside.kind !== "tcp" || ethernet?.destination !== macs[name]) return;
      found[name].push(
        (inside.inside.tcp.flags & TCP_FLAG.rst) !== 0
          ? "rst"
          : ttl === undefined
            ? "segment"
            : `ttl ${inside.ipv4.ttl}`,
      );
    }, 10_000);
  };
  await within(shortlyMs, () => {
    hear("client");
    hear("lb2");
    return found.client.length + found.lb2.length > 0;
  });
  return found;
}
function relay(forMs: number): void {
  const sets = wires.machine("lb1").run(() => new NftSets());
  try {
    sets.add(gateTable, relaySet(lb2), [vip], forMs);
    assert.throws(() => sets.add(gateTable, "nothing", [vip], 1), { code: "netlink/ENOENT" });
  } finally {
    sets.close();
  }
}

function endRelay(): void {
  const sets = wires.machine("lb1").run(() => new NftSets());
  try {
    sets.remove(gateTable, relaySet(lb2), [vip]);
  } finally {
    sets.close();
  }
}

/** Whether lb1 answers the client's question for the VIP. */
async function answersArp(): Promise<boolean> {
  const tap = taps.get("client");
  tap?.receive(() => {}, 10_000);
  tap?.send([arpRequest({ senderMac: macs.client as Mac, senderIp: client, targetIp: vip })]);
  let answered = false;
  await within(shortlyMs, () => {
    tap?.receive((frame) => {
      const { inside } = dissect(frame.octets.slice());
      if (inside.kind === "arp" && inside.arp.operation === ARP_REPLY && inside.arp.senderIp === vip) answered = true;
    }, 10_000);
    return answered;
  });
  return answered;
}

test("closed: nothing for the VIP is delivered here, what is the host's own is", async (t) => {
  if (!needsRoot(t)) return;
  const lb1 = wires.machine("lb1");
  assert.deepEqual((await segment(TCP_FLAG.syn, 80)).client, ["rst"], "the twin: a VIP without a gate is answered for");
  setGate(closed, lb1);
  assert.deepEqual((await segment(TCP_FLAG.syn, 80)).client, []);
  assert.deepEqual((await segment(TCP_FLAG.ack, 80)).client, []);
  setGate({ ...closed, open: [{ vip, protocol: 6, first: 80, last: 90 }] }, lb1);
  assert.deepEqual((await segment(TCP_FLAG.syn, 85)).client, ["rst"], "a door");
  assert.deepEqual((await segment(TCP_FLAG.syn, 91)).client, []);
  assert.match(wires.run("lb1", "ip", "neigh"), /10\.50\.0\.200/, "the host itself still talks");
  setGate(nothing, lb1);
  assert.deepEqual((await segment(TCP_FLAG.syn, 80)).client, ["rst"]);
  assert.equal(wires.run("lb1", "nft", "list", "tables").trim(), "");
});

test("relay: what is no SYN goes to the other director, for its time", async (t) => {
  if (!needsRoot(t)) return;
  const lb1 = wires.machine("lb1");
  setGate({ ...nothing, peers: [ipv4("10.50.0.9"), lb2] }, lb1);
  assert.deepEqual(await segment(TCP_FLAG.ack, 80), { client: ["rst"], lb2: [] }, "the twin: a way is no relay");
  relay(900);
  assert.deepEqual(await segment(TCP_FLAG.ack, 80), { client: [], lb2: ["segment"] });
  assert.deepEqual(await segment(TCP_FLAG.syn, 80), { client: ["rst"], lb2: [] });
  await sleep(1000);
  assert.deepEqual(await segment(TCP_FLAG.ack, 80), { client: ["rst"], lb2: [] }, "over by itself");
  endRelay();
  relay(60_000);
  assert.deepEqual(await segment(TCP_FLAG.ack, 80), { client: [], lb2: ["segment"] });
  assert.deepEqual(await segment(TCP_FLAG.ack, 80, 2), { client: [], lb2: ["ttl 1"] });
  assert.deepEqual(
    await segment(TCP_FLAG.ack, 80, 1),
    { client: [], lb2: [] },
    "two that relay to each other come to an end",
  );
  endRelay();
  assert.deepEqual(await segment(TCP_FLAG.ack, 80), { client: ["rst"], lb2: [] }, "over before its time");
  endRelay();
  setGate(nothing, lb1);
});

test("our tables: what others do to them is seen, what a relay does is not", (t) => {
  if (!needsRoot(t)) return;
  const rules = ownRules(wires.machine("lb1"));
  const wish = { ...closed, peers: [lb2] };
  const marks = [{ vip, protocol: 6, first: 8000, last: 8010, fwmark: 0x76000001 }];
  const nft = (...words: string[]): string => wires.run("lb1", "nft", ...words);
  assert.deepEqual(rules.lost(), [], "what was never asked for is not missed");
  assert.deepEqual([rules.gate(wish), rules.mark(marks), rules.lost()], [undefined, undefined, []]);
  relay(60_000);
  assert.deepEqual(rules.lost(), []);
  nft("delete", "element", "ip", gateTable, "closed", "{ 10.50.0.100 }");
  assert.deepEqual(rules.lost(), ["gate"]);
  assert.deepEqual([rules.gate(wish), rules.lost()], [undefined, []]);
  nft("flush", "table", "ip", marksTable);
  assert.deepEqual(rules.lost(), ["marks"]);
  nft("flush", "ruleset");
  assert.deepEqual(new Set(rules.lost()), new Set(["gate", "marks"]));
  assert.deepEqual([rules.gate(wish), rules.mark(marks), rules.lost()], [undefined, undefined, []]);
  assert.deepEqual([rules.gate(nothing), rules.mark([]), rules.lost()], [undefined, undefined, []]);
  assert.equal(nft("list", "tables").trim(), "");
});

test("yielded: no ARP answer for the VIP, and its packets are taken all the same", async (t) => {
  if (!needsRoot(t)) return;
  const lb1 = wires.machine("lb1");
  const netlink = openRtnetlink(lb1);
  // The input hook, where IPVS sits, is shown by the relay: without an address this host answers nothing itself.
  const taken = async (): Promise<boolean> => (await segment(TCP_FLAG.ack, 80)).lb2.length === 1;
  try {
    setGate({ ...nothing, peers: [lb2] }, lb1);
    relay(20_000);
    const yielded = new YieldedVips(netlink);
    assert.ok(await answersArp(), "the twin: an address is answered for");
    yielded.take([vip]);
    netlink.removeAddress("eth0", { address: vip, length: 32 });
    assert.equal(await taken(), true);
    assert.equal(await answersArp(), false);
    new YieldedVips(netlink).clear();
    assert.equal(await taken(), false, "what a killed run left is gone");
    assert.doesNotMatch(wires.run("lb1", "ip", "rule"), new RegExp(`${yieldedTable}`));
    yielded.take([vip]);
    yielded.take([vip]);
    yielded.drop([vip]);
    assert.doesNotMatch(wires.run("lb1", "ip", "rule"), new RegExp(`${yieldedTable}`));
  } finally {
    netlink.close();
  }
});
