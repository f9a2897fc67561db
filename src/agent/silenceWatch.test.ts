import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import { parseCluster } from "../cluster/index.ts";
import { ARP_REPLY } from "../wire/arp.ts";
import type { AgentEvent } from "./event.ts";
import { SilenceWatch } from "./silenceWatch.ts";

/** A director with two networks on one link, a VIP and a real server in each. */
class Watched {
  readonly events: AgentEvent[] = [];
  readonly watch = new SilenceWatch({
    sendFrame: () => {},
    macOf: () => mac("02:00:00:00:00:01"),
    report: (event) => void this.events.push(event),
  });
  nowMs = 0;

  load(more = ""): this {
    const read = parseCluster(`version: 1
name: test
networks: { one: { prefix: 10.0.0.0/24 }, two: { prefix: 10.1.0.0/24 } }
directors: { lb1: { dip: 10.0.0.2, interface: eth0, addresses: [{ address: 10.1.0.2, interface: eth0 }${more}] } }
realServers: { web1: 10.0.0.11, web2: 10.1.0.12 }
vips: { a: 10.0.0.100, b: 10.1.0.100 }
services: [{ vip: [a, b], port: 80 }]
`);
    assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
    const [director] = read.cluster.directors;
    assert.ok(director !== undefined);
    this.watch.load(read.cluster, director, this.nowMs);
    this.watch.changed = false;
    return this;
  }
  hear(senderMac: Mac, sender: string): this {
    this.nowMs += 10;
    const target = { targetMac: mac("02:00:00:00:00:01"), targetIp: ipv4("10.0.0.2") };
    const arp = { operation: ARP_REPLY, senderMac, senderIp: ipv4(sender), ...target };
    this.watch.heardArp("eth0", arp, this.nowMs);
    return this;
  }
  get codes(): string[] {
    return this.events.map((e) => `${e.code} ${e.subject}`);
  }
}
const web1 = mac("02:00:00:00:00:11");

test("who answers for a VIP before it is known by its own address is named, and can be taken out, from its next answer", () => {
  const one = new Watched().load().hear(web1, "10.0.0.100");
  assert.deepEqual([...one.watch.guilty().keys()], []);
  one.hear(web1, "10.0.0.11");
  one.watch.changed = false;
  one.hear(web1, "10.0.0.100");
  assert.deepEqual([...one.watch.guilty().keys()], ["web1"]);
  assert.equal(one.watch.changed, true);
  assert.deepEqual(one.codes, ["silence/broken 02:00:00:00:00:11", "silence/broken web1"]);
});

test("two own addresses of one network on one link: a guilty machine is told of once", () => {
  const second = ", { address: 10.0.0.3, interface: eth0 }";
  const one = new Watched().load(second).hear(web1, "10.0.0.100");
  assert.equal(one.events.length, 1);
  assert.equal(one.watch.view().length, 1);
});

test("two networks on one link: after a reload who was guilty is so still, and is not told of again", () => {
  const one = new Watched().load().hear(web1, "10.0.0.11").hear(web1, "10.0.0.100");
  one.load().watch.tick(one.nowMs + 1_000);
  assert.deepEqual([...one.watch.guilty().keys()], ["web1"]);
  one.hear(web1, "10.0.0.100");
  assert.deepEqual(one.codes, ["silence/broken web1"]);
});
