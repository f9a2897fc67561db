/** A group: one topology, many hosts on it one after another. */
import { ipv4 } from "../base/ipv4.ts";
import { HostError } from "../host/errors.ts";
import { Dice } from "./dice.ts";
import { type Examined, examine } from "./exam.ts";
import { type Abilities, drawHost, drawQuestions, drawTopology } from "./generate.ts";
import type { HostPlan, Question, Topology } from "./plan.ts";
import { Stage } from "./stage.ts";

export const hostsInGroup = 24;
const questionsPerHost = 100;

export interface Case {
  readonly topology: Topology;
  readonly plan: HostPlan;
  readonly questions: readonly Question[];
}

/** The same three numbers give the same case for ever. */
export function drawCase(seed: number, group: number, host: number, abilities: Abilities): Case {
  const topology = drawTopology(new Dice(seed, group), abilities);
  const dice = new Dice(seed, group, host + 1);
  const plan = drawHost(dice, topology);
  return { topology, plan, questions: drawQuestions(dice, topology, plan, questionsPerHost) };
}

export interface GroupReport {
  readonly asked: number;
  readonly hosts: number;
  readonly rules: ReadonlyMap<string, number>;
  /** Hosts where something differed. */
  readonly failures: readonly { readonly host: number; readonly case: Case; readonly examined: Examined }[];
}

/** Runs hosts of one group until `told` says that it is enough. The calling thread is left in a namespace made here. */
export function runGroup(
  seed: number,
  group: number,
  hosts: readonly number[],
  abilities: Abilities,
  name: string,
  told: (asked: number) => boolean,
): GroupReport {
  const first = drawCase(seed, group, 0, abilities);
  const stage = new Stage(first.topology, name);
  const rules = new Map<string, number>();
  const failures: GroupReport["failures"][number][] = [];
  let asked = 0;
  let ran = 0;
  try {
    for (const host of hosts) {
      const drawn = drawCase(seed, group, host, abilities);
      stage.apply(drawn.plan);
      const examined = examine(stage, drawn.questions, host + 1);
      asked += examined.asked;
      for (const [rule, count] of examined.rules) rules.set(rule, (rules.get(rule) ?? 0) + count);
      if (examined.differences.length > 0) failures.push({ host, case: drawn, examined });
      ran++;
      if (!told(examined.asked)) break;
    }
  } finally {
    stage.close();
  }
  return { asked, hosts: ran, rules, failures };
}

/** One case on a fresh stage: what a replay and every step of making it smaller do. */
export function runCase(c: Case, name: string): Examined {
  const stage = new Stage(c.topology, name);
  try {
    stage.apply(c.plan);
    return examine(stage, c.questions, 1);
  } finally {
    stage.close();
  }
}

/** Tries out what the kernel can make. */
export function tryAbilities(name: string): Abilities {
  const extra = { dummy: {}, ipip: { tunnel: { remote: ipv4("10.1.0.20") } }, macvlan: { over: "eth0" } };
  const can = (kind: "dummy" | "ipip" | "macvlan"): boolean => {
    try {
      const veth = { name: "eth0", kind: "veth" as const };
      const link = { name: kind === "macvlan" ? "mac0" : "x0", kind, ...extra[kind] };
      new Stage({ links: [veth, link], withRules: false, withLocalRoutes: false, withNft: false }, name).close();
      return true;
    } catch (error) {
      if (error instanceof HostError) return false;
      throw error;
    }
  };
  return { dummy: can("dummy"), ipip: can("ipip"), macvlan: can("macvlan"), nft: true };
}
