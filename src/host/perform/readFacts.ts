/** The facts that plans are made on: host/facts.ts, with the tables that vipward writes read in the words it writes. */
import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { FilterChainFacts, HostFacts, UnreadFacts } from "../../model/facts.ts";
import { readNftTable } from "../../plan/nftRead.ts";
import { readRules } from "../../plan/ruleRead.ts";
import { filterChains } from "../facts/filters.ts";
import { readModules } from "../facts/surroundings.ts";
import { legacyChains, nftRuleset } from "../facts/tables.ts";
import { readFacts as readAll } from "../facts.ts";
import { moduleState } from "../modules.ts";
import type { Namespace } from "../namespace.ts";
import { findProgram } from "../vm/process.ts";

/** Throws HostError where netlink cannot be read at all; the rest is named in `unread`. */
export function readFacts(namespace?: Namespace): HostFacts {
  const facts = readAll({ onlyModel: true, readFilters, ...(namespace === undefined ? {} : { namespace }) });
  // Plans are about IPv4, and a link that was up once keeps its IPv6 settings for ever: no undo takes those away.
  const sysctls = Object.fromEntries(Object.entries(facts.sysctls).filter(([name]) => !name.startsWith("ipv6.")));
  return { ...facts, sysctls, modules: readModules() };
}

/** Reads one table anew in the words of a plan; undefined: a stranger's, which the general reader has read. */
function inOurWords(
  family: string,
  table: string,
  objects: readonly Record<string, unknown>[],
  unread: UnreadFacts[],
): FilterChainFacts[] | undefined {
  if (family !== "arp" && family !== "ip") return undefined;
  if (/^vipward/.test(table)) return readNftTable(family, table, objects);
  const read = readNftTable(family, table, objects);
  if (read.length === 0 || !read.every((c) => /^[A-Z]+$/.test(c.chain ?? ""))) return undefined;
  // What the old programs made in nft is read in their own words, for they alone know them.
  if (family === "arp") return readRules("arptables", table, words("arptables", table, unread));
  return table === "nat" ? readRules("iptables", table, words("iptables", table, unread)) : undefined;
}

function readFilters(unread: UnreadFacts[]): FilterChainFacts[] {
  const objects = nftRuleset(unread);
  const general = filterChains(objects);
  const tables = objects.flatMap((o) => (o.table === undefined ? [] : [o.table as { family: string; name: string }]));
  const chains = tables.flatMap(
    ({ family, name }) =>
      inOurWords(family, name, objects, unread) ?? general.filter((c) => c.family === family && c.table === name),
  );
  return [...chains, ...legacyChains(unread)];
}

function words(program: "iptables" | "arptables", table: string, unread: UnreadFacts[]): string {
  // `arptables -S` and arptables-save ask the name server about every address, and wait for it; -n -L does not.
  const args = program === "arptables" ? ["-n", "-L"] : ["-t", table, "-S"];
  try {
    return execFileSync(findProgram(program) ?? program, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 60_000,
    });
  } catch {
    unread.push({ what: `${program} table ${table}`, why: `${program} cannot list it` });
    return "";
  }
}

/** Which of the tools that policies use are installed, whether sysctls can be written, and which modules are missing. */
export function programsHere() {
  const has = (name: string): boolean => findProgram(name) !== undefined;
  return {
    nft: has("nft"),
    iptables: has("iptables"),
    arptables: has("arptables"),
    sysctls: !isReadOnly("/proc/sys/net/ipv4/conf/all/arp_ignore"),
    missingModules: carrierModules.filter((name) => moduleState(name) === "missing"),
  };
}

const carrierModules = ["dummy", "ipip"];

function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EROFS";
  }
}
