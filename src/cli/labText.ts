/** A lab's story as text, one function per kind of event. */
import {
  type ChapterReport,
  LAB_PREFIX,
  type LabEvent,
  type LabMachine,
  type TrafficStep,
  type Verdict,
  type WhoHasStep,
} from "../lab/report.ts";
import type { Paint } from "./colour.ts";
import { plural } from "./plural.ts";
import { wrap } from "./work/wrap.ts";

const methodNames: Readonly<Record<string, string>> = {
  dr: "LVS/DR: the director changes the MAC, nothing else",
  tun: "LVS/TUN: the director wraps the packet in IP, so real servers may be anywhere",
  nat: "LVS/NAT",
};

const pad = (text: string, width: number): string => text.padEnd(width);
const percent = (part: number, whole: number): string => (whole === 0 ? "-" : `${Math.round((100 * part) / whole)}%`);
const counts = (record: Readonly<Record<string, number>>): string =>
  Object.entries(record)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, n]) => `${name} ${n}`)
    .join(", ");

function machineLines(machines: readonly LabMachine[], p: Paint): string {
  const width = Math.max(...machines.map((m) => m.name.length)) + 2;
  const rows = machines.map(
    (m) =>
      `    ${p.bold(pad(m.name, width))}${pad(m.role, 12)}${pad(m.macs[0] ?? "", 19)}${p.dim(`${m.wires.join(", ")}: `)}${m.addresses.join("  ")}`,
  );
  return `  ${p.bold("1  The LAN")}\n${rows.join("\n")}\n`;
}

function whoHasLines(steps: readonly WhoHasStep[], p: Paint): string {
  return steps
    .map(({ vip, asked, shares }) => {
      const good = shares.length === 1;
      const head = `    who has ${vip}? asked ${asked} times, ${(good ? p.green : p.red)(
        shares.length === 0
          ? "nobody answered"
          : shares.length === 1
            ? "one machine answered"
            : `${shares.length} machines answered`,
      )}\n`;
      return (
        head +
        shares
          .map(
            (s) =>
              `      ${pad(s.machine, 10)}${s.mac}  answered ${s.answers}, first ${s.first} (${percent(s.first, asked)})\n`,
          )
          .join("")
      );
    })
    .join("");
}

function trafficLines(t: TrafficStep, p: Paint): string {
  const broken = t.refused + t.reset + t.hung;
  const colour = (bad: boolean): ((text: string) => string) => (bad ? p.red : p.green);
  const lines = [
    `    ${t.connections} connections, ${t.longLived} of them long-lived, in ${(t.tookMs / 1000).toFixed(1)} s while neighbour caches expire`,
    `      opened at the director            ${colour(t.openedAtDirector < t.connections)(String(t.openedAtDirector))}`,
    `      reached a real server directly    ${colour(t.bypassedDirector > 0)(String(t.bypassedDirector))}`,
    `      changed machine in the middle     ${colour(t.changedMachine > 0)(String(t.changedMachine))}`,
    `      broken                            ${colour(broken > 0)(
      broken === 0
        ? "0"
        : `${broken}  (reset ${t.reset}, hung ${t.hung}, refused ${t.refused}; ${t.longLivedBroken} of the long-lived)`,
    )}`,
  ];
  if (Object.keys(t.leaks).length > 0)
    lines.push(`      ${p.red("leaked")}: ARP requests in the VIP's name from ${counts(t.leaks)}`);
  for (const s of t.services) lines.push(`      served for ${s.vip}:${s.port} (${s.scheduler}): ${counts(s.served)}`);
  return `${lines.join("\n")}\n`;
}

function proofLines(step: ChapterReport["proof"], p: Paint): string {
  const lines = step.reach.map(
    (r) =>
      `      ${pad(r.realServer, 10)}${pad(r.rip, 16)}answered by ${r.answeredBy.join(", ") || p.red("nobody")}; reaches ${
        r.reached.join(", ") || p.red("nobody")
      }`,
  );
  const counted = step.counts.map(
    (c) => `      ${pad(c.realServer, 10)}${c.engine} counted ${c.counted} packets, the wire saw ${c.seen}`,
  );
  return `  ${p.bold("5  The proof")}\n${whoHasLines(step.whoHas, p)}${trafficLines(step.traffic, p)}    the real servers themselves\n${lines.join(
    "\n",
  )}\n    packets sent on\n${counted.join("\n")}\n`;
}

/** One line a verdict where the longest fits in `columns`; else what was measured goes below its title. */
export function verdictTable(verdicts: readonly Verdict[], p: Paint, columns = Number.POSITIVE_INFINITY): string {
  const indent = " ".repeat("    FAILED  ".length);
  const width = Math.max(...verdicts.map((v) => v.title.length)) + 2;
  const fits = indent.length + width + Math.max(...verdicts.map((v) => v.measured.length)) <= columns;
  return verdicts
    .map(({ held, title, measured }) => {
      const head = `    ${held ? p.green("held  ") : p.red("FAILED")}  `;
      return fits
        ? `${head}${pad(title, width)}${p.dim(measured)}\n`
        : `${head}${title}\n${wrap(measured, `${indent}  `, columns).trimEnd().split("\n").map(p.dim).join("\n")}\n`;
    })
    .join("");
}

/** The text of one event, or "" for those that only matter to a live display. `columns`: the terminal's, if it is one. */
export function eventText(event: LabEvent, p: Paint, columns?: number): string {
  switch (event.kind) {
    case "chapter":
      return `\n${p.bold(methodNames[event.forwarding] ?? event.forwarding)}\n  ${p.dim(`engine ${event.engine}, kernel ${event.kernel}`)}\n\n`;
    case "machines":
      return machineLines(event.machines, p);
    case "problem":
      return `  ${p.bold("2  The problem")}: no ARP discipline, so every holder of the VIP answers for it\n${whoHasLines(
        event.step.whoHas,
        p,
      )}${trafficLines(event.step.traffic, p)}`;
    case "leak": {
      const s = event.step;
      const only = s.whoHas.length === 1;
      const owners = s.whoHas.map((w) => w.machine).join(", ") || "nobody";
      return `  ${p.bold("3  The leak")}: half a cure (arp_ignore only), and ${only ? "nothing looks wrong" : "the answers have not stopped"}\n    who has ${s.vip}? ${
        only ? `only ${owners} answers` : `answered by ${owners}`
      }\n    then ${s.realServer} says one word in the VIP's name: ${s.leaked} ARP request${
        s.leaked === 1 ? "" : "s"
      } "tell ${s.vip}"\n    ${s.neighbour}'s cache for the VIP: ${s.before} -> ${(s.before === s.after ? p.green : p.red)(s.after)}\n`;
    }
    case "cure": {
      const s = event.step;
      const rows = s.changes
        .map((c) => `      ${pad(c.machine, 10)}${pad(c.what, 40)}${c.before} -> ${c.after}\n`)
        .join("");
      // on the model changing something takes no time
      const took = s.tookMs === 0 ? "" : ` in ${s.tookMs.toFixed(1)} ms`;
      return `  ${p.bold("4  The cure")}: policy ${s.policy}${s.cure === "full" ? "" : p.yellow(` (${s.cure})`)}, ${plural(s.changes.length, "change")}${took}\n${rows}`;
    }
    case "proof":
      return proofLines(event.step, p);
    case "verdicts":
      return `  ${p.bold("Verdict")}\n${verdictTable(event.verdicts, p, columns)}`;
    case "kept":
      return `\nLeft standing. Enter a machine, and take all of it away again, with:\n${event.machines
        .map((m) => `    ip netns exec ${m.namespace} bash    # ${m.name}\n`)
        .join("")}    vipward lab --clean${event.prefix === LAB_PREFIX ? "" : ` --prefix ${event.prefix}`}\n`;
    case "report": {
      const r = event.report;
      const left = r.leftOut.map((text) => `  ${p.yellow("left out")}: ${text}\n`).join("");
      const all = r.chapters.flatMap((c) => c.verdicts);
      const held = all.filter((v) => v.held).length;
      return `\n${left}${(r.held ? p.green : p.red)(
        r.held ? `All ${all.length} verdicts held` : `${all.length - held} of ${all.length} verdicts failed`,
      )} in ${(r.tookMs / 1000).toFixed(1)} s${r.backend === "sim" ? " of virtual time" : ""} (${r.backend}, kernel ${r.kernel}).\n`;
    }
    case "progress":
      return "";
  }
}
