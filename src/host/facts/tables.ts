/** What filters packets: nft tables through nft's own JSON, older tables by their names. */
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import type { FilterChainFacts, UnreadFacts } from "../../model/facts.ts";
import { HostError } from "../errors.ts";
import { openNetlink } from "../netlink.ts";
import { listNft } from "../nft.ts";
import { filterChains } from "./filters.ts";

const NETLINK_NETFILTER = 12;
const NFT_MSG_GETTABLE = (10 << 8) | 1;

/** Asking the kernel for tables makes it load nf_tables: a module that is not there has none, and stays away. */
function nftIsThere(): boolean {
  if (existsSync("/sys/module/nf_tables")) return true;
  return !["/lib/modules", "/usr/lib/modules"].some((folder) => existsSync(`${folder}/${release()}`));
}

function hasNftTables(): boolean {
  const socket = openNetlink({ protocol: NETLINK_NETFILTER, receiveBufferOctets: 1 << 18 });
  try {
    const task = { operation: "list", object: "nft tables" };
    return socket.dump({ ...task, type: NFT_MSG_GETTABLE, flags: 0, payload: new Uint8Array(4) }).length > 0;
  } catch (error) {
    if (error instanceof HostError && /EINVAL|EOPNOTSUPP|EPROTONOSUPPORT/.test(error.code)) return false;
    throw error;
  } finally {
    socket.close();
  }
}

/** Every object of `nft -j list ruleset`; [] where there are no tables, without running nft. */
export function nftRuleset(unread: UnreadFacts[]): Record<string, unknown>[] {
  if (!nftIsThere()) return [];
  try {
    return hasNftTables() ? listNft(["ruleset"]) : [];
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    unread.push({ what: "nft rules", why: error.message });
    return [];
  }
}

const legacy = [
  { tool: "iptables", family: "ip", file: "ip_tables_names", program: "iptables-legacy" },
  { tool: "arptables", family: "arp", file: "arp_tables_names", program: "arptables-legacy" },
] as const;

/** Tables of the old interface have no notification and no JSON; that they exist is said, their rules are not guessed. */
export function legacyChains(unread: UnreadFacts[]): FilterChainFacts[] {
  return legacy.flatMap(({ tool, family, file, program }) => {
    let names: string[];
    try {
      names = readFileSync(`/proc/thread-self/net/${file}`, "utf8").split("\n").filter(Boolean);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== "ENOENT") unread.push({ what: `${tool} tables`, why: code ?? "cannot be read" });
      return [];
    }
    return names.flatMap((table) =>
      (["input", "output"] as const).map((hook) => ({
        tool,
        family,
        table,
        hook,
        policy: "accept" as const,
        rules: [{ notUnderstood: `table ${table} of ${program} is in use; see \`${program} -t ${table} -S\`` }],
      })),
    );
  });
}

export const readFilters = (unread: UnreadFacts[]): FilterChainFacts[] => [
  ...filterChains(nftRuleset(unread)),
  ...legacyChains(unread),
];
