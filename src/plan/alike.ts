import { type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { covers, type Prefix, parsePrefix } from "../base/prefix.ts";
import type { AddressFacts, AddressMatchFacts, FilterRuleFacts, HostFacts, RouteFacts } from "../model/facts.ts";

/**
 * A thousand VIPs on one carrier are one VIP a thousand times: the kernel's rules look at an address through the
 * prefixes that cover it, the entries that name it and its place in the list. VIPs that agree in all of these are alike;
 * of each kind the first, a middle one and the last are asked about, and the others are left out of the facts that are
 * asked. What names a VIP in a way that is not understood here makes it one of its own kind. alike.test.ts holds this
 * against asking for every single one.
 */
export interface Alike {
  /** Those to ask about, in the order given. */
  readonly asked: readonly string[];
  /** The facts without those that are not asked about; the same object where nothing is left out. */
  readonly thin: (facts: HostFacts) => HostFacts;
}

/** So few of a kind are all asked. */
const FEW = 3;

/** `worlds`: the same host at several times, in which alike must mean alike at each. */
export function alike(
  worlds: readonly HostFacts[],
  vips: readonly string[],
  /** What else sets a VIP apart. */
  more: (vip: string) => string = () => "",
): Alike {
  const everyone = [...new Set(vips)];
  if (everyone.length <= FEW) return { asked: vips, thin: (facts) => facts };
  const marks = new Marks(everyone, more);
  const special = new Set<string>();
  for (const facts of worlds) {
    marks.nextWorld();
    markOne(facts, marks, special);
  }
  const groups = new Map<string, string[]>();
  for (const vip of inListOrder(worlds, everyone)) {
    const key = special.has(vip) ? vip : marks.of(vip);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [vip]);
    else group.push(vip);
  }
  const dropped = new Set<string>();
  for (const group of groups.values())
    if (group.length > FEW) {
      const kept = new Set([0, group.length >> 1, group.length - 1]);
      group.forEach((vip, i) => {
        if (!kept.has(i)) dropped.add(vip);
      });
    }
  if (dropped.size === 0) return { asked: vips, thin: (facts) => facts };
  return { asked: vips.filter((vip) => !dropped.has(vip)), thin: (facts) => without(facts, dropped) };
}

/** What was seen of each VIP, as numbers of the sentences that say it: thousands say the same few. */
class Marks {
  readonly #seen: Map<string, string>;
  readonly #numbers = new Map<string, number>();
  readonly addresses: ReadonlyMap<string, Ipv4 | undefined>;
  #world = 0;

  constructor(vips: readonly string[], more: (vip: string) => string) {
    this.#seen = new Map(vips.map((vip) => [vip, more(vip)]));
    this.addresses = new Map(vips.map((vip) => [vip, parseIpv4(vip)]));
  }

  nextWorld(): void {
    this.#world++;
  }

  has(vip: string): boolean {
    return this.addresses.has(vip);
  }

  of(vip: string): string {
    return this.#seen.get(vip) ?? "";
  }

  /** The number of a sentence in this world, to be put to many. */
  number(sentence: string): number {
    const key = `${this.#world} ${sentence}`;
    const known = this.#numbers.get(key) ?? this.#numbers.size;
    if (known === this.#numbers.size) this.#numbers.set(key, known);
    return known;
  }

  put(vip: string, number: number): void {
    this.#seen.set(vip, `${this.#seen.get(vip)} ${number}`);
  }
}

/** As they stand on their links, for source selection takes the first that fits (B-2.2-02). */
function inListOrder([...worlds]: readonly HostFacts[], vips: readonly string[]): Iterable<string> {
  const wanted = new Set(vips);
  const order = new Set<string>();
  for (const facts of worlds.reverse()) for (const a of facts.addresses) if (wanted.has(a.ip)) order.add(a.ip);
  for (const vip of vips) order.add(vip);
  return order;
}

/** A /32 that stands for itself alone. */
const isPlainAddress = (a: AddressFacts): boolean =>
  a.prefixLength === 32 && a.peer === undefined && a.broadcast === undefined && a.secondary !== true;
const hostOf = (dst: string): string => (dst.endsWith("/32") ? dst.slice(0, -3) : dst);
/** A route to one address, by a device. */
const isPlainRoute = (r: RouteFacts, vip: string): boolean =>
  r.via === undefined && r.nexthops === undefined && (r.prefsrc === undefined || r.prefsrc === vip);

function markOne(facts: HostFacts, marks: Marks, special: Set<string>): void {
  const { addresses, routes, filters, sysctls: _, links, ...rest } = facts;
  const strange: unknown[] = [rest, links];
  const prefixes: Prefix[] = [];
  const collect = (text: string): void => {
    const prefix = parsePrefix(text);
    if (prefix !== undefined && prefix.length < 32) prefixes.push(prefix);
  };
  markAddresses(addresses, marks, strange, collect);
  markRoutes(routes, marks, strange, collect);
  for (const { from, to } of facts.rules) for (const text of [from, to]) if (text !== undefined) collect(text);
  filters.forEach(({ rules, ...chain }, at) => {
    strange.push(chain);
    let shared = 0;
    for (const rule of rules) {
      if ("notUnderstood" in rule) {
        strange.push(rule);
        shared++;
      } else shared += markRule(rule, `${at}.${shared}`, marks, strange, collect);
    }
  });
  nameAll(strange, marks, special);
  const numbers = prefixes.map((_, i) => marks.number(`p ${i}`));
  for (const [vip, address] of marks.addresses) {
    if (address === undefined) special.add(vip);
    else
      prefixes.forEach((p, i) => {
        if (covers(p, address)) marks.put(vip, numbers[i] as number);
      });
  }
}

function markAddresses(
  addresses: readonly AddressFacts[],
  marks: Marks,
  strange: unknown[],
  collect: (text: string) => void,
): void {
  let last: AddressFacts | undefined;
  let number = 0;
  for (const a of addresses) {
    if (!marks.has(a.ip) || !isPlainAddress(a)) {
      strange.push(a);
      collect(`${a.peer ?? a.ip}/${a.prefixLength}`);
      continue;
    }
    const likeLast =
      last?.link === a.link &&
      last.scope === a.scope &&
      last.label === a.label &&
      last.noPrefixRoute === a.noPrefixRoute;
    if (!likeLast) number = marks.number(`a ${a.link} ${a.scope} ${a.label} ${a.noPrefixRoute}`);
    last = a;
    marks.put(a.ip, number);
  }
}

function markRoutes(
  routes: readonly RouteFacts[],
  marks: Marks,
  strange: unknown[],
  collect: (text: string) => void,
): void {
  for (const r of routes) {
    const vip = hostOf(r.dst);
    if (!marks.has(vip) || !isPlainRoute(r, vip)) {
      strange.push(r);
      collect(r.dst);
      continue;
    }
    const { dst: _, prefsrc, ...others } = r;
    marks.put(
      vip,
      marks.number(`r ${prefsrc === vip} ${Object.values(others).join(" ")} ${Object.keys(others).join()}`),
    );
  }
}

/** 1 when the rule is about more than one VIP, so that its place counts for all of them. */
function markRule(
  rule: FilterRuleFacts,
  place: string,
  marks: Marks,
  strange: unknown[],
  collect: (text: string) => void,
): number {
  const { source, target, ...others } = rule.match;
  strange.push(rule.verdict, others);
  const own = loneVip(rule, marks);
  if (own !== undefined) {
    const sides = `${source === undefined ? "" : "s"}${target === undefined ? "" : "t"}`;
    marks.put(own, marks.number(`o ${place} ${sides} ${JSON.stringify(others)} ${JSON.stringify(rule.verdict)}`));
    return 0;
  }
  for (const [side, match] of [
    ["s", source],
    ["t", target],
  ] as const) {
    const number = marks.number(`f ${place} ${side}`);
    for (const text of match?.any ?? [])
      if (marks.has(hostOf(text))) marks.put(hostOf(text), number);
      else if (text.includes("-")) markRange(text, marks, `${place} ${side}`);
      else collect(text);
  }
  return 1;
}

/** The only VIP that a rule's addresses name, where each of them names just that one. */
function loneVip(rule: FilterRuleFacts, marks: Marks): string | undefined {
  const { source, target } = rule.match;
  const [first] = source?.any ?? target?.any ?? [];
  if (first === undefined || !marks.has(hostOf(first))) return undefined;
  const is = (m: AddressMatchFacts | undefined): boolean =>
    m === undefined || (m.not !== true && m.any.length === 1 && m.any[0] === first);
  return is(source) && is(target) ? hostOf(first) : undefined;
}

function markRange(text: string, marks: Marks, place: string): void {
  const [low, high] = text.split("-").map((part) => parseIpv4(part.trim()));
  const number = marks.number(`${place} ${text}`);
  for (const [vip, address] of marks.addresses)
    if (address !== undefined && low !== undefined && high !== undefined && low <= address && address <= high)
      marks.put(vip, number);
}

/** Every VIP that is named anywhere in here becomes one of its own kind. */
function nameAll(value: unknown, marks: Marks, special: Set<string>): void {
  if (typeof value === "string") {
    const vip = hostOf(value);
    if (marks.has(vip)) special.add(vip);
  } else if (typeof value === "object" && value !== null)
    for (const part of Object.values(value)) nameAll(part, marks, special);
}

function without(facts: HostFacts, dropped: ReadonlySet<string>): HostFacts {
  const list = (m: AddressMatchFacts): AddressMatchFacts => {
    const any = m.any.filter((text) => !dropped.has(hostOf(text)));
    return any.length === m.any.length ? m : { ...m, any };
  };
  type Rule = HostFacts["filters"][number]["rules"][number];
  const rule = (r: Rule): readonly Rule[] => {
    if ("notUnderstood" in r) return [r];
    const source = r.match.source && list(r.match.source);
    const target = r.match.target && list(r.match.target);
    if (source === r.match.source && target === r.match.target) return [r];
    if ([source, target].some((m) => m !== undefined && m.any.length === 0 && m.not !== true)) return [];
    return [{ ...r, match: { ...r.match, ...(source ? { source } : {}), ...(target ? { target } : {}) } }];
  };
  return {
    ...facts,
    addresses: facts.addresses.filter((a) => !dropped.has(a.ip)),
    routes: facts.routes.filter((r) => !dropped.has(hostOf(r.dst))),
    filters: facts.filters.map((f) => ({ ...f, rules: f.rules.flatMap(rule) })),
  };
}
