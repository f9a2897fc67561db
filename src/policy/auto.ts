import type { Change } from "../plan/change.ts";
import type { World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import { baseOf, makePlan, type Plan, type Step } from "../plan/plan.ts";
import type { Goal } from "../plan/proof.ts";
import { policies, policyNamed } from "./policies.ts";
import { no, type Policy, type Situation, situationOf } from "./policy.ts";
import type { Wish } from "./wish.ts";

/** One policy's chances on one host. */
export interface Considered {
  readonly policy: string;
  readonly summary: string;
  readonly where: string;
  readonly suits: boolean;
  /** Lower is picked first; only where it suits. */
  readonly cost?: number;
  /** Why it does not suit, why it is not the one, or what it costs. */
  readonly why: string;
  readonly notes: readonly string[];
}

export interface PolicyPlan {
  readonly policy: string;
  readonly plan: Plan;
  readonly notes: readonly string[];
  readonly considered: readonly Considered[];
}

export interface PolicyRequest {
  readonly world: World;
  readonly owned: readonly Change[];
  readonly wish: Wish;
  readonly kernel: Kernel;
  /** What makes the policy's steps last over a reboot: files, made from these very steps. */
  readonly keep?: (steps: readonly Step[], policy: string) => readonly Step[];
}

/** `none`: nothing suits, and `considered` says why for each. */
export type Choice = PolicyPlan | { readonly policy: "none"; readonly considered: readonly Considered[] };

export const goalOf = (wish: Wish): Goal => ({
  vips: [...new Set(wish.vips)],
  forwarding: wish.forwarding,
  ...(wish.lanLinks === undefined ? {} : { lanLinks: wish.lanLinks }),
  services: wish.services,
});

const situation = (r: PolicyRequest): Situation => situationOf(baseOf(r.world, r.owned), r.wish, r.kernel);

function planWith(policy: Policy, s: Situation, r: PolicyRequest): Plan {
  const steps = policy.steps(s);
  const wanted = [...steps, ...(r.keep?.(steps, policy.name) ?? [])];
  return makePlan({ world: r.world, owned: r.owned, wanted, goal: goalOf(r.wish), kernel: r.kernel });
}

const mute =
  "this host is a director too, which must answer for a VIP while it owns it: this would, or may, keep it silent then as well";

function considerOne(policy: Policy, s: Situation): Considered {
  const { name, summary, where } = policy;
  const own = policy.suits(s);
  const answer = own.suits && s.wish.ownsAtTimes && !policy.letsOwnersAnswer ? no(mute) : own;
  return answer.suits
    ? { policy: name, summary, where, suits: true, cost: answer.cost, why: "suits", notes: answer.notes }
    : { policy: name, summary, where, suits: false, why: answer.why, notes: [] };
}

/** Suits or not, for every policy: `vipward policies`. */
export function consider(request: PolicyRequest): Considered[] {
  const s = situation(request);
  return policies.map((policy) => considerOne(policy, s));
}

/** One policy by name. A policy that does not suit is no plan, and its reason is in `considered`. */
export function planNamed(name: string, request: PolicyRequest): Choice {
  const policy = policyNamed(name);
  if (policy === undefined) return { policy: "none", considered: [] };
  const s = situation(request);
  const found = considerOne(policy, s);
  const considered = [found];
  if (!found.suits) return { policy: "none", considered };
  return { policy: name, plan: planWith(policy, s, request), notes: found.notes, considered };
}

/** The first by cost whose plan can be made and proves all five laws; else the first that suits, with what it breaks. */
export function planAuto(request: PolicyRequest): Choice {
  const s = situation(request);
  const considered = policies.map((policy) => considerOne(policy, s));
  const order = considered.filter((c) => c.suits).sort((a, b) => (a.cost ?? 0) - (b.cost ?? 0));
  const why = new Map<string, string>();
  let chosen: PolicyPlan | undefined;
  let fallback: PolicyPlan | undefined;
  for (const c of order) {
    if (chosen !== undefined) {
      why.set(c.policy, `would suit; ${chosen.policy} costs less (${costOf(order, chosen.policy)} against ${c.cost})`);
      continue;
    }
    const policy = policyNamed(c.policy);
    if (policy === undefined) continue;
    const plan = planWith(policy, s, request);
    const made: PolicyPlan = { policy: c.policy, plan, notes: c.notes, considered: [] };
    const [conflict] = plan.conflicts;
    const broken = plan.proof.laws.find((l) => !l.holds);
    if (conflict === undefined && broken === undefined) {
      chosen = made;
      why.set(c.policy, "picked: the cheapest whose plan is proven");
    } else {
      fallback ??= made;
      const first = broken?.broken[0];
      why.set(
        c.policy,
        conflict ?? `law ${broken?.law} would be broken: ${first?.asked}: ${first?.answer} (${first?.rule})`,
      );
    }
  }
  const told = considered.map((c) => ({ ...c, why: why.get(c.policy) ?? c.why }));
  const result = chosen ?? fallback;
  return result === undefined ? { policy: "none", considered: told } : { ...result, considered: told };
}

const costOf = (list: readonly Considered[], name: string): number => list.find((c) => c.policy === name)?.cost ?? 0;

export const planFor = (policy: string, request: PolicyRequest): Choice =>
  policy === "auto" ? planAuto(request) : planNamed(policy, request);
