/** What `vipward render` prints, run by the tools it is for, against what `vipward apply` does on the same host. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { run, undoEverything } from "../../apply/run.ts";
import type { HostFacts } from "../../model/facts.ts";
import { type Change, undoAll } from "../../plan/change.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import type { Plan } from "../../plan/plan.ts";
import { UNIT, WANTED } from "../../plan/render/systemd.ts";
import { render, type Target } from "../../plan/render/targets.ts";
import { planNamed } from "../../policy/auto.ts";
import { inOrder } from "../../policy/keep.ts";
import { policyNamed } from "../../policy/policies.ts";
import { situationOf } from "../../policy/policy.ts";
import type { Programs, Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";
import { clear, furnish, noRoomWhy, SystemdRoom } from "../../testing/systemdRoom.ts";
import { machinePorts } from "./machine.ts";
import { readFacts } from "./readFacts.ts";

const VIPS = ["10.0.0.100", "10.0.0.101"];
const missing = (program: string): boolean =>
  spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined;
const wishWith = (programs: Programs, carrier: Wish["carrier"] = "lo"): Wish => ({
  vips: VIPS,
  forwarding: "dr",
  carrier,
  services: [{ protocol: "tcp", ports: [[80, 80]] }],
  programs,
});

/** A host, what apply makes of it, and a folder; the host is bare again when `body` gets it. */
async function compare(
  policy: string,
  wish: Wish,
  target: Target,
  body: (wire: Wire, files: readonly { path: string; text: string }[], folder: string) => void,
  part: (facts: HostFacts) => unknown,
): Promise<void> {
  const wire = new Wire("render");
  const folder = mkdtempSync(join(tmpdir(), "vipward-render-"));
  try {
    const ports = machinePorts({ namespace: wire.rs, stateDir: join(folder, "state") });
    const world = { facts: readFacts(wire.rs), files: {} };
    const steps = policyNamed(policy)?.steps(situationOf(world, wish, kernelModel)) ?? [];
    const outcome = await run(ports, {
      direction: "apply",
      paths: [],
      kernel: kernelModel,
      plan: (now, owned) =>
        (planNamed(policy, { world: now, owned, wish, kernel: kernelModel }) as { readonly plan: Plan }).plan,
    });
    assert.equal(outcome.kind, "done");
    const wanted = part(readFacts(wire.rs));
    await run(ports, undoEverything(kernelModel));
    assert.notDeepEqual(part(readFacts(wire.rs)), wanted, "the bare host differs, or this shows nothing");
    body(wire, render(target, inOrder(steps), false).files, folder);
    assert.deepEqual(part(readFacts(wire.rs)), wanted);
  } finally {
    wire.close();
    rmSync(folder, { recursive: true });
  }
}

function there(wire: Wire, program: string, args: readonly string[]): void {
  const { status, stderr, stdout } = spawnSync("ip", ["netns", "exec", wire.rs.name, program, ...args], {
    encoding: "utf8",
  });
  assert.equal(status, 0, `${program}: ${stderr}${stdout}`);
}

for (const [target, policy, programs] of [
  ["iptables", "redirect", { nft: false, iptables: true, arptables: false }],
  ["arptables", "arptables", { nft: false, iptables: false, arptables: true }],
] as const)
  test(`render --to ${target}: ${target} makes the rules that apply makes`, async (t) => {
    if (!needsRoot(t)) return;
    if (missing(target)) return t.skip(`no ${target} here`);
    await compare(
      policy,
      wishWith(programs),
      target,
      (wire, files, folder) => {
        const script = join(folder, "script");
        writeFileSync(script, files[0]?.text ?? "");
        there(wire, "sh", ["-e", script]);
      },
      (facts) => facts.filters,
    );
  });

test("render --to ifupdown: ifup makes addresses and sysctls as apply does, and ifdown takes the VIPs away", async (t) => {
  if (!needsRoot(t)) return;
  if (missing("ifup")) return t.skip("no ifup here: the package ifupdown is not installed");
  await compare(
    "arp-sysctl",
    wishWith({ nft: false, iptables: false, arptables: false }),
    "ifupdown",
    (wire, files, folder) => {
      const file = join(folder, "interfaces");
      const state = join(folder, "ifstate");
      mkdirSync(state);
      writeFileSync(file, files[0]?.text ?? "");
      const options = ["--no-scripts", "-i", file, "--state-dir", state];
      there(wire, "ifup", [...options, "lo"]);
      there(wire, "ifdown", [...options, "--force", "lo"]);
      assert.ok(!readFacts(wire.rs).addresses.some((a) => VIPS.includes(a.ip)));
      there(wire, "ip", ["link", "set", "lo", "up"]);
      there(wire, "ifup", [...options, "lo"]);
    },
    ({ addresses, sysctls, routes }) => ({ addresses, sysctls, routes: routes.map((r) => `${r.dst} ${r.dev}`).sort() }),
  );
});

test("render --to ifupdown: where silence fails, ifup brings no VIP", (t) => {
  if (!needsRoot(t)) return;
  if (missing("ifup")) return t.skip("no ifup here: the package ifupdown is not installed");
  const wire = new Wire("ifupfail");
  const folder = mkdtempSync(join(tmpdir(), "vipward-render-"));
  try {
    const text = renderedBare("ifupdown").files[0]?.text ?? "";
    writeFileSync(join(folder, "interfaces"), text.replaceAll("conf/eth0/", "conf/eth7/"));
    const options = ["--no-scripts", "-i", join(folder, "interfaces"), "--state-dir", folder];
    const { status } = spawnSync("ip", ["netns", "exec", wire.rs.name, "ifup", ...options, "lo"]);
    assert.notEqual(status, 0);
    assert.ok(!readFacts(wire.rs).addresses.some((a) => VIPS.includes(a.ip)));
  } finally {
    wire.close();
    rmSync(folder, { recursive: true });
  }
});

test("render --to shell for 2.2: ifconfig makes the addresses that apply makes, and takes them away", async (t) => {
  if (!needsRoot(t)) return;
  if (missing("ifconfig")) return t.skip("no ifconfig here: the package net-tools is not installed");
  const vips = (changes: readonly Change[]): Change[] => changes.filter((c) => c.kind === "address");
  await compare(
    "arp-sysctl",
    wishWith({ nft: false, iptables: false, arptables: false }),
    "sysctl",
    (wire, _, folder) => {
      const bare = readFacts(wire.rs).addresses;
      const changes = vips(renderedChanges);
      const script = (name: string, list: readonly Change[]): string => {
        writeFileSync(join(folder, name), render("shell", list, true).files[0]?.text ?? "");
        return join(folder, name);
      };
      there(wire, "sh", [script("up", changes)]);
      there(wire, "sh", [script("down", undoAll(changes))]);
      assert.deepEqual(readFacts(wire.rs).addresses, bare);
      there(wire, "sh", [script("again", changes)]);
    },
    ({ addresses, routes }) => ({
      addresses: addresses.map((a) => `${a.link} ${a.ip}/${a.prefixLength} ${a.scope}`).sort(),
      local: routes
        .filter((r) => r.type === "local")
        .map((r) => `${r.dst} ${r.dev}`)
        .sort(),
    }),
  );
});

interface RoomCase {
  readonly title: string;
  readonly target: Target;
  readonly policy: string;
  readonly room: Readonly<Record<string, string>>;
  readonly enabled: readonly string[];
  /** What makes the system read the rendered files. */
  readonly read: readonly (readonly string[])[];
}

const tasks = "/etc/vipward-tasks.yml";
const playbook = JSON.stringify([
  { hosts: "localhost", connection: "local", gather_facts: false, tasks: [{ "ansible.builtin.include_tasks": tasks }] },
]);
const ansiblePlay = ["env", "ANSIBLE_PIPELINING=1", "ansible-playbook", "-i", "localhost,", "/etc/play.yml"];
const roomCases: readonly RoomCase[] = [
  ...["arp-sysctl", "local-route"].map((policy) => ({
    title: `render --to networkd: systemd-networkd makes what apply makes: ${policy}`,
    target: "networkd" as const,
    policy,
    room: {},
    enabled: ["systemd-networkd.service"],
    read: [["networkctl", "reload"]],
  })),
  {
    title: "render --to netplan: netplan and systemd-networkd make what apply makes",
    target: "netplan",
    policy: "arp-sysctl",
    room: {},
    enabled: ["systemd-networkd.service"],
    read: [
      ["netplan", "generate"],
      ["networkctl", "reload"],
    ],
  },
  {
    title: "render --to networkmanager: NetworkManager makes what apply makes",
    target: "networkmanager",
    policy: "arp-sysctl",
    // It watches, and leaves alone, what the test made.
    room: { "etc/NetworkManager/NetworkManager.conf": "[main]\nplugins=keyfile\nno-auto-default=*\n" },
    enabled: ["NetworkManager.service"],
    read: [["nmcli", "connection", "reload"]],
  },
  {
    title: "render --to ansible: ansible-playbook makes what apply makes, the second time without a change",
    target: "ansible",
    policy: "nft-arp",
    room: { "etc/play.yml": playbook },
    enabled: [],
    read: [ansiblePlay],
  },
];

/** What the target's own words cover; labels are vipward's, and the flag of NetworkManager's prefix routes is no fact of ours. */
const coveredBy = (target: Target, { addresses, routes, sysctls, filters }: HostFacts): unknown => ({
  addresses: addresses.map(
    (a) => `${a.ip}/${a.prefixLength} ${a.link} ${a.scope} ${target === "networkmanager" ? "" : a.label}`,
  ),
  routes: routes
    .filter((r) => r.dev === "lo")
    .map((r) => `${r.type} ${r.dst} ${r.table} ${r.scope}`)
    .sort(),
  ...(target === "ansible" ? { sysctls, filters } : {}),
});

for (const { title, target, policy, room: files, enabled, read } of roomCases)
  test(title, async (t) => {
    if (!needsRoot(t)) return;
    const program = read[0]?.find((word) => !/^env$|=/.test(word)) ?? "";
    const none = noRoomWhy() ?? (missing(program) ? `no ${program} here` : undefined);
    if (none !== undefined) return t.skip(none);
    const folder = mkdtempSync(join(tmpdir(), "vipward-room-"));
    furnish(folder, files, enabled);
    const wire = new Wire("inroom");
    const room = new SystemdRoom(wire.rs, folder);
    try {
      await room.booted();
      const wish = ["--policy", policy, ...VIPS.flatMap((v) => ["--vip", v])];
      const facts = (): unknown => coveredBy(target, readFacts(wire.rs));
      assert.equal(room.vipward("apply", "--keep", "none", ...wish).status, 0);
      const wanted = facts();
      assert.equal(room.vipward("undo").status, 0);
      assert.notDeepEqual(facts(), wanted, "the bare host differs, or this shows nothing");
      const rendered = JSON.parse(room.vipward("render", "--json", "--to", target, ...wish).stdout) as {
        files: { path: string; text: string; mode: number }[];
      };
      for (const { path, text, mode } of rendered.files) {
        const at = join(folder, path === "" ? tasks : path);
        mkdirSync(dirname(at), { recursive: true });
        writeFileSync(at, text, { mode });
      }
      for (const command of read) {
        const { status, text } = room.run(...command);
        assert.equal(status, 0, `${command.join(" ")}: ${text}`);
      }
      for (const untilMs = Date.now() + 20_000; Date.now() < untilMs; await sleep(50))
        if (JSON.stringify(facts()) === JSON.stringify(wanted)) break;
      assert.deepEqual(facts(), wanted, room.run("journalctl", "--no-pager", "-n", "30").text);
      if (target !== "ansible") return;
      assert.match(room.run(...ansiblePlay).text, /changed=0 .*failed=0/);
      assert.equal(readlinkSync(join(folder, WANTED)), UNIT);
    } finally {
      await room.stop();
      wire.close();
      clear(folder);
    }
  });

/** Without a host: what a bare one needs for the VIPs on lo. */
const renderedChanges: readonly Change[] = [
  { kind: "sysctl", name: "eth0.arp_ignore", before: 0, after: 1 },
  ...VIPS.map(
    (ip) => ({ kind: "address", link: "lo", ip, before: null, after: { prefixLength: 32, scope: 0 } }) as const,
  ),
];
const renderedBare = (target: Target) => render(target, renderedChanges, false);
