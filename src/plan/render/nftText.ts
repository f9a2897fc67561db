import type { AddressMatchFacts, FilterChainFacts, FilterRuleFacts, NumberMatchFacts } from "../../model/facts.ts";

/** An own table as `nft -f` reads it. The same content as nftCommands of nftJson.ts. */

const operationName: Readonly<Record<number, string>> = { 1: "request", 2: "reply" };
const not = (m: { readonly not?: boolean }): string => (m.not === true ? "!= " : "");
const quoted = (names: readonly string[]): string => braced(names.map((n) => `"${n.replace(/\+$/, "*")}"`));
const braced = (words: readonly string[]): string =>
  words.length === 1 ? (words[0] ?? "") : `{ ${words.join(", ")} }`;
const ranges = (m: NumberMatchFacts): string => braced(m.any.map(([a, b]) => (a === b ? String(a) : `${a}-${b}`)));

class Sets {
  readonly #names = new Map<string, string>();
  readonly text: string[] = [];
  of(m: AddressMatchFacts): string {
    if (m.any.length === 1) return m.any[0] ?? "";
    const key = m.any.join(", ");
    let name = this.#names.get(key);
    if (name === undefined) {
      name = this.#names.size === 0 ? "vips" : `vips${this.#names.size + 1}`;
      this.#names.set(key, name);
      const flags = /[/-]/.test(key) ? " flags interval;" : "";
      this.text.push(`\tset ${name} { type ipv4_addr;${flags} elements = { ${key} }; }`);
    }
    return `@${name}`;
  }
}

function ruleText(family: string, rule: FilterRuleFacts, sets: Sets): string {
  const m = rule.match;
  const words: string[] = [];
  const [source, target] = family === "arp" ? ["arp saddr ip", "arp daddr ip"] : ["ip saddr", "ip daddr"];
  if (m.in) words.push(`iifname ${not(m.in)}${quoted(m.in.any)}`);
  if (m.out) words.push(`oifname ${not(m.out)}${quoted(m.out.any)}`);
  if (m.arpOperation)
    words.push(
      `arp operation ${not(m.arpOperation)}${braced(m.arpOperation.any.map(([n]) => operationName[n] ?? String(n)))}`,
    );
  if (m.source) words.push(`${source} ${not(m.source)}${sets.of(m.source)}`);
  if (m.target) words.push(`${target} ${not(m.target)}${sets.of(m.target)}`);
  if (m.protocol && !m.targetPort) words.push(`meta l4proto ${not(m.protocol)}${braced(m.protocol.any)}`);
  if (m.targetPort) words.push(`${m.protocol?.any[0]} dport ${not(m.targetPort)}${ranges(m.targetPort)}`);
  const v = rule.verdict;
  if (v.kind === "mangle") words.push(`arp saddr ip set ${v.senderIp}`, v.next === "continue" ? "" : v.next);
  else if (v.kind === "redirect") words.push(v.port === undefined ? "redirect" : `redirect to :${v.port}`);
  else words.push(v.kind);
  return words.filter((w) => w !== "").join(" ");
}

/** nft's strings know no escapes: a name that ends them, or that is a pattern, cannot be written. */
export const nftCanSay = (chains: readonly FilterChainFacts[] | null): boolean =>
  (chains ?? []).every((chain) =>
    chain.rules.every(
      (r) =>
        "match" in r &&
        [...(r.match.in?.any ?? []), ...(r.match.out?.any ?? [])].every((n) => !/["\\*]/.test(n.replace(/\*$/, ""))),
    ),
  );

/** null: text that takes the table away. One transaction either way. */
export function nftText(family: string, table: string, chains: readonly FilterChainFacts[] | null): string {
  const replace = `table ${family} ${table}\ndelete table ${family} ${table}\n`;
  if (chains === null) return replace;
  const sets = new Sets();
  const bodies = chains.map((chain) => {
    const rules = chain.rules.map((r) => ("match" in r ? `\t\t${ruleText(family, r, sets)}\n` : "")).join("");
    const { type = "filter", hook, priority = 0, policy = "accept" } = chain;
    return `\tchain ${chain.chain ?? hook} {\n\t\ttype ${type} hook ${hook} priority ${priority}; policy ${policy};\n${rules}\t}\n`;
  });
  return `${replace}table ${family} ${table} {\n${sets.text.map((t) => `${t}\n`).join("")}${bodies.join("")}}\n`;
}
