import { type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import type { HostFacts } from "../model/facts.ts";
import { has, type Release, releaseOf } from "../model/generation.ts";
import { type Switches, switchesOf } from "../model/switches.ts";
import type { World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import { type LanLink, lanLinks } from "../plan/lan.ts";
import type { Step } from "../plan/plan.ts";
import type { Wish } from "./wish.ts";

/** All that a policy decides on: the host without vipward's own work, and what is wanted. */
export interface Situation {
  readonly world: World;
  readonly facts: HostFacts;
  readonly wish: Wish;
  readonly switches: Switches;
  readonly release: Release;
  /** Links that speak ARP and must be silent for the VIPs. */
  readonly lan: readonly LanLink[];
  readonly kernel: Kernel;
}

export type Suits =
  /** `cost`: lower is picked first; what it stands for is in docs/silence-policies.md. */
  | { readonly suits: true; readonly cost: number; readonly notes: readonly string[] }
  | { readonly suits: false; readonly why: string };

/** One way to keep a real server from answering ARP for its VIPs. One file each; the table is in policies.ts. */
export interface Policy {
  readonly name: string;
  /** One line: what it does. */
  readonly summary: string;
  /** Where it works, for people. */
  readonly where: string;
  /** It silences the carrier's addresses alone: the same VIP on the link that is asked on is answered for. */
  readonly letsOwnersAnswer?: boolean;
  suits(s: Situation): Suits;
  /** Called only when it suits. Steps on the situation's world, in any order: the plan sorts them by phase. */
  steps(s: Situation): readonly Step[];
}

export const yes = (cost: number, ...notes: string[]): Suits => ({ suits: true, cost, notes });
export const no = (why: string): Suits => ({ suits: false, why });

export function situationOf(world: World, wish: Wish, kernel: Kernel): Situation {
  const { facts } = world;
  const vips = new Set<Ipv4>(wish.vips.flatMap((v) => parseIpv4(v) ?? []));
  return {
    world,
    facts,
    wish,
    switches: switchesOf(facts.kernel),
    release: releaseOf(facts.kernel.generation, facts.kernel.release),
    lan: lanLinks(facts, vips, wish.lanLinks),
    kernel,
  };
}

/** nftables came with 3.13, its arp family was read in 4.1 (A-2.6-20); what the host has overrides the age. */
export const hasNft = (s: Situation): boolean => s.wish.programs?.nft ?? has(s.release, "3.14");
export const hasIptables = (s: Situation): boolean => s.wish.programs?.iptables ?? has(s.release, "2.4.0");
export const hasArptables = (s: Situation): boolean => s.wish.programs?.arptables ?? has(s.release, "2.4.22", "2.6.0");
export const hasIpchains = (s: Situation): boolean =>
  s.wish.programs?.ipchains ?? (has(s.release, "2.2.0") && !has(s.release, "2.4.0"));
