/** A scenario's outcome and an exploration's findings as text. */
import type { LabFault } from "../cluster/cluster.ts";
import { faultValues } from "../cluster/words.ts";
import type { ExploreReport, Story } from "../lab/sim/explore.ts";
import { describeFault } from "../lab/sim/faults.ts";
import type { ScenarioOutcome, TimelineEntry } from "../lab/sim/scenario.ts";
import { line } from "../plan/render/shell.ts";
import type { Paint } from "./colour.ts";
import { plural } from "./plural.ts";

/** 3,723,004 ms as 01:02:03.004. */
export const clock = (ms: number): string => {
  const seconds = Math.floor(ms / 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${String(ms % 1000).padStart(3, "0")}`;
};

export const timelineText = (timeline: readonly TimelineEntry[], p: Paint, indent = "  "): string =>
  timeline
    .map(({ atMs, text }) => `${indent}${p.dim(clock(atMs))}  ${text.startsWith("LAW") ? p.red(text) : text}\n`)
    .join("");

export function scenarioText(name: string, o: ScenarioOutcome, p: Paint): string {
  const { connections: c } = o;
  const bad = (count: number): string => (count === 0 ? p.green : p.red)(String(count));
  const owners = Object.entries(o.owners)
    .map(
      ([vip, who]) =>
        `  ${vip} is answered for by ${who.length === 1 ? p.green(who.join()) : p.red(who.join(", ") || "nobody")}\n`,
    )
    .join("");
  const caches = Object.entries(o.caches)
    .map(
      ([who, of]) =>
        `  ${who}'s cache: ${Object.entries(of)
          .map(([vip, whose]) => `${vip} -> ${whose}`)
          .join(", ")}\n`,
    )
    .join("");
  return [
    `\n${p.bold(name)}\n`,
    timelineText(o.timeline, p),
    `\n${p.bold("At the end")}\n`,
    owners,
    caches,
    `  ${plural(c.total, "connection")}: ${c.completed} completed, ${bad(c.broken)} broken, ${bad(c.refused)} refused${c.failed === undefined ? "" : `, ${bad(c.failed)} got an error for an answer`}; ${bad(c.misrouted)} reached a real server directly\n`,
    `  served by ${countsText(c.servedBy)}\n`,
    o.datagrams === undefined ? "" : datagramText(o.datagrams),
    Object.keys(o.leaks).length === 0 ? "" : `  asked in the VIP's name: ${countsText(o.leaks)}\n`,
    o.breaches.length === 0
      ? `  ${p.green("no law was broken")}\n`
      : `  ${p.red(`${plural(o.breaches.length, "law")} broken`)}: ${o.breaches.map((b) => `${b.law} by ${b.host} at ${clock(b.atMs)}`).join("; ")}\n`,
  ].join("");
}

const countsText = (of: Readonly<Record<string, number>>): string =>
  Object.entries(of)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([who, n]) => `${who} ${n}`)
    .join(", ") || "nobody";

function datagramText({ asked, answered, takenBy }: NonNullable<ScenarioOutcome["datagrams"]>): string {
  return `  ${plural(asked, "question")} by udp: ${answered} answered; taken by ${countsText(takenBy)}\n`;
}

/** What comes after the breach is another story. */
function upTo({ outcome, law, host }: Story): readonly TimelineEntry[] {
  const breach = outcome.breaches.find((b) => b.law === law && b.host === host);
  const end = outcome.timeline.findIndex((t) => t.text === `LAW BROKEN, ${law}: ${host} ${breach?.what}`);
  return outcome.timeline.slice(0, end + 1);
}

/** As `lab.scenario` of the cluster file, told by `vipward sim` exactly as it was found. */
function pasteIn(r: ExploreReport, { faults, options }: Story): string {
  const lines = faults.map(
    (f) =>
      `      - { at: ${f.atMs / 1000}, do: ${f.action}, host: ${f.host}${f.name === "" ? "" : `, name: ${f.name}`}${takesValue(f) ? `, value: ${f.value}` : ""} }  # ${describeFault(f)}\n`,
  );
  const how = `vipward sim${options.silenced ? "" : " --cure none"} --forwarding ${r.forwarding}`;
  return [
    `again with \`${how}\`, as part of the cluster file:\nlab:\n  scenario:\n`,
    `    seconds: ${options.durationMs / 1000}\n    seed: ${options.seed}\n    connectEveryMs: ${options.connectEveryMs}\n`,
    `    longLived: ${options.longLived}\n    askEveryMs: ${options.askEveryMs}\n`,
    options.guard === undefined ? "" : `    guard: ${options.guard}\n`,
    lines.length === 0 ? "" : `    faults:\n${lines.join("")}`,
  ].join("");
}

const takesValue = ({ action, value }: LabFault): boolean => {
  const takes = faultValues[action];
  return takes !== undefined && (takes.optional !== true || value !== 0);
};

/** The whole schedule that a story was cut down from, as it was drawn. */
function replayOf(file: string, r: ExploreReport, { run, options }: Story): string {
  const flags = [...(options.guard === "heal" ? ["--guard"] : []), ...(options.silenced ? [] : ["--no-silence"])];
  const drawn = ["--seed", `${r.seed}`, "--minutes", `${r.durationMs / 60_000}`];
  return line("vipward", "explore", file, ...drawn, ...flags, "--replay", `${run}`);
}

/** `fold`: makes lines fit; what is to be pasted into a file stays as it is. */
export function exploreText(file: string, r: ExploreReport, p: Paint, fold = (text: string): string => text): string {
  const head = `${plural(r.runs, "schedule")} of ${clock(r.durationMs).slice(0, 8)}, ${r.events} events: ${r.sound} broke no law\n`;
  const stories = r.stories.map((s, i) => {
    const title = `${i + 1}. ${s.law}, by ${s.host}`;
    const faults =
      s.faults.length === 0
        ? "without any fault"
        : `${s.faults.length} of ${plural(s.faultsBefore, "fault")} ${s.cutDown ? "needed" : "left when it was interrupted"}`;
    const told = `\n${p.bold(title)}: in ${plural(s.times, "schedule")}; ${faults} (seed ${r.seed}, run ${s.run})\n${timelineText(upTo(s), p, "     ")}`;
    return `${fold(told)}the whole schedule: ${replayOf(file, r, s)}\n${pasteIn(r, s)}`;
  });
  return fold(head) + stories.join("");
}
