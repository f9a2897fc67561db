import { parseIpv4 } from "../base/ipv4.ts";
import { covers, networkOf } from "../base/prefix.ts";
import type { AddressFacts } from "../model/facts.ts";
import { type Change, describe, fromNow, keyOf, standing } from "../plan/change.ts";
import { HostDraft, type World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import { lanLinks } from "../plan/lan.ts";
import { makePlan, type Plan, type Step } from "../plan/plan.ts";
import { type Goal, prove } from "../plan/proof.ts";
import { hiddenLinks, hidePurpose, planHide, purposeOf } from "../policy/hide.ts";
import type { Finding } from "./guard.ts";
import { brokenText } from "./run.ts";

/** What guards a host against drift must know of it. */
export interface Watched {
  readonly goal: Goal;
  /** The host when the guard began: what was so then is nobody's drift. */
  readonly start: World;
  /** Keys of what vipward has made at any time since: what it gives up by an undo is nobody's drift either. */
  readonly made: ReadonlySet<string>;
  readonly kernel: Kernel;
}

/** One thing that is wrong, and the change that puts it right where there is one. */
export interface Drift extends Finding {
  readonly remedy?: Change;
  /** Not ours: once put right it stays whoever's it is, and an undo leaves it alone. */
  readonly foreign?: true;
}

/** The goal that earlier runs had, from what they made: their VIPs, and whether they are for tunnels. */
export function goalOf(owned: readonly Change[]): Goal {
  const vips = new Set<string>();
  let forwarding: Goal["forwarding"] = "dr";
  for (const c of owned) {
    if (purposeOf(c) !== "vips") continue;
    if (c.kind === "address" && c.after?.prefixLength === 32 && parseIpv4(c.ip) !== undefined) vips.add(c.ip);
    if (c.kind === "route" && c.after && c.route.type === "local") vips.add(c.route.dst.split("/")[0] ?? "");
    if ((c.kind === "sysctl" && c.name.startsWith("tunl0.")) || (c.kind === "module" && c.name === "ipip"))
      forwarding = "tun";
  }
  vips.delete("");
  return { vips: [...vips], forwarding, services: [] };
}

/** Sysctls that the laws rest on, by flat name: those that vipward wrote, and the ARP ones of every link. */
export function watchedSysctls(world: World, owned: readonly Change[]): string[] {
  const files = /\.(arp_ignore|arp_announce|arp_filter|rp_filter|hidden|arp_invisible)$/;
  const names = Object.keys(world.facts.sysctls).filter((n) => files.test(n) && !/^(default|ipv6|neigh)\./.test(n));
  return [...new Set([...owned.flatMap((c) => (c.kind === "sysctl" ? [c.name] : [])), ...names])];
}

/** All that is not as vipward left it, and what else breaks a law. */
export function driftOf(world: World, owned: readonly Change[], watched: Watched): Drift[] {
  const host = new HostDraft(world);
  const drifts: Drift[] = owned.flatMap((c): Drift[] => {
    const where = standing(c, host);
    if (where === "after") return [];
    const how = where === "before" ? "undone by others" : "changed by others";
    return [{ key: keyOf(c), text: `${how}, should be: ${describe(fromNow(c, host))}`, healable: true, remedy: c }];
  });
  drifts.push(...intruders(world, owned, watched), ...unhidden(world, owned, drifts, watched));
  const broken = prove(world, [], watched.goal, watched.kernel).laws.filter((l) => !l.holds);
  if (broken.length > 0) drifts.push(...foreignSysctls(world, watched));
  // What is found above explains a broken law well enough.
  if (drifts.length === 0)
    for (const law of broken) drifts.push({ key: `law ${law.law}`, text: brokenText(law), healable: false });
  return drifts;
}

/** What `hide` would make now that addresses have come and gone: with nft it knows those of its own time only. */
function unhidden(world: World, owned: readonly Change[], known: readonly Drift[], { kernel }: Watched): Drift[] {
  const found = new Set(known.map((d) => d.key));
  return hiddenLinks(owned).flatMap((link) => {
    const own = owned.filter((c) => purposeOf(c) === hidePurpose(link));
    const choice = planHide({ world, owned: own, link, kernel });
    if (!choice.ok) return [];
    return choice.plan.steps.flatMap(({ change }): Drift[] => {
      const key = keyOf(change);
      if (found.has(key)) return [];
      return [
        { key, text: `the addresses of ${link} have changed: ${describe(change)}`, healable: true, remedy: change },
      ];
    });
  });
}

/** A VIP on a link whose wire must not see it, and where vipward did not put it. */
function intruders(world: World, owned: readonly Change[], { goal, start }: Watched): Drift[] {
  const vips = new Set(goal.vips);
  const secret = new Set(goal.vips.flatMap((v) => parseIpv4(v) ?? []));
  const lan = new Set(lanLinks(world.facts, secret, goal.lanLinks).map((l) => l.name));
  const ours = new Set(owned.map(keyOf));
  const before = new HostDraft(start);
  return world.facts.addresses.flatMap((a): Drift[] => {
    const key = `address ${a.link} ${a.ip}`;
    if (!vips.has(a.ip) || !lan.has(a.link) || a.link === goal.exceptLink || ours.has(key)) return [];
    const text = `someone added the VIP ${a.ip}/${a.prefixLength} to ${a.link}`;
    if (before.address(a.link, a.ip) !== undefined)
      return [{ key, text: `${text}; it was there before the guard began, so it is left`, healable: false }];
    const others = takenAlong(a, world.facts.addresses);
    if (others.length > 0)
      return [
        { key, text: `${text}; removing it would take ${others.join(", ")} along, so it is left`, healable: false },
      ];
    const { prefixLength, scope, label } = a;
    const state = { prefixLength, scope, ...(label === undefined ? {} : { label }) };
    const remedy: Change = { kind: "address", link: a.link, ip: a.ip, before: state, after: null };
    return [{ key, text, healable: true, foreign: true, remedy }];
  });
}

/** Secondary addresses go with the first of their subnet. */
function takenAlong(a: AddressFacts, all: readonly AddressFacts[]): string[] {
  const address = parseIpv4(a.ip);
  if (a.secondary === true || address === undefined) return [];
  const subnet = { address: networkOf({ address, length: a.prefixLength }), length: a.prefixLength };
  return all.flatMap((b) => {
    const ip = parseIpv4(b.ip);
    const along = b.link === a.link && b.secondary === true && b.prefixLength === a.prefixLength && ip !== undefined;
    return along && covers(subnet, ip) ? [b.ip] : [];
  });
}

/** A law is broken, and a value that it rests on is not what it was when the guard began. */
function foreignSysctls(world: World, { start, made }: Watched): Drift[] {
  return watchedSysctls(start, []).flatMap((name): Drift[] => {
    const before = world.facts.sysctls[name];
    const after = start.facts.sysctls[name];
    if (before === undefined || after === undefined || before === after) return [];
    const remedy: Change = { kind: "sysctl", name, before, after };
    const key = keyOf(remedy);
    if (made.has(key)) return [];
    const text = `${name} was ${after} when the guard began and is ${before}, and a law is broken`;
    return [{ key, text, healable: true, foreign: true, remedy }];
  });
}

/** Puts the named things right, and nothing else. What is foreign does not become ours. */
export function healPlan(world: World, owned: readonly Change[], watched: Watched, keys: ReadonlySet<string>): Plan {
  const drifts = driftOf(world, owned, watched).filter((d) => keys.has(d.key));
  const wanted = drifts.flatMap((d): Step[] =>
    d.remedy === undefined ? [] : [{ change: d.remedy, why: d.text, rules: [] }],
  );
  const plan = makePlan({ world, owned: [], wanted, goal: watched.goal, kernel: watched.kernel });
  const foreign = drifts.flatMap((d) => (d.foreign && d.remedy !== undefined ? [d.key] : []));
  return { ...plan, released: [...plan.released, ...foreign] };
}
