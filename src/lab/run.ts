/** Runs a lab from cluster files to the report, on the backend that was asked for or that fits this machine. */
import { release } from "node:os";
import type { Cluster } from "../cluster/cluster.ts";
import { HostError } from "../host/errors.ts";
import { moduleState } from "../host/modules.ts";
import type { ForwardingMethod } from "../ports/engine.ts";
import { refuseOnlySimulated } from "./netns/build.ts";
import { ipvsEngineMaker, nftEngineMaker } from "./netns/engines.ts";
import { netnsStage } from "./netns/stage.ts";
import { plotOf } from "./plot.ts";
import { type ChapterReport, type Cure, LAB_REPORT_VERSION, type LabEvent, type LabReport } from "./report.ts";
import { specOf, untoldOf } from "./spec.ts";
import { tellChapter } from "./story.ts";

export interface Chapter {
  readonly cluster: Cluster;
  readonly forwarding: ForwardingMethod;
}

export interface NetnsLabOptions {
  readonly chapters: readonly Chapter[];
  readonly cure: Cure;
  /** Length of each stretch of traffic. */
  readonly trafficMs: number;
  readonly prefix: string;
  readonly keep: boolean;
  readonly tell: (event: LabEvent) => void;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
}

/** What this kernel can do of a lab; `missing` names modules that it neither has nor can load. */
export interface KernelAbilities {
  readonly ipvs: boolean;
  readonly ipip: boolean;
  readonly dummy: boolean;
}

const has = (module: string): boolean => moduleState(module) !== "missing";
export const kernelAbilities = (): KernelAbilities => ({ ipvs: has("ip_vs"), ipip: has("ipip"), dummy: has("dummy") });

/** As much as a VM without hardware support carries with ease: there a request costs a hundred times what it does here. */
const connections = { longLived: 20, shortLived: 40 };

function leftOutOf(chapter: Chapter, abilities: KernelAbilities): string | undefined {
  if (chapter.forwarding !== "tun") return undefined;
  const lacks = [abilities.ipvs ? "" : "ip_vs", abilities.ipip ? "" : "ipip"].filter((m) => m !== "");
  return lacks.length === 0
    ? undefined
    : `LVS/TUN: kernel ${release()} has no ${lacks.join(" and no ")}; \`--backend vm\` has both`;
}

/** Says what of a cluster file only the simulator can do, before a machine or a VM is made. Errors: lab/unavailable. */
export function refuseUnbuildable(chapters: readonly Chapter[]): void {
  for (const { cluster, forwarding } of chapters) {
    const spec = specOf(cluster, forwarding);
    if (typeof spec !== "string") refuseOnlySimulated(plotOf(spec, { ...connections, durationMs: 0 }).topology);
  }
}

/** The whole story on this machine's kernel, in namespaces. Rejects with HostError, or the signal's reason. */
export async function runNetnsLab(options: NetnsLabOptions): Promise<LabReport> {
  const startMs = options.nowMs();
  const abilities = kernelAbilities();
  const makeEngine = abilities.ipvs ? ipvsEngineMaker() : nftEngineMaker();
  const chapters: ChapterReport[] = [];
  const leftOut: string[] = [];
  if (!abilities.ipvs)
    leftOut.push(`IPVS: kernel ${release()} has no ip_vs, so the nft engine forwards; \`--backend vm\` has it`);
  for (const chapter of options.chapters) {
    const reason = leftOutOf(chapter, abilities);
    const spec = reason ?? specOf(chapter.cluster, chapter.forwarding);
    if (typeof spec === "string") {
      leftOut.push(spec);
      continue;
    }
    leftOut.push(...untoldOf(chapter.cluster, chapter.forwarding));
    chapters.push(await tellOne(plotOf(spec, { ...connections, durationMs: options.trafficMs }), makeEngine, options));
  }
  if (chapters.length === 0)
    throw new HostError("lab/unavailable", `nothing of this lab can run here: ${leftOut.join("; ")}`, {
      remedy:
        "choose --backend vm, or a cluster file with a tcp service that is forwarded by dr, with room for a client beside its VIP",
    });
  const report: LabReport = {
    reportVersion: LAB_REPORT_VERSION,
    cluster: [...new Set(options.chapters.map((c) => c.cluster.name))].join(", "),
    backend: "netns",
    kernel: release(),
    chapters,
    leftOut,
    held: chapters.every((c) => c.verdicts.every((v) => v.held)),
    tookMs: Math.round(options.nowMs() - startMs),
  };
  options.tell({ kind: "report", report });
  return report;
}

async function tellOne(
  plot: ReturnType<typeof plotOf>,
  makeEngine: ReturnType<typeof nftEngineMaker>,
  options: NetnsLabOptions,
): Promise<ChapterReport> {
  const { tell, signal, prefix, keep, cure, nowMs } = options;
  const stage = await netnsStage(plot, makeEngine, {
    // two chapters may have machines of the same name, and kept ones stand side by side
    prefix: `${prefix}${plot.forwarding}-`,
    signal,
    progress: (text) => tell({ kind: "progress", text }),
  });
  let told = false;
  try {
    const report = await tellChapter(plot, stage, { cure, nowMs, tell, signal });
    told = true;
    if (keep) tell({ kind: "kept", machines: stage.machines, prefix });
    return report;
  } finally {
    await stage.remove({ keep: keep && told });
  }
}
