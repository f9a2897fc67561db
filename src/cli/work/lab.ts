import { readFileSync } from "node:fs";
import type { Cluster } from "../../cluster/cluster.ts";
import { HostError } from "../../host/errors.ts";
import { leftoverNamespaces, removeNamespace } from "../../host/namespace.ts";
import { builtinCluster } from "../../lab/builtin.ts";
import type { Cure, LabEvent } from "../../lab/report.ts";
import { type Chapter, kernelAbilities, refuseUnbuildable, runNetnsLab } from "../../lab/run.ts";
import { methodsOf } from "../../lab/spec.ts";
import { EVENT_LINE, runVmLab } from "../../lab/vm.ts";
import type { ForwardingMethod } from "../../ports/engine.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { eventText } from "../labText.ts";
import { progress } from "../progress.ts";
import { clusterFromFile, clusterFromText } from "./clusterFile.ts";
import { forReader } from "./wrap.ts";

export interface LabFlags {
  readonly backend: "auto" | "netns" | "vm" | "sim";
  readonly forwarding: "dr" | "tun" | "both";
  readonly realServers?: string;
  readonly cure: Cure;
  readonly seconds: string;
  readonly keep?: boolean;
  readonly clean?: boolean;
  readonly prefix: string;
  readonly json?: boolean;
  readonly events?: boolean;
}

export const usage = (message: string, remedy: string): HostError => new HostError("lab/usage", message, { remedy });

export function wholeNumber(flag: string, text: string, from: number, to: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < from || value > to)
    throw usage(`${flag} ${text}: not a number from ${from} to ${to}`, `give a whole number from ${from} to ${to}`);
  return value;
}

const wanted = (flags: Pick<LabFlags, "forwarding">): ForwardingMethod[] =>
  flags.forwarding === "both" ? ["dr", "tun"] : [flags.forwarding];

/** The methods of which labs can tell something: at least one. */
export function methodsIn(cluster: Cluster): ForwardingMethod[] {
  const methods = methodsOf(cluster);
  if (methods.length > 0) return methods;
  throw new HostError("lab/unavailable", "no service of this cluster is forwarded by dr or tun", {
    remedy: "choose a cluster file with a tcp service that is forwarded by dr or tun",
  });
}

export function chaptersOf(
  file: string | undefined,
  flags: Pick<LabFlags, "forwarding" | "realServers">,
  io: Io,
): Chapter[] | undefined {
  if (file === undefined) {
    const count = wholeNumber("--real-servers", flags.realServers ?? "3", 2, 50);
    return wanted(flags).map((forwarding) => {
      const cluster = clusterFromText(builtinCluster(forwarding, count), `built-in ${forwarding}`, io);
      if (cluster === undefined) throw new Error("the built-in cluster file has errors");
      return { cluster, forwarding };
    });
  }
  if (flags.realServers !== undefined)
    throw usage("--real-servers is for the built-in cluster", `change the real servers in ${file} instead`);
  const cluster: Cluster | undefined = clusterFromFile(file, io, { forLab: true });
  if (cluster === undefined) return undefined;
  const methods = methodsIn(cluster);
  const chapters = wanted(flags)
    .filter((method) => methods.includes(method))
    .map((forwarding) => ({ cluster, forwarding }));
  if (chapters.length === 0)
    throw usage(
      `${file} forwards by ${methods.join(", ")}, and --forwarding asks for ${flags.forwarding}`,
      "leave --forwarding out, or change the file",
    );
  return chapters;
}

function clean(prefix: string, io: Io): number {
  const names = leftoverNamespaces({ kept: true, prefix });
  for (const name of names) removeNamespace(name);
  io.out(names.length === 0 ? "nothing was left standing\n" : `removed ${names.join(", ")}\n`);
  return exitCode("ok");
}

export function teller(
  flags: Pick<LabFlags, "events" | "json">,
  io: Io,
): { tell: (event: LabEvent) => void; end: () => void } {
  if (flags.events === true)
    return { tell: (event) => io.out(`${EVENT_LINE}${JSON.stringify(event)}\n`), end: () => {} };
  const p = paint(io.colour);
  const line = progress(io, process.stderr.isTTY === true);
  const tell = (event: LabEvent): void => {
    if (event.kind === "progress") {
      line.say(event.text);
      return;
    }
    line.clear();
    if (flags.json !== true) io.out(forReader(io, eventText(event, p, io.isTerminal ? io.columns : undefined)));
    else if (event.kind === "report") io.out(`${JSON.stringify(event.report, null, 2)}\n`);
    else if (event.kind === "kept") io.err(eventText(event, paint(false)));
  };
  return { tell, end: () => line.end() };
}

function inVm(flags: LabFlags): boolean {
  if (flags.backend !== "auto") return flags.backend === "vm";
  const { ipvs, ipip, dummy } = kernelAbilities();
  return !(ipvs && ipip && dummy && process.getuid?.() === 0);
}

/** Sweeps what a killed run left, so that no two runs of a lab stand in each other's way. */
const sweep = (prefix: string): void => leftoverNamespaces({ kept: false, prefix }).forEach(removeNamespace);

export async function runLab(file: string | undefined, flags: LabFlags, io: Io): Promise<number> {
  if (flags.clean === true) return clean(flags.prefix, io);
  const chapters = chaptersOf(file, flags, io);
  if (chapters === undefined) return exitCode("badData");
  const seconds = wholeNumber("--seconds", flags.seconds, 1, 600);
  const { tell, end } = teller(flags, io);
  try {
    if (flags.backend === "sim") {
      if (flags.keep === true) throw usage("--keep leaves nothing of a simulation", "use --pcap FILE of vipward sim");
      const { runSimLab } = await import("../../lab/sim/run.ts");
      const simulated = { chapters, cure: flags.cure, trafficMs: seconds * 1000, seed: 1, capture: false };
      const { report } = await runSimLab({ ...simulated, tell, signal: io.signal });
      return exitCode(report.held ? "ok" : "no");
    }
    refuseUnbuildable(chapters);
    if (inVm(flags)) {
      if (flags.keep === true) throw usage("--keep leaves nothing of a VM", "use --backend netns with --keep");
      const args = ["--forwarding", flags.forwarding, "--cure", flags.cure, "--seconds", String(seconds)];
      if (flags.realServers !== undefined) args.push("--real-servers", flags.realServers);
      const clusterText = file === undefined ? undefined : readFileSync(file, "utf8");
      const report = await runVmLab({ args, clusterText, trafficMs: seconds * 1000, tell, signal: io.signal });
      return exitCode(report.held ? "ok" : "no");
    }
    if (process.getuid?.() !== 0)
      throw new HostError("lab/EPERM", "making network namespaces needs root", { remedy: "use sudo, or --backend vm" });
    io.endsInOrder("what was made is being removed\n");
    sweep(flags.prefix);
    const report = await runNetnsLab({
      chapters,
      cure: flags.cure,
      trafficMs: seconds * 1000,
      prefix: flags.prefix,
      keep: flags.keep === true,
      tell,
      signal: io.signal,
      nowMs: () => performance.now(),
    });
    return exitCode(report.held ? "ok" : "no");
  } finally {
    end();
  }
}
