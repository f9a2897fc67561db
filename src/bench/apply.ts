import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../apply/run.ts";
import { formatIpv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { prefix } from "../base/prefix.ts";
import { machinePorts } from "../host/perform/machine.ts";
import { ask } from "../host/rtnetlink.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import type { Plan } from "../plan/plan.ts";
import { planNamed } from "../policy/auto.ts";
import type { Wish } from "../policy/wish.ts";
import { type Bench, byTurns, median, nowMs, timeRow } from "./measure.ts";
import { inPlace, type Place } from "./place.ts";

const cli = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));
const count = 1000;
const rounds = 5;
const vips = Array.from({ length: count }, (_, i) => formatIpv4(ipv4FromNumber(ipv4("10.77.0.0") + i)));
const settings = { arp_ignore: 1, arp_announce: 2 };

function bare(place: Place): void {
  const lo = place.rt.indexOf("lo");
  place.rt.batch(vips.map((vip) => ask.removeAddress(lo, { address: ipv4(vip), length: 32 })));
  place.run("sysctl", ["-q", "-w", ...Object.keys(settings).map((name) => `net.ipv4.conf.eth0.${name}=0`)]);
}

/** From bare to verified: lock, facts, plan, proof, journal on the disk, changes, facts again, laws again. */
async function applied(place: Place, folder: string): Promise<number> {
  bare(place);
  const stateDir = mkdtempSync(join(folder, "state-"));
  const wish: Wish = { vips, forwarding: "dr", carrier: "lo", services: [{ protocol: "tcp", ports: [[80, 80]] }] };
  const startMs = nowMs();
  const outcome = await run(machinePorts({ namespace: place.here, stateDir }), {
    direction: "apply",
    paths: [],
    kernel: kernelModel,
    plan: (world, owned) =>
      (planNamed("arp-sysctl", { world, owned, wish, kernel: kernelModel }) as { readonly plan: Plan }).plan,
  });
  const tookMs = nowMs() - startMs;
  if (outcome.kind !== "done") throw new Error(`apply went ${outcome.kind}`);
  return tookMs;
}

/** What a script does, silence first; it proves nothing and keeps no journal. */
function scripted(place: Place, folder: string): number {
  bare(place);
  const file = join(folder, "batch");
  writeFileSync(file, vips.map((vip) => `address add ${vip}/32 dev lo label lo:vipward\n`).join(""));
  const startMs = nowMs();
  for (const [name, value] of Object.entries(settings))
    place.run("sysctl", ["-q", "-w", `net.ipv4.conf.eth0.${name}=${value}`]);
  place.run("ip", ["-batch", file]);
  return nowMs() - startMs;
}

/** What no way of doing it can go below: the same addresses in one batch, straight to the kernel. */
function limitMs(place: Place): number {
  bare(place);
  const lo = place.rt.indexOf("lo");
  const requests = vips.map((vip) =>
    ask.addAddress(lo, { prefix: { address: ipv4(vip), length: 32 }, label: "lo:vipward" }, "lo"),
  );
  const startMs = nowMs();
  place.rt.batch(requests);
  return nowMs() - startMs;
}

/** The whole command, the start of its process included. */
function commanded(place: Place, folder: string): number {
  bare(place);
  const stateDir = mkdtempSync(join(folder, "state-"));
  const startMs = nowMs();
  place.run(process.execPath, [
    cli,
    "apply",
    "--vip",
    vips.join(),
    "--keep",
    "none",
    "--no-ask",
    "--state-dir",
    stateDir,
  ]);
  return nowMs() - startMs;
}

export const applyBench: Bench = {
  name: "apply",
  title: `${count} VIPs from bare to verified, proof and journal included, against sysctl and \`ip -batch\``,
  run: (say) =>
    inPlace(prefix("10.76.0.1/24"), prefix("10.76.0.2/24"), async (place) => {
      const folder = mkdtempSync(join(tmpdir(), "vipward-bench-"));
      try {
        say(`${count} VIPs, ${rounds} rounds`);
        const times = await byTurns(
          rounds,
          () => applied(place, folder),
          () => scripted(place, folder),
        );
        const commands = await byTurns(
          rounds,
          () => commanded(place, folder),
          () => scripted(place, folder),
        );
        const least = median(Array.from({ length: rounds }, () => limitMs(place)));
        bare(place);
        const limit = { name: "the addresses alone, one netlink batch", value: least };
        return [
          timeRow("apply", "ms", times, "sysctl and ip -batch", {
            limit,
            note: "ours without the start of its process, the peer's with it; the peer proves, verifies and can undo nothing",
          }),
          timeRow("vipward apply", "ms", commands, "sysctl and ip -batch", {
            limit,
            note: "the whole command, from nothing to its exit status",
          }),
        ];
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }),
};
