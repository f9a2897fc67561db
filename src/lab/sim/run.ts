/** Runs a lab on the simulator from cluster files to the report. */
import type { Cluster } from "../../cluster/cluster.ts";
import { HostError } from "../../host/errors.ts";
import type { ForwardingMethod } from "../../ports/engine.ts";
import { Pcap } from "../../sim/pcap.ts";
import { plotOf } from "../plot.ts";
import { type ChapterReport, type Cure, LAB_REPORT_VERSION, type LabEvent, type LabReport } from "../report.ts";
import { specOf, untoldOf } from "../spec.ts";
import { tellChapter } from "../story.ts";
import { breather } from "./breath.ts";
import { simStage } from "./stage.ts";

export interface SimLabOptions {
  readonly chapters: readonly { readonly cluster: Cluster; readonly forwarding: ForwardingMethod }[];
  readonly cure: Cure;
  /** Length of each stretch of traffic, in virtual time. */
  readonly trafficMs: number;
  readonly seed: number;
  readonly exhaustive?: boolean;
  /** Keep every frame; `pcap` of the outcome holds them. */
  readonly capture: boolean;
  readonly tell: (event: LabEvent) => void;
  readonly signal: AbortSignal;
}

export interface SimLabOutcome {
  readonly report: LabReport;
  /** One capture file for each chapter. */
  readonly captures: readonly {
    readonly forwarding: ForwardingMethod;
    readonly octets: Uint8Array;
    readonly frames: number;
  }[];
  readonly events: number;
}

const connections = { longLived: 20, shortLived: 40 };

export const nothingToSimulate = (leftOut: readonly string[], spoken: string): HostError =>
  new HostError("lab/unavailable", `nothing of this cluster can be simulated: ${leftOut.join("; ")}`, {
    remedy: `name a ${spoken} service that is forwarded by dr or tun, with room for a client beside its VIP`,
  });

/** The whole story on the model. All times in the report are virtual. Rejects with HostError when no chapter can be told. */
export async function runSimLab(options: SimLabOptions): Promise<SimLabOutcome> {
  const chapters: ChapterReport[] = [];
  const leftOut: string[] = [];
  const captures: { forwarding: ForwardingMethod; octets: Uint8Array; frames: number }[] = [];
  const kernels = new Set<string>();
  let tookMs = 0;
  let events = 0;
  for (const { cluster, forwarding } of options.chapters) {
    const spec = specOf(cluster, forwarding);
    if (typeof spec === "string") {
      leftOut.push(spec);
      continue;
    }
    leftOut.push(...untoldOf(cluster, forwarding));
    let pcap: Pcap | undefined;
    const stage = simStage(cluster, plotOf(spec, { ...connections, durationMs: options.trafficMs }), {
      seed: options.seed,
      exhaustive: options.exhaustive === true,
      dropsGratuitous: spec.dropsGratuitous === true,
      breathe: breather(options.signal),
      ...(options.capture
        ? {
            pcap: (world) => {
              pcap = new Pcap(world.lan.macs);
              return pcap;
            },
          }
        : {}),
    });
    kernels.add(stage.kernel);
    const { cure, tell, signal } = options;
    chapters.push(await tellChapter(stage.world.plot, stage, { cure, nowMs: stage.nowMs, tell, signal }));
    tookMs += stage.nowMs();
    events += stage.world.lan.events;
    if (pcap !== undefined) captures.push({ forwarding, octets: pcap.octets(), frames: pcap.frames });
  }
  if (chapters.length === 0) throw nothingToSimulate(leftOut, "tcp");
  const report: LabReport = {
    reportVersion: LAB_REPORT_VERSION,
    cluster: [...new Set(options.chapters.map((c) => c.cluster.name))].join(", "),
    backend: "sim",
    kernel: [...new Set([...kernels].flatMap((k) => k.split(", ")))].join(", "),
    chapters,
    leftOut,
    held: chapters.every((c) => c.verdicts.every((v) => v.held)),
    tookMs: Math.round(tookMs),
  };
  options.tell({ kind: "report", report });
  return { report, captures, events };
}
