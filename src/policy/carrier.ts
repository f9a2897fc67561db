import { isLoopback, isMulticast, parseIpv4 } from "../base/ipv4.ts";
import type { LinkFacts } from "../model/facts.ts";
import { labelOf } from "../plan/kinds/address.ts";
import { linkState } from "../plan/kinds/link.ts";
import { speaksArp } from "../plan/lan.ts";
import type { Step } from "../plan/plan.ts";
import type { Situation } from "./policy.ts";

/** The device that a wish's carrier means. */
export const carrierName = (s: Situation): string =>
  s.wish.carrier === "dummy" ? (s.wish.carrierName ?? "dummy0") : s.wish.carrier;

/**
 * Why the VIPs cannot be held on this carrier; empty when they can. `held`: the policy puts them on it as addresses;
 * `carried`: it needs the device.
 */
export function vipProblems(s: Situation, held: boolean, carried = held): string[] {
  const problems: string[] = [];
  if (s.wish.vips.length === 0) problems.push("no VIP is named");
  const carrier = carrierName(s);
  problems.push(...carrierProblems(s, carried));
  const byIp = new Map<string, { link: string; prefixLength: number }[]>();
  for (const a of s.facts.addresses) byIp.set(a.ip, [...(byIp.get(a.ip) ?? []), a]);
  for (const vip of new Set(s.wish.vips)) {
    const ip = parseIpv4(vip);
    if (ip === undefined || isMulticast(ip) || isLoopback(ip) || ip === 0) {
      problems.push(`${vip} cannot be a VIP: it is no unicast IPv4 address`);
      continue;
    }
    for (const a of byIp.get(vip) ?? []) {
      const link = s.facts.links.find((l) => l.name === a.link);
      if (held && a.link === carrier) continue;
      problems.push(whereItIs(s, vip, a, link));
    }
  }
  return problems;
}

/** Why there cannot be such a device. */
function carrierProblems(s: Situation, carried: boolean): string[] {
  const problems: string[] = [];
  const { facts, wish } = s;
  const missing = (name: string, what: string): void => {
    if (wish.programs?.missingModules?.includes(name) === true)
      problems.push(
        `kernel ${facts.kernel.release} has no module ${name} for ${what}: install it, or choose another carrier`,
      );
  };
  const carrier = facts.links.find((l) => l.name === carrierName(s));
  if (carried && wish.carrier === "dummy") {
    if (carrier === undefined) missing("dummy", "the carrier");
    else if (carrier.kind !== "dummy")
      problems.push(
        `${carrier.name} exists and is a ${carrier.kind ?? "hardware"} interface, not a dummy one: name another with --carrier-name`,
      );
  }
  const tunnel = wish.forwarding === "tun" || (carried && wish.carrier === "tunl0");
  if (tunnel && !facts.links.some((l) => l.name === "tunl0")) missing("ipip", "tunl0");
  return problems;
}

/** A dummy that was there before, with addresses of its maker's. */
export function carrierNotes(s: Situation): string[] {
  const base = s.facts.links.find((l) => l.name === carrierName(s));
  if (s.wish.carrier !== "dummy" || base === undefined) return [];
  const others = s.facts.addresses.filter((a) => a.link === base.name && !s.wish.vips.includes(a.ip)).map((a) => a.ip);
  if (others.length === 0) return [];
  return [
    `${base.name} was there already, with ${others.slice(0, 3).join(", ")}: who made it may take it away, and the VIPs with ` +
      "it; --carrier-name NAME makes one of vipward's own",
  ];
}

function whereItIs(
  s: Situation,
  vip: string,
  a: { readonly link: string; readonly prefixLength: number },
  link: LinkFacts | undefined,
): string {
  const remove = `\`ip address delete ${vip}/${a.prefixLength} dev ${a.link}\``;
  if (link === undefined || !speaksArp(link, s.facts))
    return `${vip} is on ${a.link} already, which vipward did not do: choose that carrier, or ${remove} first`;
  const others = s.facts.addresses.some((o) => o.link === a.link && o.ip !== vip && o.prefixLength < 32);
  if (others)
    return `${vip} is on ${a.link}, and is answered for there whatever the silence (A-2.2h-05, A-2.6-04): ${remove} first`;
  return `${vip} is this host's own address on ${a.link}: a VIP must be another one`;
}

/** The carrier made and up, without the VIPs. On kernels to 2.6.21 with its IPv4 state, so that its sysctls exist. */
export function carrierSteps(s: Situation): Step[] {
  const name = carrierName(s);
  const found = s.facts.links.find((l) => l.name === name);
  if (s.wish.carrier === "lo") return [];
  if (s.wish.carrier === "tunl0") return tunnelSteps(s);
  const steps: Step[] = [];
  if (
    s.facts.modules !== undefined &&
    !s.facts.modules.includes("dummy") &&
    !s.facts.links.some((l) => l.kind === "dummy")
  )
    steps.push({
      change: { kind: "module", name: "dummy", before: false, after: true },
      why: "the carrier is a dummy interface",
      rules: [],
    });
  steps.push(upStep(s, name, found, "dummy", "the carrier that holds the VIPs"));
  return steps;
}

/** 2.2 to 2.6.21: a device without an address has no IPv4 state. */
const needsState = (s: Situation, name: string): boolean =>
  s.switches.ifaceStateLifetime === "address" &&
  s.switches.arpScope === "host" &&
  !s.facts.addresses.some((a) => a.link === name);

function upStep(s: Situation, name: string, found: LinkFacts | undefined, type: string, why: string): Step {
  const state = needsState(s, name) ? ({ ipv4State: true } as const) : {};
  const before = found === undefined ? null : linkState(found);
  const after = { ...(before ?? { type, noarp: true }), up: true, ...state };
  const rules = needsState(s, name) ? ["C-2.2-06"] : [];
  return { change: { kind: "link", name, before, after }, why, rules };
}

/** IPIP in: the module, and tunl0 up. */
export function tunnelSteps(s: Situation): Step[] {
  const found = s.facts.links.find((l) => l.name === "tunl0");
  const rule = s.switches.ipipReentry === "tunnel" ? "C-2.6-05" : "C-2.0-03";
  const steps: Step[] = [];
  if (found === undefined)
    steps.push({
      change: { kind: "module", name: "ipip", before: false, after: true },
      why: "the director sends IPIP, and tunl0 comes with this module",
      rules: [rule],
    });
  // Once the module is there its device is, down (this state is what the module's effect plays).
  const born: LinkFacts = found ?? { ifindex: 0, name: "tunl0", kind: "ipip", flags: ["NOARP"], mac: null };
  steps.push(upStep(s, "tunl0", born, "ipip", "decapsulation needs a tunnel device that is up"));
  return steps;
}

/** The VIPs themselves, each a /32 on the carrier. */
export function vipSteps(s: Situation): Step[] {
  const link = carrierName(s);
  const label = labelOf(link);
  const mine = new Map(s.facts.addresses.filter((a) => a.link === link).map((a) => [a.ip, a]));
  return [...new Set(s.wish.vips)].map((ip): Step => {
    const found = mine.get(ip);
    // Someone's /32 with another label or scope is the same address: it is taken as it is.
    const kept = found === undefined || found.prefixLength !== 32 ? undefined : found;
    const labelled = kept === undefined ? label : kept.label === link ? undefined : kept.label;
    const after = {
      prefixLength: 32,
      scope: kept?.scope ?? 0,
      ...(labelled === undefined ? {} : { label: labelled }),
    };
    return {
      change: { kind: "address", link, ip, before: kept === undefined ? null : after, after },
      why: "so that this host takes packets for the VIP; /32, so that nothing else becomes local",
      rules: ["C-ALL-02", "A-2.2-05"],
    };
  });
}
