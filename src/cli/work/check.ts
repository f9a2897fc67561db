import { readFileSync } from "node:fs";
import { parseIpv4 } from "../../base/ipv4.ts";
import { checkHost } from "../../doctor/check.ts";
import type { CheckInput } from "../../doctor/context.ts";
import { atLeast, type Severity } from "../../doctor/finding.ts";
import { wishFromCluster, wishFromVips } from "../../doctor/wish.ts";
import { HostError } from "../../host/errors.ts";
import type { HostFacts } from "../../model/facts.ts";
import { parseIpv6 } from "../../model/ipv6.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { reportText } from "./checkText.ts";

export interface CheckOptions {
  readonly facts?: string;
  readonly netns?: string;
  readonly cluster?: string;
  readonly as?: string;
  readonly vip?: readonly string[];
  readonly role: "real-server" | "director" | "both";
  readonly forwarding?: "dr" | "tun";
  readonly failOn: Severity;
  readonly json?: boolean;
}

/** `vipward check`. Exit status 0 clean, 1 findings at or above `--fail-on`, 65 a file has errors. */
export async function runCheck(options: CheckOptions, io: Io): Promise<number> {
  sayIfUnclear(options);
  const facts = options.facts === undefined ? await ownFacts(options.netns) : await factsFromFile(options.facts, io);
  if (facts === undefined) return exitCode("badData");
  const wish = await wishOf(facts, options, io);
  if (wish === undefined) return exitCode("badData");
  const report = checkHost(wish.input);
  if (options.json === true) io.out(`${JSON.stringify({ reason: wish.reason, ...report }, null, 2)}\n`);
  else io.out(reportText(report, wish.reason, io, options.netns));
  return exitCode(report.findings.some((f) => atLeast(f.severity, options.failOn)) ? "no" : "ok");
}

const usage = (message: string, remedy: string): HostError => new HostError("check/usage", message, { remedy });

function sayIfUnclear(options: CheckOptions): void {
  if (options.cluster === undefined && options.vip === undefined)
    throw usage(
      "which VIPs? neither --cluster nor --vip was given",
      "vipward check --vip 10.10.0.100, or --cluster FILE",
    );
  if (options.facts !== undefined && options.netns !== undefined)
    throw usage("--facts and --netns exclude each other", "a facts file says itself which host it is of");
  if (options.as !== undefined && options.cluster === undefined)
    throw usage("--as names a host of a cluster file, and none was given", "give --cluster FILE, or --role with --vip");
  if (options.cluster !== undefined && options.vip !== undefined)
    throw usage("--cluster and --vip exclude each other", "leave --vip out: the cluster file has the VIPs");
  for (const vip of options.vip ?? [])
    if (parseIpv4(vip) === undefined && parseIpv6(vip) === undefined)
      throw usage(`${JSON.stringify(vip)} is not an address`, "write it as 10.10.0.100 or 2001:db8::100");
}

/** The message of every problem with the path to it; undefined when there are any. */
async function factsFromFile(path: string, io: Io): Promise<HostFacts | undefined> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new HostError("facts/no-input", `cannot read ${path}: ${why}`, { remedy: "check the path", cause: error });
  }
  const { parseFacts } = await import("../../model/factsSchema.ts");
  const read = parseFacts(text);
  if (read.ok) return read.value;
  for (const problem of read.problems)
    io.err(`${path}: ${problem.path === "" ? "" : `${problem.path}: `}${problem.message}\n`);
  io.err("  remedy: read the facts again on that host: vipward facts > FILE\n");
  return undefined;
}

/** The reader binds the kernel's calls, which takes time that a check of a file need not spend. */
async function ownFacts(netns: string | undefined): Promise<HostFacts> {
  const { liveFacts } = await import("./liveFacts.ts");
  return liveFacts(netns);
}

async function wishOf(
  facts: HostFacts,
  options: CheckOptions,
  io: Io,
): Promise<{ readonly input: CheckInput; readonly reason: string } | undefined> {
  if (options.cluster === undefined) {
    const input = wishFromVips(facts, options.vip ?? [], options.role, options.forwarding);
    return { input, reason: "as the command line says" };
  }
  const { clusterFromFile } = await import("./clusterFile.ts");
  const cluster = clusterFromFile(options.cluster, io);
  if (cluster === undefined) return undefined;
  const wish = wishFromCluster(facts, cluster, options.as);
  if (!wish.ok) throw usage(wish.why, wish.remedy);
  return wish;
}
