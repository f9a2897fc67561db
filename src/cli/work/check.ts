import { parseIpv4 } from "../../base/ipv4.ts";
import { checkHost } from "../../doctor/check.ts";
import type { CheckInput } from "../../doctor/context.ts";
import { atLeast, type Severity } from "../../doctor/finding.ts";
import { wishFromCluster, wishFromVips } from "../../doctor/wish.ts";
import { HostError } from "../../host/errors.ts";
import type { HostFacts } from "../../model/facts.ts";
import { parseIpv6 } from "../../model/ipv6.ts";
import { switchProblems } from "../../model/switches.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { reportText } from "./checkText.ts";
import { factsFromFile } from "./factsFile.ts";

export interface CheckOptions {
  readonly facts?: string;
  readonly netns?: string;
  readonly cluster?: string;
  readonly as?: string;
  readonly vip?: readonly string[];
  readonly role: "real-server" | "director" | "both";
  readonly forwarding?: "dr" | "tun";
  readonly switch?: readonly string[];
  readonly failOn: Severity;
  readonly json?: boolean;
}

/** `vipward check`. Exit status 0 clean, 1 findings at or above `--fail-on`, 65 a file has errors. */
export async function runCheck(options: CheckOptions, io: Io): Promise<number> {
  sayIfUnclear(options);
  const read = options.facts === undefined ? await ownFacts(options.netns) : await factsFromFile(options.facts);
  const facts = withSwitches(read, options.switch ?? []);
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

/** Facts of a kernel with other habits than its version tells; added to those that a facts file has. */
function withSwitches(facts: HostFacts, given: readonly string[]): HostFacts {
  if (given.length === 0) return facts;
  const said = given.map((item): [string, string | boolean] => {
    const [name = "", value] = item.split(/=(.*)/s);
    if (value === undefined) throw usage(`--switch ${item} has no value`, "write it as arpFilter=true");
    return [name, value === "true" || value === "false" ? value === "true" : value];
  });
  const kernel = { ...facts.kernel, switches: { ...facts.kernel.switches, ...Object.fromEntries(said) } };
  const [problem] = switchProblems(kernel);
  if (problem) throw usage(`--switch ${problem[0]}: ${problem[1]}`, "docs/kernel-rules.md lists the switches");
  return { ...facts, kernel };
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
