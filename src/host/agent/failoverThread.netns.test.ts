/** The failover thread that ships, inside a namespace of the test's, while its links come and go. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { FailoverConfig, InstanceConfig } from "../../agent/failoverConfig.ts";
import { ipv4 } from "../../base/ipv4.ts";
import { mac } from "../../base/mac.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires } from "../../testing/wires.ts";
import { WireTap } from "../../testing/wireTap.ts";
import { within } from "../../testing/within.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { FailoverWorker } from "./failoverWorker.ts";

const vip = "10.50.0.100";
const macs = { before: mac("02:00:00:00:00:01"), after: mac("02:00:00:00:00:77") };
const announcer: InstanceConfig["announcer"] = {
  mac: macs.before,
  count: 2,
  intervalMs: 50,
  refreshMs: 0,
  form: "both",
  framesAtOnce: 64,
  neighbours: [],
  verifyWithinMs: 500,
  verifyAttempts: 1,
};
const instance: InstanceConfig = {
  link: "eth0",
  announcer,
  vrrp: {
    name: "web",
    version: 3,
    vrid: 51,
    priority: 150,
    intervalMs: 100,
    address: ipv4("10.50.0.2"),
    vips: [ipv4(vip)],
    preempt: true,
    preemptDelayMs: 0,
    downAdverts: 3,
    accept: true,
    checksum: "message",
  },
};
const vrrp: FailoverConfig = { groups: [[instance]], sole: [] };
const sole: FailoverConfig = { groups: [], sole: [{ name: "eth0", link: "eth0", vips: [ipv4(vip)], announcer }] };
const nothing: FailoverConfig = { groups: [], sole: [] };

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  assert.ok(await within(20_000, holds, 20), `not within 20 s: ${what}`);
}

/** One director and a neighbour that listens. */
async function started(label: string, config: FailoverConfig) {
  const wires = buildWires(testPrefix(label), { lb1: ["address add 10.50.0.2/24 dev eth0"], tap: [] });
  const lb1 = wires.machine("lb1");
  const netlink = openRtnetlink(lb1);
  const up = new Map<string, boolean>();
  const tap = new WireTap(wires.machine("tap"), vip);
  // A thread begins in the namespace of the one that starts it.
  const { starting } = lb1.run(() => ({
    starting: FailoverWorker.start(config, {
      onEvent: () => {},
      onLinks: (news) => {
        for (const [name, isUp] of news) up.set(name, isUp);
      },
      onError: (error) => {
        throw error;
      },
    }),
  }));
  const worker = await starting;
  const heard = (priority: number): boolean => {
    tap.read();
    return tap.adverts.some((a) => a.priority === priority);
  };
  return {
    worker,
    wires,
    up,
    tap,
    heard,
    holds: (link = "eth0"): boolean => netlink.addresses({ link }).some((a) => a.address === ipv4(vip)),
    rename(from: string, to: string): void {
      const set = (...what: string[]): string => wires.run("lb1", "ip", "link", "set", ...what);
      try {
        set(from, "name", to);
      } catch {
        // Linux before 6.2 renames only what is down.
        set(from, "down");
        set(from, "name", to);
        set(to, "up");
      }
    },
    deleteLink: (): string => wires.run("lb1", "ip", "link", "delete", "eth0"),
    /** As ifup does it for a VLAN, a bond, a tunnel: the same name, another index, and here another MAC too. */
    makeLink(): void {
      const peer = ["peer", "name", "p1", "netns", wires.switch.name];
      wires.run("lb1", "ip", "link", "add", "eth0", "address", macs.after, "type", "veth", ...peer);
      const { switch: fabric } = wires;
      const inSwitch = openRtnetlink(fabric);
      inSwitch.setLink("p1", { master: "br0", up: true });
      inSwitch.close();
      wires.run("lb1", "ip", "address", "add", "10.50.0.2/24", "dev", "eth0");
      wires.run("lb1", "ip", "link", "set", "eth0", "up");
    },
    async close(): Promise<void> {
      await worker.stop();
      tap.close();
      netlink.close();
      wires.close();
    },
  };
}
type Lab = Awaited<ReturnType<typeof started>>;
async function withLab(t: TestContext, label: string, config: FailoverConfig, body: (lab: Lab) => Promise<void>) {
  if (!needsRoot(t)) return;
  const lab = await started(label, config);
  try {
    await body(lab);
  } finally {
    await lab.close();
  }
}

for (const [what, label, config] of [
  ["a master", "again", vrrp],
  ["a single director", "sole", sole],
] as const)
  test(`a link that is deleted and made again: ${what} has its VIP on the new one, and is heard there`, async (t) => {
    await withLab(t, label, config, async (lab) => {
      const isHeard = (): boolean => config === sole || lab.heard(150);
      await until("it holds the VIP", () => lab.holds() && isHeard());
      lab.deleteLink();
      lab.makeLink();
      lab.tap.forget();
      await until("it holds the VIP again", () => lab.holds());
      await until("its adverts come", isHeard);
      await until("its announcements come", () => {
        lab.tap.read();
        return lab.tap.announcements.length > 0;
      });
      assert.deepEqual([...new Set(lab.tap.announcements.map((a) => a.mac))], [macs.after]);
      const [now] = (await lab.worker.status()).instances;
      assert.equal(now?.phase, config === sole ? "sole" : "master");
    });
  });

for (const [what, label, config] of [
  ["a master", "name", vrrp],
  ["a single director", "named", sole],
] as const)
  test(`a link that is renamed away: ${what} leaves it, and is there again when one of that name is`, async (t) => {
    await withLab(t, label, config, async (lab) => {
      const isHeard = (): boolean => config === sole || lab.heard(150);
      await until("it holds the VIP", () => lab.holds() && isHeard());
      lab.rename("eth0", "eth9");
      await until("the VIP is gone", () => !lab.holds("eth9"));
      lab.tap.forget();
      await sleep(1000);
      lab.tap.read();
      assert.deepEqual([lab.tap.adverts, lab.tap.announcements], [[], []], "it speaks on");
      const [now] = (await lab.worker.status()).instances;
      assert.equal(now?.phase, config === sole ? "sole" : "initialize");
      lab.rename("eth9", "eth0");
      await until("it holds the VIP again", () => lab.holds());
      await until("its adverts come", isHeard);
    });
  });

test("a link that is only tracked and renamed away is not up any more", async (t) => {
  await withLab(t, "track", vrrp, async (lab) => {
    lab.wires.run("lb1", "ip", "link", "add", "track0", "type", "veth", "peer", "name", "track1");
    for (const end of ["track0", "track1"]) lab.wires.run("lb1", "ip", "link", "set", end, "up");
    await until("it is up", () => lab.up.get("track0") === true);
    lab.rename("track0", "other0");
    await until("it is not", () => lab.up.get("track0") === false && lab.up.get("other0") === true);
  });
});

test("while the link is away nobody is master, and a reload meanwhile changes nothing of that", async (t) => {
  await withLab(t, "away", vrrp, async (lab) => {
    const phase = async (): Promise<string | undefined> => (await lab.worker.status()).instances[0]?.phase;
    await until("it is master", async () => (await phase()) === "master");
    lab.deleteLink();
    await until("it is not", async () => (await phase()) === "initialize");
    lab.worker.reload(vrrp);
    assert.equal(await phase(), "initialize");
    lab.makeLink();
    await until("it is again", () => lab.holds());
    assert.equal(await phase(), "master");
  });
});

test("a reload that drops the last instance of a link says priority 0 first, and takes the VIP away", async (t) => {
  await withLab(t, "drop", vrrp, async (lab) => {
    await until("it is master", () => lab.holds() && lab.heard(150));
    assert.ok(!lab.heard(0));
    lab.worker.reload(nothing);
    await until("the others need not wait", () => lab.heard(0));
    await until("the VIP is gone", () => !lab.holds());
    assert.deepEqual((await lab.worker.status()).instances, []);
  });
});

test("a second director joins: a link that only held VIPs gets its adverts too", async (t) => {
  await withLab(t, "joins", sole, async (lab) => {
    await until("it holds the VIP", () => lab.holds());
    assert.ok(!lab.heard(150));
    lab.worker.reload(vrrp);
    await until("its adverts come", () => lab.heard(150));
  });
});
