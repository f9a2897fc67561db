import type { FilterRuleFacts, NumberMatchFacts } from "../model/facts.ts";

export type RuleTool = "iptables" | "arptables" | "ipchains";

/** A rule as arguments of its tool: one word an element, never a joined line. */
export function ruleArguments(tool: RuleTool, rule: FilterRuleFacts): string[] {
  if (tool === "ipchains") return ipchainsArguments(rule);
  const { match, verdict } = rule;
  const words: string[] = [];
  const put = (option: string, any: readonly string[] | undefined, not: boolean | undefined): void => {
    if (any === undefined) return;
    if (any.length !== 1) throw new RangeError(`${tool} takes one value for ${option}, not ${any.length}`);
    words.push(...(not === true ? ["!"] : []), option, any[0] ?? "");
  };
  put("-i", match.in?.any, match.in?.not);
  put("-o", match.out?.any, match.out?.not);
  put("-s", match.source?.any, match.source?.not);
  put("-d", match.target?.any, match.target?.not);
  if (tool === "arptables") put("--opcode", singles(match.arpOperation), match.arpOperation?.not);
  if (tool === "iptables") {
    put("-p", match.protocol?.any, match.protocol?.not);
    put("--dport", ranges(match.targetPort), match.targetPort?.not);
    words.push("-m", "comment", "--comment", "vipward");
  }
  switch (verdict.kind) {
    case "drop":
      return [...words, "-j", "DROP"];
    case "accept":
      return [...words, "-j", "ACCEPT"];
    case "redirect":
      return [...words, "-j", "REDIRECT", ...(verdict.port === undefined ? [] : ["--to-ports", String(verdict.port)])];
    case "mangle":
      if (verdict.senderIp === undefined) break;
      return [
        ...words,
        "-j",
        "mangle",
        "--mangle-ip-s",
        verdict.senderIp,
        "--mangle-target",
        verdict.next.toUpperCase(),
      ];
    default:
  }
  throw new RangeError(`${tool} has no words for the verdict ${verdict.kind}`);
}

const singles = (m: NumberMatchFacts | undefined): string[] | undefined => m?.any.map(([low]) => String(low));
const ranges = (m: NumberMatchFacts | undefined): string[] | undefined =>
  m?.any.map(([low, high]) => (low === high ? String(low) : `${low}:${high}`));

/** ipchains names a port after the address: -d VIP/32 80. */
function ipchainsArguments({ match, verdict }: FilterRuleFacts): string[] {
  const [vip] = match.target?.any ?? [];
  const [protocol] = match.protocol?.any ?? [];
  if (vip === undefined || protocol === undefined || verdict.kind !== "redirect")
    throw new RangeError("ipchains rules of vipward redirect one protocol to one address");
  const [ports] = ranges(match.targetPort) ?? [];
  const port = verdict.port ?? match.targetPort?.any[0]?.[0] ?? 0;
  return ["-p", protocol, "-d", `${vip}/32`, ...(ports === undefined ? [] : [ports]), "-j", "REDIRECT", String(port)];
}
