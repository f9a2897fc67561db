/** The same lab inside a VM: its command runs there with the netns backend, and its events come back as lines. */
import { HostError } from "../host/errors.ts";
import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";
import type { LabEvent, LabReport } from "./report.ts";

export interface VmLabOptions {
  /** Arguments of `vipward lab` that the VM's own run needs: method, cure, size. */
  readonly args: readonly string[];
  /** A cluster file's text, when there is one. */
  readonly clusterText: string | undefined;
  /** Length of each stretch of traffic: two in each chapter. */
  readonly trafficMs: number;
  readonly tell: (event: LabEvent) => void;
  readonly signal: AbortSignal;
}

/** Beginning of a line that is an event; everything else the command prints is for people. */
export const EVENT_LINE = "vipward-event ";

const clusterInside = "/tmp/cluster.yaml";

/** During a stretch of traffic nothing is said, so patience begins where the stretch ends. Four stretches at most. */
export const vmPatience = (trafficMs: number): { readonly timeoutMs: number; readonly stallMs: number } => ({
  timeoutMs: 10 * 60_000 + 4 * trafficMs,
  stallMs: 180_000 + trafficMs,
});

/** The VM's report, its backend named "vm". Errors: VmError, or what the lab inside said. */
export async function runVmLab(options: VmLabOptions): Promise<LabReport> {
  let report: LabReport | undefined;
  const said: string[] = [];
  const relay = (event: LabEvent): void => {
    if (event.kind === "report") {
      report = { ...event.report, backend: "vm" };
      options.tell({ kind: "report", report });
    } else options.tell(event);
  };
  const withFile = options.clusterText !== undefined;
  const result = await runInVm({
    command: [
      "node",
      `${projectInside}/dist/bin/vipward.js`,
      "lab",
      ...(withFile ? [clusterInside] : []),
      "--backend",
      "netns",
      "--events",
      ...options.args,
    ],
    ...(withFile ? { files: [{ path: clusterInside, content: options.clusterText ?? "" }] } : {}),
    ...vmPatience(options.trafficMs),
    signal: options.signal,
    onProgress: (text) => options.tell({ kind: "progress", text }),
    onLine: (stream, line) => {
      if (stream === "stdout" && line.startsWith(EVENT_LINE))
        relay(JSON.parse(line.slice(EVENT_LINE.length)) as LabEvent);
      else said.push(line);
    },
  });
  if (report !== undefined) return report;
  throw new HostError(
    "lab/failed-in-vm",
    `the lab inside the VM ended with status ${result.exitCode}: ${said.slice(-20).join("\n")}`,
    {
      remedy: "what it said is above; `vipward lab --backend netns` shows whether it is the VM or the lab",
    },
  );
}
