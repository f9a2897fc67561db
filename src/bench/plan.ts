import { formatIpv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { prefix } from "../base/prefix.ts";
import { parseCluster } from "../cluster/index.ts";
import { readFacts } from "../host/facts.ts";
import { ask } from "../host/rtnetlink.ts";
import type { HostFacts } from "../model/facts.ts";
import { worldOf } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import { planAuto } from "../policy/auto.ts";
import { type Bench, median, nowMs } from "./measure.ts";
import { inPlace } from "./place.ts";

const vipCount = 4096;
const serverCount = 1000;
const rounds = 5;

function clusterText(): string {
  const vips = Array.from(
    { length: vipCount },
    (_, i) => `  v${i}: ${formatIpv4(ipv4FromNumber(ipv4("10.100.0.1") + i))}\n`,
  );
  const servers = Array.from(
    { length: serverCount },
    (_, i) => `  w${i}: ${formatIpv4(ipv4FromNumber(ipv4("10.1.0.1") + i))}\n`,
  );
  return `version: 1\nname: large\nnetworks: {lan: 10.0.0.0/8}\ndirectors: {lb1: 10.0.0.2}\nrealServers:\n${servers.join("")}vips:\n${vips.join("")}services:\n  - {port: 80}\n`;
}

function readFactsOf4096(): Promise<number[]> {
  return inPlace(prefix("10.76.0.1/24"), prefix("10.76.0.2/24"), async ({ here, rt }) => {
    const lo = rt.indexOf("lo");
    rt.batch(
      Array.from({ length: vipCount }, (_, i) =>
        ask.addAddress(lo, { prefix: { address: ipv4FromNumber(ipv4("10.100.0.1") + i), length: 32 } }),
      ),
    );
    return Array.from({ length: rounds }, () => {
      const startMs = nowMs();
      const { addresses } = readFacts({ namespace: here });
      if (addresses.length < vipCount) throw new Error(`only ${addresses.length} addresses were read`);
      return nowMs() - startMs;
    });
  });
}

/** Policies weighed, steps made, five laws proven, on a bare host. */
const plans = (): Promise<number[]> =>
  inPlace(prefix("10.76.0.1/24"), prefix("10.76.0.2/24"), async ({ here }) => plansOn(readFacts({ namespace: here })));

function plansOn(facts: HostFacts): number[] {
  const vips = Array.from({ length: vipCount }, (_, i) => formatIpv4(ipv4FromNumber(ipv4("10.100.0.1") + i)));
  const world = worldOf(facts);
  const wish = { vips, forwarding: "dr", carrier: "lo", services: [{ protocol: "tcp", ports: [[80, 80]] }] } as const;
  return Array.from({ length: rounds }, () => {
    const startMs = nowMs();
    const choice = planAuto({ world, owned: [], wish, kernel: kernelModel });
    if (!("plan" in choice) || !choice.plan.proof.holds) throw new Error("the plan does not hold");
    return nowMs() - startMs;
  });
}

/** What commands do before they touch a host. */
export const planBench: Bench = {
  name: "plan",
  title: "reading and planning, 4,096 VIPs",
  async run() {
    const text = clusterText();
    const times = Array.from({ length: rounds }, () => {
      const startMs = nowMs();
      const read = parseCluster(text);
      if (!read.ok) throw new Error(`the measurement's own cluster file has ${read.problems.length} problems`);
      return nowMs() - startMs;
    });
    return [
      {
        what: "plan, proof included",
        unit: "ms",
        ours: median(await plans()),
        note: `${vipCount} VIPs by auto, aim 300`,
      },
      {
        what: "facts of a host read",
        unit: "ms",
        ours: median(await readFactsOf4096()),
        note: `${vipCount} addresses on lo`,
      },
      {
        what: "cluster file read",
        unit: "ms",
        ours: median(times),
        note: `${vipCount} VIPs, ${serverCount} real servers, ${Math.round(text.length / 1024)} KiB`,
      },
    ];
  },
};
