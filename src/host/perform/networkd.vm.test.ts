import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { run, undoEverything } from "../../apply/run.ts";
import type { HostFacts } from "../../model/facts.ts";
import type { Change } from "../../plan/change.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import type { Plan } from "../../plan/plan.ts";
import { render } from "../../plan/render/targets.ts";
import { planNamed } from "../../policy/auto.ts";
import { inOrder } from "../../policy/keep.ts";
import { policyNamed } from "../../policy/policies.ts";
import { situationOf } from "../../policy/policy.ts";
import type { Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { testsInVm } from "../../testing/vm.ts";
import { within } from "../../testing/within.ts";
import { loadModule } from "../modules.ts";
import { machinePorts } from "./machine.ts";
import { readFacts } from "./readFacts.ts";

const VIP = "10.0.0.100";
const RIP = "10.0.0.11";
const NETWORK = "/etc/systemd/network";

function userInfoOf(user: string): { uid: number; gid: number } {
  const [, , uid, gid] = (
    readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .find((l) => l.startsWith(`${user}:`)) ?? ""
  ).split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

/** networkd, and udev unless `/sys` is read-only, in a namespace. */
class Managers {
  readonly #children: ChildProcess[] = [];
  readonly #ns: string;
  constructor(ns: string) {
    this.#ns = ns;
  }
  start(udev: boolean): void {
    // What an earlier udev knew of a device with this number would have networkd take it before its rules have run.
    for (const old of ["/run/udev", "/run/systemd/netif"]) rmSync(old, { recursive: true, force: true });
    mkdirSync("/run/systemd/netif", { recursive: true });
    const { uid, gid } = userInfoOf("systemd-network");
    chownSync("/run/systemd/netif", uid, gid);
    const sys = udev ? "rw" : "ro";
    const script = `mount -o remount,${sys} /sys; ${udev ? "systemd-udevd & until udevadm control --ping; do sleep 0.1; done; udevadm trigger --subsystem-match=net --action=add; udevadm settle;" : ""} exec systemd-networkd`;
    const path = `/usr/lib/systemd:${process.env.PATH}`;
    const child = spawn("ip", ["netns", "exec", this.#ns, "bash", "-c", script], {
      stdio: "inherit",
      env: { PATH: path },
      detached: true,
    });
    this.#children.push(child);
  }
  stop(): void {
    for (const { pid } of this.#children) if (pid !== undefined) process.kill(-pid, "SIGKILL");
  }
}

function put(changes: readonly Change[]): void {
  for (const target of ["networkd", "sysctl"] as const)
    for (const { path, text } of render(target, changes, false).files) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
}

const wishOf = (carrier: Wish["carrier"], forwarding: Wish["forwarding"]): Wish => ({
  vips: [VIP],
  forwarding,
  carrier,
  services: [{ protocol: "tcp", ports: [[80, 80]] }],
});
const stepsOf = (facts: HostFacts, wish: Wish) =>
  policyNamed("arp-sysctl")?.steps(situationOf({ facts, files: {} }, wish, kernelModel)) ?? [];

const part = ({ addresses, routes, links, sysctls }: HostFacts) => ({
  addresses: addresses.map((a) => `${a.link} ${a.ip}/${a.prefixLength} ${a.scope} ${a.label ?? ""}`).sort(),
  routes: routes.map((r) => `${r.type} ${r.dst} ${r.dev} ${r.table}`).sort(),
  links: links.map((l) => `${l.name} ${l.kind} ${[...l.flags].sort().join()}`).sort(),
  sysctls: Object.fromEntries(Object.entries(sysctls).filter(([n]) => /arp_|rp_filter|accept_local/.test(n))),
});

const longMs = 120_000;

testsInVm(import.meta.url, "systemd-networkd on dummy and tunl0; udev silences an interface that comes late", () => {
  loadModule("ipip");
  loadModule("dummy");
  for (const [carrier, forwarding] of [
    ["dummy", "dr"],
    ["tunl0", "tun"],
  ] as const)
    test(`${carrier}: systemd-networkd and sysctl make what apply makes`, async () => {
      const wire = new Wire(carrier);
      const stateDir = mkdtempSync(join(tmpdir(), "vipward-state-"));
      const managers = new Managers(wire.rs.name);
      try {
        const ports = machinePorts({ namespace: wire.rs, stateDir });
        const wish = wishOf(carrier, forwarding);
        const changes = inOrder(stepsOf(readFacts(wire.rs), wish));
        const outcome = await run(ports, {
          direction: "apply",
          paths: [],
          kernel: kernelModel,
          plan: (world, owned) =>
            (planNamed("arp-sysctl", { world, owned, wish, kernel: kernelModel }) as { readonly plan: Plan }).plan,
        });
        assert.equal(outcome.kind, "done");
        const wanted = part(readFacts(wire.rs));
        await run(ports, undoEverything(kernelModel));
        assert.notDeepEqual(part(readFacts(wire.rs)), wanted);
        put(changes);
        managers.start(true);
        await within(longMs, () => JSON.stringify(part(readFacts(wire.rs))) === JSON.stringify(wanted));
        assert.deepEqual(part(readFacts(wire.rs)), wanted);
        assert.deepEqual(wire.answered(VIP), []);
        assert.deepEqual(wire.shownFor(VIP), [RIP]);
      } finally {
        managers.stop();
        wire.close();
        rmSync(stateDir, { recursive: true });
        rmSync(NETWORK, { recursive: true, force: true });
      }
    });

  /** What of the VIP is heard of an eth0 that comes when the VIP is on lo already. */
  async function lateLink(udev: boolean): Promise<string[]> {
    const wire = new Wire("late");
    const managers = new Managers(wire.rs.name);
    const ip = (...args: string[]): void => void execFileSync("ip", args);
    try {
      put(inOrder(stepsOf(readFacts(wire.rs), wishOf("lo", "dr"))));
      writeFileSync(
        `${NETWORK}/20-lan.network`,
        `[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nAddress=${RIP}/24\n`,
      );
      // Away and back again: a new device to this namespace, with the kernel's defaults, and the wire still at its end.
      ip("-n", wire.rs.name, "link", "set", "eth0", "netns", wire.peer.name);
      managers.start(udev);
      const holds = (address: string): boolean => readFacts(wire.rs).addresses.some((a) => a.ip === address);
      assert.ok(await within(longMs, () => holds(VIP)), "networkd has put the VIP on lo");
      ip("-n", wire.peer.name, "link", "set", "eth0", "netns", wire.rs.name);
      const heard: string[] = [];
      const listen = (): void => void heard.push(...wire.overheard(VIP));
      assert.ok(
        await within(longMs, () => {
          listen();
          return holds(RIP);
        }),
        "networkd has taken eth0 up",
      );
      for (let i = 0; i < 50; i++, await sleep(10)) listen();
      return heard;
    } finally {
      managers.stop();
      wire.close();
      rmSync(NETWORK, { recursive: true, force: true });
    }
  }
  test("eth0 comes when the VIP is there already, with udev: silent from its first instant", async (t) => {
    let heard = await lateLink(true);
    // udev calls a link initialised before it runs the program of systemd's rule (udev-event.c): on a busy machine networkd
    // may be quicker (seen once in some thirty runs). Where the rule does not work, it leaks each time.
    for (let triesLeft = 2; heard.length > 0 && triesLeft > 0; triesLeft--) {
      t.diagnostic(`networkd was quicker than udev's rule: ${heard.slice(0, 4).join()}`);
      heard = await lateLink(true);
    }
    assert.deepEqual(heard, []);
  });
  test("eth0 comes when the VIP is there already, the twin without udev: leaks", async () => {
    assert.notDeepEqual(await lateLink(false), []);
  });
});
