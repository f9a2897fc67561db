/** The work behind plan, apply, undo, status, policies, hide, reveal, render and confirm. */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { heldBy } from "../../agent/failoverConfig.ts";
import { Journal, type JournalState } from "../../apply/journal.ts";
import { confirm, type Outcome, type Recovery, recover, run, undoEverything } from "../../apply/run.ts";
import { formatIpv4, parseIpv4 } from "../../base/ipv4.ts";
import type { Cluster } from "../../cluster/index.ts";
import { needNetAdmin } from "../../host/capabilities.ts";
import { HostError } from "../../host/errors.ts";
import { processHeirs } from "../../host/perform/heir.ts";
import { machinePorts, readFiles } from "../../host/perform/machine.ts";
import { programsHere, readFacts } from "../../host/perform/readFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { has, releaseOf } from "../../model/generation.ts";
import { type Change, describe, standing } from "../../plan/change.ts";
import { HostDraft, type World, worldOf } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { baseOf, type Plan } from "../../plan/plan.ts";
import type { LawProof, Service } from "../../plan/proof.ts";
import { render, type Target, targets } from "../../plan/render/targets.ts";
import { type Choice, type Considered, consider, planFor } from "../../policy/auto.ts";
import { type HideRequest, hidePurpose, planHide, planReveal, purposeOf } from "../../policy/hide.ts";
import { inOrder, type KeeperChoice } from "../../policy/keep.ts";
import { policies, policyNamed } from "../../policy/policies.ts";
import { situationOf } from "../../policy/policy.ts";
import { type Held, standingBy } from "../../policy/standingBy.ts";
import { carriers, type Wish } from "../../policy/wish.ts";
import { wishOf } from "../../policy/wishOf.ts";
import type { ApplyPorts } from "../../ports/apply.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { plural } from "../plural.ts";
import { askWire, wireText } from "./askWire.ts";
import { type Keeping, keepingOf, keepText } from "./keeping.ts";
import { forReader } from "./wrap.ts";

export interface SilenceOptions {
  readonly vip?: readonly string[];
  readonly service?: readonly string[];
  readonly forwarding?: "dr" | "tun";
  readonly carrier?: string;
  readonly carrierName?: string;
  readonly lan?: readonly string[];
  readonly policy?: string;
  readonly sysctlScope?: "links" | "all";
  /** A file's name; one that is read already, where an agent keeps to what it loaded. */
  readonly cluster?: string | Cluster;
  readonly as?: string;
  readonly facts?: string;
  readonly stateDir?: string;
  readonly root?: string;
  readonly keep?: string;
  readonly json?: boolean;
  readonly diff?: boolean;
  readonly force?: boolean;
  readonly confirm?: string;
  /** False with --no-ask: the wire is not asked after an apply. */
  readonly ask?: boolean;
  readonly to?: string;
}

const usage = (message: string, remedy: string): HostError => new HostError("silence/usage", message, { remedy });

async function factsOf({ facts: path }: SilenceOptions): Promise<HostFacts> {
  if (path === undefined) return readFacts();
  const { factsFromFile } = await import("./factsFile.ts");
  return factsFromFile(path);
}

/** "tcp/80", "tcp/8000-8100", "udp". */
function serviceOf(text: string): Service {
  const found = /^(tcp|udp|sctp)(?:\/(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(text);
  const low = Number(found?.[2] ?? 1);
  const high = Number(found?.[3] ?? low);
  if (found === null || low < 1 || high > 65535 || low > high)
    throw usage(`"${text}" is no service`, "write tcp/80, tcp/8000-8100 or udp");
  return { protocol: found[1] as Service["protocol"], ports: found[2] === undefined ? [] : [[low, high]] };
}

function wishOfOptions(o: SilenceOptions): Wish {
  const vips = (o.vip ?? []).flatMap((v) => v.split(",")).filter((v) => v !== "");
  for (const vip of vips)
    if (parseIpv4(vip) === undefined) throw usage(`"${vip}" is no IPv4 address`, "write it as 10.0.0.100");
  if (vips.length === 0) throw usage("no VIP is named", "use --vip ADDRESS, or --cluster FILE");
  const carrier = carriers.find((c) => c === (o.carrier ?? "lo"));
  if (carrier === undefined) throw usage(`"${o.carrier}" is no carrier`, `use one of ${carriers.join(", ")}`);
  return {
    vips,
    forwarding: o.forwarding ?? "dr",
    carrier,
    services: (o.service ?? []).flatMap((s) => s.split(",")).map(serviceOf),
    ...(o.carrierName === undefined ? {} : { carrierName: o.carrierName }),
    ...(o.lan === undefined ? {} : { lanLinks: o.lan }),
    ...(o.sysctlScope === undefined ? {} : { options: { sysctlScope: o.sysctlScope } }),
  };
}

// Reading a cluster file takes a parser and a schema, half of what a command without one needs to start.
const clusterTools = () => import("../../cluster/index.ts");

async function clusterOf(path: string): Promise<Cluster> {
  const { clusterFromFile } = await import("./clusterFile.ts");
  let said = "";
  const cluster = clusterFromFile(path, {
    err: (text) => {
      said += text;
    },
  });
  if (cluster !== undefined) return cluster;
  throw new HostError("silence/bad-data", said.trimEnd(), { remedy: "mend the file: each error above says where" });
}

/** What the cluster file wants of this host, by its addresses or --as. */
async function wishOfCluster(given: string | Cluster, facts: HostFacts, as: string | undefined): Promise<Asked> {
  const { roleOf } = await clusterTools();
  const cluster = typeof given === "string" ? await clusterOf(given) : given;
  const role = roleOf(cluster, { addresses: facts.addresses.flatMap((a) => parseIpv4(a.ip) ?? []), as });
  if (role.kind !== "realServer" && role.kind !== "both")
    throw usage(
      `this host is no real server: ${role.reason}`,
      "remedy" in role ? role.remedy : "a director needs no silence",
    );
  const { realServer } = role;
  const held = role.kind === "both" ? heldBy(cluster, role.director) : [];
  return {
    wish: wishOf(cluster, realServer),
    policy: realServer.policy.name,
    held: held.map(({ link, vips }) => ({ link, vips: vips.map((v) => formatIpv4(v.address)) })),
  };
}

interface Asked {
  readonly wish: Wish;
  readonly policy: string;
  /** Of a host that is a director too. */
  readonly held: readonly Held[];
}

export async function askedOf(o: SilenceOptions, facts: HostFacts): Promise<Asked> {
  const fromFile = o.cluster === undefined ? undefined : await wishOfCluster(o.cluster, facts, o.as);
  const policy = o.policy ?? fromFile?.policy ?? "auto";
  if (policy !== "auto" && policyNamed(policy) === undefined)
    throw usage(`there is no policy "${policy}"`, `use auto or one of ${policies.map((p) => p.name).join(", ")}`);
  const wish = fromFile?.wish ?? wishOfOptions(o);
  const programs = o.facts === undefined ? { programs: programsHere() } : {};
  return { wish: { ...wish, ...programs }, policy, held: fromFile?.held ?? [] };
}

/** The host and what is wanted of it. */
async function hostOf(o: SilenceOptions): Promise<{ readonly facts: HostFacts; readonly asked: Asked }> {
  const facts = await factsOf(o);
  const asked = await askedOf(o, facts);
  return { facts: standingBy(facts, asked.held), asked };
}

/** For --json: the choice without the files, which are steps of the plan. */
const keptOf = (kept: KeeperChoice | undefined) => kept && { keeper: kept.keeper, considered: kept.considered };

const vipsOnly = (owned: readonly Change[]): Change[] => owned.filter((c) => purposeOf(c) === "vips");

/** `kept`: what makes the chosen policy's work again at boot. */
function choose(
  asked: Asked,
  world: World,
  owned: readonly Change[],
  keeping: Keeping,
): { choice: Choice; kept: KeeperChoice | undefined } {
  const ours = vipsOnly(owned);
  const base = baseOf(world, ours).facts;
  const kept = new Map<string, KeeperChoice>();
  const choice = planFor(asked.policy, {
    world,
    owned: ours,
    wish: asked.wish,
    kernel: kernelModel,
    keep: (steps, policy) => {
      const found = keeping.keep(steps, base);
      kept.set(policy, found);
      return found.steps;
    },
  });
  return { choice, kept: kept.get(choice.policy) };
}

function noPolicy(considered: readonly Considered[]): HostError {
  const lines = considered.map((c) => `  ${c.policy}: ${c.why}`);
  return new HostError("policy/missing", `no silence policy suits this host:\n${lines.join("\n")}`, {
    remedy: "mend what the lines name, or choose another carrier",
  });
}

// What people read

function lawLine(l: LawProof): string[] {
  const rules = l.rules.length === 0 ? "" : ` [${l.rules.join(" ")}]`;
  const head = `  ${l.holds ? "holds " : "BROKEN"}  ${l.law}. ${l.title} (${plural(l.asked, "question")})${rules}`;
  const broken = l.broken.map((w) => `          ${w.asked}: ${w.answer}${w.rule === "" ? "" : ` (${w.rule})`}`);
  const more = l.brokenCount > l.broken.length ? [`          and ${l.brokenCount - l.broken.length} more`] : [];
  return [head, ...broken, ...more, ...l.caveats.map((c) => `          note: ${c}`)];
}

const SHOWN = 40;

export const headline = (policy: string, plan: Plan): string => `${plural(plan.steps.length, "change")}, by ${policy}`;

function planText(policy: string, plan: Plan, notes: readonly string[], diff: boolean): string {
  const lines: string[] = [];
  if (plan.steps.length === 0) lines.push(`nothing to do: all is as wanted (${policy})`);
  else {
    lines.push(`${headline(policy, plan)}, in this order:`);
    plan.steps.slice(0, SHOWN).forEach((s, i) => {
      lines.push(`  ${String(i + 1).padStart(3)}. ${describe(s.change)}`);
      lines.push(`       ${s.why}${s.rules.length === 0 ? "" : ` (${s.rules.join(", ")})`}`);
      if (diff) lines.push(`     - ${JSON.stringify(s.change.before)}`, `     + ${JSON.stringify(s.change.after)}`);
    });
    if (plan.steps.length > SHOWN) lines.push(`  and ${plan.steps.length - SHOWN} more`);
  }
  if (plan.leftAlone.length > 0) {
    const be = plan.leftAlone.length === 1 ? "is" : "are";
    lines.push(`${plan.leftAlone.length} more ${be} so already and ${be} left alone`);
  }
  for (const c of plan.conflicts) lines.push(`stands against it: ${c}`);
  for (const c of plan.changedByOthers) lines.push(`changed by others: ${c}`);
  const { alike } = plan.proof;
  const kinds =
    alike === undefined ? "" : ` (${alike} VIPs are like others in all that it looks at, and not asked apart)`;
  lines.push(`proof, by the kernel model${kinds}:`, ...plan.proof.laws.flatMap(lawLine));
  for (const n of notes) lines.push(`note: ${n}`);
  return `${lines.join("\n")}\n`;
}

const recoveredText = (r: Recovery): string =>
  `an earlier run (${r.run}, ${r.direction}) had died half way: it was ${r.result === "finished" ? "finished" : "taken back"}\n${r.left.map((l) => `  left: ${l}\n`).join("")}`;

const json = (io: Io, value: unknown): void => io.out(`${JSON.stringify(value, null, 2)}\n`);

/** After a crash the next run of any command that may write sets things right; one that only reads says so. */
function warnOpen(state: JournalState, io: Io): void {
  if (state.open !== undefined)
    io.err(
      `vipward: run ${state.open.run} (${state.open.direction}) has not ended: it is at work, waits for \`vipward confirm\`, or died; the next apply or undo sets it right\n`,
    );
}

async function journalState(o: SilenceOptions, io: Io): Promise<JournalState | undefined> {
  if (o.facts !== undefined) return undefined;
  const state = await Journal.peek(portsOf(o).journal);
  warnOpen(state, io);
  return state;
}

/** Were files for the boot written on this host? */
export const keepsFiles = async (o: SilenceOptions): Promise<boolean> =>
  (await Journal.peek(portsOf(o).journal)).owned.some((change) => change.kind === "file");

/** `held`: what is on this host by right while it owns it, and does not concern the plan. */
export function portsOf(o: SilenceOptions, held: readonly Held[] = []): ApplyPorts {
  const options = {
    ...(o.stateDir === undefined ? {} : { stateDir: resolve(o.stateDir) }),
    ...(o.root === undefined ? {} : { root: resolve(o.root) }),
  };
  const heir = fileURLToPath(new URL("../takeBack.js", import.meta.url));
  const heirs = processHeirs((run, parent) => [heir, String(run), parent, JSON.stringify(options)]);
  const ports = machinePorts(options);
  const read = async (paths: readonly string[]): Promise<World> => {
    const world = await ports.reader.read(paths);
    return { ...world, facts: standingBy(world.facts, held) };
  };
  return { ...ports, reader: { read }, heirs };
}

/** The host of --facts, or this one with these files. */
const worldHere = (o: SilenceOptions, facts: HostFacts, paths: readonly string[]): World =>
  worldOf(facts, o.facts === undefined ? readFiles(paths, o.root) : {});

export async function runPlan(o: SilenceOptions, io: Io): Promise<number> {
  const { facts, asked } = await hostOf(o);
  const owned = (await journalState(o, io))?.owned ?? [];
  const keeping = keepingOf(o, facts, asked.wish);
  const { choice, kept } = choose(asked, worldHere(o, facts, keeping.paths), owned, keeping);
  if (!("plan" in choice)) throw noPolicy(choice.considered);
  const { policy, plan, notes, considered } = choice;
  if (o.json) json(io, { policy, plan, notes, considered, kept: keptOf(kept) });
  else {
    io.out(forReader(io, planText(policy, plan, notes, o.diff === true)));
    if (kept !== undefined && o.facts === undefined) io.out(forReader(io, `${keepText(kept)}\n`));
    if (asked.policy === "auto")
      io.out(forReader(io, `why ${policy}:\n${considered.map((c) => `  ${c.policy}: ${c.why}\n`).join("")}`));
  }
  if (plan.conflicts.length > 0 || !plan.proof.holds) return exitCode("no");
  return exitCode(plan.steps.length === 0 ? "ok" : "other");
}

/** A run is brought to its end or taken back, whatever hurry there is: a host that is half changed helps nobody. */
const unhurried = (io: Io): void => io.endsInOrder("a run is ended in order: it takes a moment\n");

function outcomeStatus(o: Outcome, io: Io, asJson: boolean, policy: string, notes: readonly string[]): number {
  if (asJson) {
    json(io, o);
  } else {
    if ("recovered" in o && o.recovered !== undefined) io.err(recoveredText(o.recovered));
    switch (o.kind) {
      case "busy":
        io.err("vipward: another run is at work on this host: wait for it to end\n");
        break;
      case "nothing":
        io.out("nothing to do\n");
        break;
      case "refused":
        io.out(forReader(io, planText(policy, o.plan, notes, false)));
        io.err(`refused, nothing was changed:\n${o.why.map((w) => `  ${w}\n`).join("")}`);
        break;
      case "done":
        io.out(forReader(io, planText(policy, o.plan, notes, false)));
        io.out(`done and verified (run ${o.run})${o.confirmed ? ", confirmed" : ""}\n`);
        for (const l of o.left) io.err(`left: ${l}\n`);
        break;
      case "tookBack":
        io.err(io.signal.aborted ? "interrupted\n" : `failed: ${o.why}\n`);
        if (o.remedy !== undefined) io.err(`  remedy: ${o.remedy}\n`);
        io.err(
          `${o.left.length === 0 ? "all of it" : "what could be"} was taken back\n${o.left.map((l) => `left: ${l}\n`).join("")}`,
        );
        break;
    }
  }
  if (o.kind === "tookBack" && io.signal.aborted) return exitCode("interrupted");
  if (o.kind === "busy") return exitCode("unavailable");
  if (o.kind === "tookBack" || o.kind === "refused" || (o.kind === "done" && o.left.length > 0)) return exitCode("no");
  return exitCode("ok");
}

const describeForce = (plan: Plan): string[] =>
  plan.proof.laws.filter((l) => !l.holds).map((l) => `law ${l.law}: ${l.title}`);

/** What was done, and what it takes to tell of it. */
export interface Applied {
  readonly outcome: Outcome;
  readonly policy: string;
  readonly notes: readonly string[];
  readonly vips: readonly string[];
  readonly kept?: KeeperChoice;
}

/** Errors: those of the usage, of the cluster file and of the host, as HostError. */
export async function applyHere(o: SilenceOptions, io: Pick<Io, "err" | "signal">): Promise<Applied> {
  if (o.facts !== undefined) throw usage("--facts is for planning", "run `vipward plan --facts FILE`");
  needNetAdmin("cannot apply");
  const { facts, asked } = await hostOf(o);
  const keeping = keepingOf(o, facts, asked.wish);
  const confirmS = o.confirm === undefined ? undefined : Number(o.confirm);
  if (confirmS !== undefined && !(Number.isInteger(confirmS) && confirmS >= 1 && confirmS <= 86_400))
    throw usage(`--confirm ${o.confirm} is no number of seconds`, "use 1 to 86400");
  let policy = asked.policy;
  let notes: readonly string[] = [];
  let kept: KeeperChoice | undefined;
  const outcome = await run(portsOf(o, asked.held), {
    direction: "apply",
    paths: keeping.paths,
    kernel: kernelModel,
    force: o.force === true,
    signal: io.signal,
    progress: (sentence) => io.err(`  ${sentence}\n`),
    ...(confirmS === undefined ? {} : { confirmMs: confirmS * 1000 }),
    plan: (world, owned) => {
      const made = choose(asked, world, owned, keeping);
      const { choice } = made;
      if (!("plan" in choice)) throw noPolicy(choice.considered);
      ({ policy, notes } = choice);
      ({ kept } = made);
      if (o.force === true) for (const law of describeForce(choice.plan)) io.err(`--force breaks ${law}\n`);
      return choice.plan;
    },
  });
  return { outcome, policy, notes, vips: asked.wish.vips, ...(kept === undefined ? {} : { kept }) };
}

export async function runApply(o: SilenceOptions, io: Io): Promise<number> {
  unhurried(io);
  const { outcome, policy, notes, vips, kept } = await applyHere(o, io);
  const wire = outcome.kind === "done" && o.ask !== false ? await askWire(vips, io.signal) : undefined;
  const told = wire === undefined ? outcome : { ...outcome, wire };
  const status = outcomeStatus(told, io, o.json === true, policy, notes);
  if (o.json === true) return status;
  if (wire !== undefined) io.out(wireText(wire));
  if (outcome.kind === "done" && kept !== undefined) io.out(forReader(io, `${keepText(kept)}\n`));
  return status;
}

export async function runUndo(o: SilenceOptions, io: Io): Promise<number> {
  unhurried(io);
  needNetAdmin("cannot undo");
  const outcome = await run(portsOf(o), {
    ...undoEverything(kernelModel),
    progress: (sentence) => io.err(`  ${sentence}\n`),
  });
  if (o.json !== true && "plan" in outcome)
    for (const c of outcome.plan.changedByOthers) io.err(`changed by others: ${c}\n`);
  return outcomeStatus(outcome, io, o.json === true, "undo", []);
}

/** Is the host as it was left, and as the wish says? */
export async function runStatus(o: SilenceOptions, io: Io): Promise<number> {
  const state = await journalState(o, io);
  const owned = state?.owned ?? [];
  const wanted = o.cluster !== undefined || o.vip !== undefined;
  const { facts, asked } = wanted ? await hostOf(o) : { facts: await factsOf(o), asked: undefined };
  const keeping = asked && keepingOf(o, facts, asked.wish);
  const paths = [...(keeping?.paths ?? []), ...owned.flatMap((c) => (c.kind === "file" ? [c.path] : []))];
  const world = worldHere(o, facts, paths);
  const host = new HostDraft(world);
  const drifted = owned.filter((c) => standing(c, host) !== "after");
  const choice = asked && keeping && choose(asked, world, owned, keeping).choice;
  const pending = choice !== undefined && "plan" in choice ? choice.plan : undefined;
  if (o.json) json(io, { owned, drifted, ...(choice === undefined ? {} : { choice }), open: state?.open ?? null });
  else {
    const made = plural(owned.length, "thing here was", "things here were");
    const off = plural(drifted.length, "of them is", "of them are");
    io.out(`${made} made by vipward, ${off} not as it left them\n`);
    for (const c of drifted)
      io.out(`  drifted (${standing(c, host) === "before" ? "undone" : "changed"} by others): ${describe(c)}\n`);
    if (pending !== undefined) io.out(forReader(io, planText(choice?.policy ?? "none", pending, [], false)));
  }
  const healthy = drifted.length === 0 && (pending === undefined || pending.proof.holds);
  if (!healthy) return exitCode("no");
  return exitCode(pending !== undefined && pending.steps.length > 0 ? "other" : "ok");
}

export async function runPolicies(o: SilenceOptions, io: Io): Promise<number> {
  const some = o.vip === undefined && o.cluster === undefined ? { ...o, vip: ["192.0.2.100"] } : o;
  const { facts, asked } = await hostOf(some);
  const owned = (await journalState(o, io))?.owned ?? [];
  const world = worldHere(o, facts, []);
  const considered = consider({ world, owned: vipsOnly(owned), wish: asked.wish, kernel: kernelModel });
  if (o.json) json(io, considered);
  else
    for (const c of considered) {
      const below = `     ${" ".repeat(14)} `;
      const more = [c.suits ? `cost ${c.cost}` : c.why, ...c.notes.map((n) => `note: ${n}`)];
      const head = `${c.suits ? "yes" : "no "}  ${c.policy.padEnd(14)} ${c.summary}`;
      io.out(forReader(io, `${[head, ...more.map((m) => below + m)].join("\n")}\n`));
    }
  return exitCode(considered.some((c) => c.suits) ? "ok" : "no");
}

export async function runHide(link: string, o: SilenceOptions, io: Io, reveal: boolean): Promise<number> {
  unhurried(io);
  needNetAdmin(reveal ? "cannot reveal" : "cannot hide");
  let way = reveal ? "reveal" : "hide";
  let notes: readonly string[] = [];
  const outcome = await run(portsOf(o), {
    direction: reveal ? "undo" : "apply",
    paths: [],
    kernel: kernelModel,
    force: o.force === true,
    plan: (world, owned) => {
      const own = owned.filter((c) => purposeOf(c) === hidePurpose(link));
      const request: HideRequest = { world, owned: own, link, kernel: kernelModel, programs: programsHere() };
      if (reveal) return planReveal(request);
      const choice = planHide(request);
      if (!choice.ok)
        throw new HostError("hide/no-input", choice.why, { remedy: "see `ip address` and `vipward policies`" });
      ({ way, notes } = choice);
      return choice.plan;
    },
  });
  return outcomeStatus(outcome, io, o.json === true, way, notes);
}

export async function runRender(o: SilenceOptions, io: Io): Promise<number> {
  const target = targets.find((t) => t === o.to) as Target | undefined;
  if (target === undefined) throw usage(`cannot render to "${o.to}"`, `use one of ${targets.join(", ")}`);
  const { facts, asked } = await hostOf(o);
  const world = worldOf(facts);
  // On the bare host, so that what is printed is all of it.
  const owned = vipsOnly((await journalState(o, io))?.owned ?? []);
  const choice = planFor(asked.policy, { world, owned, wish: asked.wish, kernel: kernelModel });
  if (!("plan" in choice)) throw noPolicy(choice.considered);
  const policy = policyNamed(choice.policy);
  const steps = policy?.steps(situationOf(world, asked.wish, kernelModel)) ?? [];
  const old = !has(releaseOf(facts.kernel.generation, facts.kernel.release), "2.4.0");
  const rendered = render(target, inOrder(steps), old);
  if (o.json) json(io, { policy: choice.policy, ...rendered });
  else
    for (const file of rendered.files)
      io.out(file.path === "" ? file.text : `# ${file.path} (mode ${file.mode.toString(8)})\n${file.text}\n`);
  for (const c of rendered.notCovered) io.err(`not said by ${target}: ${describe(c)}\n`);
  return exitCode("ok");
}

export async function runConfirm(o: SilenceOptions, io: Io): Promise<number> {
  const ports = portsOf(o);
  const outcome = await confirm(ports);
  if (outcome.kind === "confirmed") {
    // If the run that waited is dead, nobody else will write the last word.
    const recovered = await recover(ports, kernelModel);
    io.out(
      `run ${outcome.run} is kept${recovered === "busy" || recovered === undefined ? "" : " (its process had died)"}\n`,
    );
    return exitCode("ok");
  }
  io.err(outcome.kind === "late" ? `too late: run ${outcome.run} is being taken back\n` : "no run waits for a word\n");
  return exitCode("no");
}
