/** What `vipward render` prints, run by the tools it is for, against what `vipward apply` does on the same host. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { run } from "../../apply/run.ts";
import type { HostFacts } from "../../model/facts.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { makePlan, type Plan } from "../../plan/plan.ts";
import { render, type Target } from "../../plan/render/targets.ts";
import { planNamed } from "../../policy/auto.ts";
import { nothingWanted } from "../../policy/hide.ts";
import { inOrder } from "../../policy/keep.ts";
import { policyNamed } from "../../policy/policies.ts";
import { situationOf } from "../../policy/policy.ts";
import type { Programs, Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";
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
    await run(ports, {
      direction: "undo",
      paths: [],
      kernel: kernelModel,
      plan: (now, owned) => makePlan({ world: now, owned, wanted: [], goal: nothingWanted, kernel: kernelModel }),
    });
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

test("render --to netplan: netplan's generator reads it", async (t) => {
  const generators = ["/usr/libexec/netplan/generate", "/lib/netplan/generate", process.env.VIPWARD_NETPLAN ?? ""];
  const generator = generators.find((g) => g !== "" && !missing(g));
  const { files } = renderedBare("netplan");
  const parsed = parse(files[0]?.text ?? "") as { network: { ethernets: { lo: { addresses: string[] } } } };
  assert.deepEqual(parsed.network.ethernets.lo.addresses, ["10.0.0.100/32", "10.0.0.101/32"]);
  if (generator === undefined) return t.skip("no netplan here: the package netplan.io is not installed");
  const root = mkdtempSync(join(tmpdir(), "vipward-netplan-"));
  try {
    for (const { path, text } of files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode: 0o600 });
    }
    const { status, stderr } = spawnSync(generator, ["--root-dir", root], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("render --to ansible: a list of tasks, each with a name and one module", () => {
  const { files } = renderedBare("ansible");
  const tasks = parse(files[0]?.text ?? "") as Record<string, unknown>[];
  assert.ok(tasks.length > 1);
  for (const task of tasks) assert.equal(Object.keys(task).filter((k) => k !== "name" && k.includes(".")).length, 1);
});

test("render --to networkd and networkmanager: sections, keys and values, each section known", () => {
  const known = /^\[(Match|Network|Address|Route|NetDev|connection|ipv4|ipv6)\]$/;
  for (const target of ["networkd", "networkmanager"] as const) {
    const { files } = renderedBare(target);
    assert.ok(files.length > 0, target);
    for (const { path, text } of files) {
      const lines = text.split("\n").filter((l) => l !== "" && !l.startsWith("#"));
      assert.match(lines[0] ?? "", known, path);
      for (const line of lines) assert.match(line, line.startsWith("[") ? known : /^[A-Za-z0-9-]+=\S.*$/, path);
      for (const vip of VIPS) assert.match(text, new RegExp(`=${vip.replaceAll(".", "\\.")}/32\n`), path);
    }
  }
});

/** Without a host: what is rendered for a bare one with the VIPs on lo. */
function renderedBare(target: Target) {
  return render(
    target,
    [
      { kind: "sysctl", name: "eth0.arp_ignore", before: 0, after: 1 },
      ...VIPS.map(
        (ip) => ({ kind: "address", link: "lo", ip, before: null, after: { prefixLength: 32, scope: 0 } }) as const,
      ),
    ],
    false,
  );
}
