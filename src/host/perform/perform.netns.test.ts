import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Journal } from "../../apply/journal.ts";
import { type Outcome, type RunRequest, run } from "../../apply/run.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, mac, macFromOctets, writeMac, ZERO_MAC } from "../../base/mac.ts";
import { prefix } from "../../base/prefix.ts";
import type { HostFacts } from "../../model/facts.ts";
import { operationsOf } from "../../plan/change.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { makePlan, type Plan } from "../../plan/plan.ts";
import { planNamed } from "../../policy/auto.ts";
import type { Wish } from "../../policy/wish.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import * as libc from "../libc.ts";
import { createNamespace, type Namespace, removeNamespace } from "../namespace.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { machinePorts } from "./machine.ts";
import { MachinePerformer } from "./performer.ts";
import { programsHere, readFacts } from "./readFacts.ts";

const ETH_ARP = 0x0806;
const RIP = ipv4("10.0.0.11");
const PEER = ipv4("10.0.0.1");
const RS_MAC = mac("02:00:00:00:00:11");
const PEER_MAC = mac("02:00:00:00:00:01");
const VIPS = ["10.0.0.100", "10.0.0.101"];

interface ArpSeen {
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderIp: string;
  readonly targetIp: string;
}

function arpFrame(to: Mac, senderIp: Ipv4, targetIp: Ipv4): Uint8Array {
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  writeMac(to, frame, 0);
  writeMac(PEER_MAC, frame, 6);
  frame.set([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  writeMac(PEER_MAC, frame, 22);
  view.setUint32(28, senderIp);
  writeMac(ZERO_MAC, frame, 32);
  view.setUint32(38, targetIp);
  return frame;
}

/** A real server and its one neighbour, who hears all that it says. */
class Wire {
  readonly rs: Namespace;
  readonly peer: Namespace;
  readonly #fd: number;
  constructor(label: string) {
    const name = testPrefix(label);
    this.rs = createNamespace(`${name}rs`);
    this.peer = createNamespace(`${name}peer`);
    const rs = openRtnetlink(this.rs);
    const peer = openRtnetlink(this.peer);
    rs.createVeth({ name: "eth0", mac: RS_MAC }, { name: "wire", mac: PEER_MAC, namespace: this.peer });
    for (const [rt, link, address] of [
      [rs, "eth0", "10.0.0.11/24"],
      [peer, "wire", "10.0.0.1/24"],
    ] as const) {
      rt.setLink("lo", { up: true });
      rt.setLink(link, { up: true });
      rt.addAddress(link, { prefix: prefix(address) });
    }
    rs.addRoute({ gateway: PEER });
    const index = peer.indexOf("wire");
    rs.close();
    peer.close();
    this.#fd = this.peer.run(() => {
      const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0x0608, "arp tap");
      const address = new DataView(new ArrayBuffer(20));
      address.setUint16(0, libc.AF_PACKET, true);
      address.setUint16(2, ETH_ARP);
      address.setInt32(4, index, true);
      libc.bind(fd, new Uint8Array(address.buffer), "arp tap");
      return fd;
    });
  }

  /** Everything from the real server since the last call. */
  seen(): ArpSeen[] {
    const found: ArpSeen[] = [];
    const frame = new Uint8Array(128);
    for (;;) {
      const length = libc.recv(this.#fd, frame, libc.MSG_DONTWAIT, "arp tap");
      if (length === undefined) return found;
      const view = new DataView(frame.buffer);
      if (macFromOctets(frame, 6) !== RS_MAC) continue;
      found.push({
        operation: view.getUint16(20),
        senderMac: macFromOctets(frame, 22),
        senderIp: formatIpv4(view.getUint32(28) as Ipv4),
        targetIp: formatIpv4(view.getUint32(38) as Ipv4),
      });
    }
  }

  /** Who-has for `ip`, by broadcast, unicast and as a probe; the kinds that were answered. */
  answered(ip: string): string[] {
    const target = ipv4(ip);
    const kinds: string[] = [];
    for (const [kind, to, sender] of [
      ["broadcast", BROADCAST_MAC, PEER],
      ["unicast", RS_MAC, PEER],
      ["probe", BROADCAST_MAC, ipv4("0.0.0.0")],
    ] as const) {
      this.seen();
      libc.send(this.#fd, arpFrame(to, sender, target), 0, "arp request");
      libc.poll(this.#fd, libc.POLLIN, 30);
      if (this.seen().some((a) => a.operation === 2 && a.senderIp === ip)) kinds.push(kind);
    }
    return kinds;
  }

  /** Sends a datagram from `source`, so that the kernel must resolve the neighbour; the senders it showed. */
  shownFor(source: string): string[] {
    const rt = openRtnetlink(this.rs);
    rt.flushNeighbours("eth0");
    rt.close();
    this.seen();
    this.rs.run(() => {
      const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM, 0, "datagram");
      try {
        libc.bind(fd, socketAddress(ipv4(source), 0), `datagram from ${source}`);
        libc.sendto(fd, Uint8Array.of(1), socketAddress(PEER, 9), "datagram");
      } finally {
        libc.close(fd);
      }
    });
    libc.poll(this.#fd, libc.POLLIN, 50);
    return this.seen().flatMap((a) => (a.operation === 1 ? [a.senderIp] : []));
  }

  close(): void {
    libc.close(this.#fd);
    for (const ns of [this.rs, this.peer]) {
      ns.close();
      removeNamespace(ns.name);
    }
  }
}

function socketAddress(ip: Ipv4, port: number): Uint8Array {
  const address = new DataView(new ArrayBuffer(16));
  address.setUint16(0, libc.AF_INET, true);
  address.setUint16(2, port);
  address.setUint32(4, ip);
  return new Uint8Array(address.buffer);
}

const wishOf = (vips: readonly string[]): Wish => ({
  vips,
  forwarding: "dr",
  carrier: "lo",
  services: [{ protocol: "udp", ports: [[5000, 5000]] }],
});

const request = (policy: string, vips = VIPS): RunRequest => ({
  direction: "apply",
  paths: [],
  kernel: kernelModel,
  plan: (world, owned): Plan => {
    const choice = planNamed(policy, { world, owned, wish: wishOf(vips), kernel: kernelModel });
    if (choice.policy === "none") throw new Error(choice.considered[0]?.why);
    return (choice as { plan: Plan }).plan;
  },
});

const undoRequest: RunRequest = {
  direction: "undo",
  paths: [],
  kernel: kernelModel,
  plan: (world, owned) =>
    makePlan({ world, owned, wanted: [], goal: { vips: [], forwarding: "dr", services: [] }, kernel: kernelModel }),
};

/** Without what moves by itself. */
const still = (facts: HostFacts) => ({ ...facts, neighbours: [], takenAt: "", modules: [] });
const why = (o: Outcome): string => JSON.stringify(o, (k, v) => (k === "plan" ? undefined : v));

async function withWire(label: string, body: (wire: Wire, stateDir: string) => Promise<void>): Promise<void> {
  const wire = new Wire(label);
  const stateDir = mkdtempSync(join(tmpdir(), "vipward-state-"));
  try {
    await body(wire, stateDir);
  } finally {
    wire.close();
    rmSync(stateDir, { recursive: true });
  }
}

for (const policy of ["arp-sysctl", "nft-arp", "arptables", "local-route", "redirect"])
  test(`${policy} on the real kernel: silent, accepting, not leaking, own address answered; undo gives back the facts`, async (t) => {
    if (!needsRoot(t)) return;
    const programs = programsHere();
    if ((policy === "nft-arp" || policy === "redirect") && !programs.nft) return t.skip("no nft here");
    if (policy === "arptables" && !programs.arptables) return t.skip("no arptables here");
    await withWire(policy.slice(0, 5), async (wire, stateDir) => {
      const ports = machinePorts({ namespace: wire.rs, stateDir });
      const before = still(readFacts(wire.rs));
      const outcome = await run(ports, request(policy));
      assert.equal(outcome.kind, "done", why(outcome));
      for (const vip of VIPS) assert.deepEqual(wire.answered(vip), [], vip);
      assert.deepEqual(wire.answered("10.0.0.11"), ["broadcast", "unicast", "probe"]);
      if (policy !== "redirect") for (const vip of VIPS) assert.deepEqual(wire.shownFor(vip), ["10.0.0.11"]);
      assert.deepEqual(wire.shownFor(formatIpv4(RIP)), ["10.0.0.11"]);
      const again = await run(ports, request(policy));
      assert.equal(again.kind, "nothing", why(again));
      const back = await run(ports, undoRequest);
      assert.equal(back.kind, "done", why(back));
      assert.deepEqual(still(readFacts(wire.rs)), before);
      assert.deepEqual((await Journal.peek(ports.journal)).owned, []);
    });
  });

test("the twin: the VIP on lo without silence is answered for and leaked", async (t) => {
  if (!needsRoot(t)) return;
  await withWire("twin", async (wire) => {
    const rt = openRtnetlink(wire.rs);
    rt.addAddress("lo", { prefix: prefix("10.0.0.100/32") });
    rt.close();
    assert.deepEqual(wire.answered("10.0.0.100"), ["broadcast", "unicast", "probe"]);
    assert.deepEqual(wire.shownFor("10.0.0.100"), ["10.0.0.100"]);
  });
});

for (const order of ["the plan's", "the wrong"] as const)
  test(`sniffed during apply, in ${order} order: ${order === "the wrong" ? "the VIP leaks in between" : "not one ARP packet carries the VIP"}`, async (t) => {
    if (!needsRoot(t)) return;
    await withWire("order", async (wire) => {
      const world = { facts: readFacts(wire.rs), files: {} };
      const choice = planNamed("arp-sysctl", { world, owned: [], wish: wishOf(["10.0.0.100"]), kernel: kernelModel });
      const { steps } = (choice as { plan: Plan }).plan;
      const sequence = order === "the wrong" ? [...steps].reverse() : steps;
      const performer = new MachinePerformer(wire.rs);
      const escaped: string[] = [];
      for (const step of sequence) {
        await performer.perform(operationsOf(step.change));
        escaped.push(...wire.answered("10.0.0.100"));
        const facts = readFacts(wire.rs);
        if (facts.addresses.some((a) => a.ip === "10.0.0.100"))
          escaped.push(...wire.shownFor("10.0.0.100").filter((s) => s === "10.0.0.100"));
      }
      assert.equal(escaped.length > 0, order === "the wrong", escaped.join(" "));
    });
  });

test("a thousand VIPs come, nine hundred go again, and the rest stay silent", async (t) => {
  if (!needsRoot(t)) return;
  await withWire("many", async (wire, stateDir) => {
    const ports = machinePorts({ namespace: wire.rs, stateDir });
    const many = Array.from({ length: 1000 }, (_, i) => formatIpv4((ipv4("10.9.0.1") + i) as Ipv4));
    const before = still(readFacts(wire.rs));
    const startMs = performance.now();
    assert.equal((await run(ports, request("nft-arp", many))).kind, "done");
    t.diagnostic(`1,000 VIPs proven, applied and verified in ${Math.round(performance.now() - startMs)} ms`);
    const fewer = await run(ports, request("nft-arp", many.slice(0, 100)));
    assert.equal(fewer.kind, "done", why(fewer));
    assert.equal(readFacts(wire.rs).addresses.filter((a) => a.link === "lo").length, 101);
    assert.deepEqual(wire.answered(many[50] as string), []);
    await run(ports, undoRequest);
    assert.deepEqual(still(readFacts(wire.rs)), before);
  });
});
