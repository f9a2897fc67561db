/** `vipward status` for somebody who was woken up: what is wrong first, then who owns what, who serves, what happened. */

import type { AgentStatus, InstanceReport, ServerStatus, ServiceStatus, StampedEvent } from "../../agent/status.ts";
import { few } from "../../base/few.ts";
import type { Paint } from "../colour.ts";
import { plural } from "../plural.ts";
import { wrap } from "./wrap.ts";

export interface StatusLayout {
  readonly columns: number;
  /** Every server and every service, also where all is well with them. */
  readonly all: boolean;
}

export const duration = (ms: number): string => {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
};
const ago = (ms: number): string => (ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms));
const thousands = (n: number): string =>
  Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, " ");
const scaled = (n: number): string => {
  if (n < 10_000) return String(Math.round(n));
  const [unit, size] = n < 1e6 ? ["k", 1e3] : n < 1e9 ? ["M", 1e6] : (["G", 1e9] as const);
  return `${(n / Number(size)).toFixed(n / Number(size) < 10 ? 1 : 0)} ${unit}`;
};
const two = (n: number): string => String(n).padStart(2, "0");
/** The clock on the wall; the day where it is another. */
function clock(at: Date, now: Date): string {
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const isToday = at.toDateString() === now.toDateString();
  return isToday ? time : `${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

// ---- what is wrong --------------------------------------------------------------------------------------------------

interface Wrong {
  readonly subject: string;
  readonly text: string;
  readonly remedy?: string;
}

/** By then the first answers are there, but where the file asks very seldom. */
const unknownForMs = 5 * 60_000;
const namesOf = (servers: readonly ServerStatus[]): string =>
  `${servers[0]?.name}${servers.length > 1 ? ` and ${servers.length - 1} more` : ""}`;

/** What the quorum does not see: the table is not as it should be, or nobody serves though nobody fails. */
function notServed({ name: subject, quorum, servers }: ServiceStatus): Wrong[] {
  const found: Wrong[] = [];
  const refused = servers.filter((x) => x.weight !== x.wantedWeight);
  if (refused.length > 0) {
    const text = `the kernel's table has not the weight that it should have for ${namesOf(refused)}`;
    found.push({ subject, text, remedy: "vipward events names what the kernel refuses; vipward reload tries anew" });
  }
  const unasked = servers.filter((x) => x.health === "unknown" && x.drain === "none");
  const stuck = unasked.filter((x) => x.forMs >= unknownForMs);
  if (stuck.length > 0) {
    const text = `checks have not answered yet, after ${duration(unknownForMs)} and more, of ${namesOf(stuck)}`;
    found.push({ subject, text, remedy: "vipward events names what keeps a check from being made" });
  }
  const isIdle = refused.length === 0 && unasked.length === 0 && servers.every((x) => (x.weight ?? 0) === 0);
  if (isIdle && quorum !== "lost" && servers.length > 0)
    found.push({
      subject,
      text: "no server takes new connections: each is drained or has weight 0",
      remedy: "vipward undrain takes a server back",
    });
  return found;
}

/** What keeps clients from being served, or soon may: any of it, and the exit status is 1. */
export function wrongs(s: AgentStatus): Wrong[] {
  const found: Wrong[] = [];
  for (const i of s.instances) {
    if (i.conflicts > 0)
      found.push({
        subject: i.name,
        text: `${plural(i.conflicts, "other machine")} claim${i.conflicts === 1 ? "s" : ""} VIPs that this host holds`,
        remedy: "vipward who-has VIP names every machine that answers",
      });
    if (i.phase !== "sole" && i.owner === undefined)
      found.push({ subject: i.name, text: "no director is known to own its VIPs" });
  }
  for (const g of s.guilty)
    found.push({
      subject: g.who,
      text: `${g.how === "answers" ? "answers ARP for" : "names in its own ARP"} ${g.vip}, ${g.seen} times`,
      remedy: "on that machine: vipward check, then vipward apply",
    });
  for (const service of s.services) {
    if (service.quorum === "lost")
      found.push({ subject: service.name, text: "the quorum is lost: too few servers are healthy" });
    found.push(...notServed(service));
    if (service.alarm)
      found.push({
        subject: service.name,
        text: "kill-switch: too many failed at once, the failing ones are kept in",
        remedy: `checker or servers? vipward release ${service.name} lets the servers go`,
      });
  }
  found.push(...s.problems);
  const { silence, configuration } = s;
  if (silence !== undefined && !["silent", "changed"].includes(silence.state))
    found.push({ subject: s.host, text: `silence ${silence.state}: ${silence.text}`, remedy: "vipward check" });
  if (configuration.error !== undefined)
    found.push({
      subject: "cluster file",
      text: `has errors, that of ${configuration.loadedAt} stays in force: ${configuration.error.split("\n")[0]}`,
      remedy: "mend the file, then vipward reload",
    });
  return found;
}
export const isHealthy = (s: AgentStatus): boolean => wrongs(s).length === 0;

const isWell = (x: ServerStatus): boolean => x.health === "up" && x.drain === "none" && x.weight === x.wantedWeight;

// ---- text -----------------------------------------------------------------------------------------------------------

const indented = (text: string, by: number, columns: number): string[] =>
  wrap(text, " ".repeat(by), columns).trimEnd().split("\n");

function headText(s: AgentStatus, p: Paint, now: Date): string[] {
  const bad = wrongs(s).length;
  const ill = new Set(s.services.flatMap((x) => x.servers.filter((y) => y.health === "down").map((y) => y.name))).size;
  const verdict =
    bad > 0
      ? p.red(`${plural(bad, "thing")} wrong`)
      : ill > 0
        ? p.yellow(`served, ${plural(ill, "server")} down`)
        : s.services.some((x) => x.quorum === "unknown")
          ? p.yellow("not everything is known yet")
          : p.green("all well");
  const role = s.role === "realServer" ? "real server" : s.role === "both" ? "director and real server" : "director";
  return [`${p.bold(s.host)}, ${role} of ${s.cluster}: ${verdict}; up ${duration(s.forMs)}, ${clock(now, now)}`];
}

function wrongText(s: AgentStatus, p: Paint, columns: number): string[] {
  return wrongs(s).flatMap(({ subject, text, remedy }) => [
    ...indented(`${subject}: ${text}`, 2, columns).map(p.red),
    ...(remedy === undefined ? [] : indented(`-> ${remedy}`, 4, columns)),
  ]);
}

function instanceText(i: InstanceReport, p: Paint, columns: number): string[] {
  const good = i.phase === "master" || i.phase === "sole";
  const phase = good ? p.green(i.phase) : i.phase === "backup" ? i.phase : p.red(i.phase);
  const vips = few(i.vips, 4);
  if (i.phase === "sole") return [`  ${p.bold(vips)} on ${i.link}: ${phase}, the only director`];
  const since = i.forMs === undefined ? "" : ` for ${duration(i.forMs)}`;
  const lowered = i.effectivePriority === i.priority ? "" : ` (${i.priority} in the file)`;
  const switched = i.switchedOver === true ? "; handed over by hand, vipward switchover --release undoes it" : "";
  const details = [
    `VRRP ${i.version} id ${i.id}, every ${i.intervalMs} ms, priority ${i.effectivePriority}${lowered}${switched}`,
    ...(i.why === undefined ? [] : [`last: ${i.why}`]),
    ...(i.fault === undefined ? [] : [`fault: ${i.fault}`]),
  ];
  const peers = (i.peers ?? []).map((x) => `peer ${x.address} priority ${x.priority}, heard ${ago(x.heardAgoMs)} ago`);
  return [
    `  ${p.bold(vips)} on ${i.link}: ${phase}${since}, owner ${i.owner ?? p.yellow("not heard yet")}`,
    ...[details.join("; "), ...peers].flatMap((text) => indented(text, 4, columns)),
    ...(i.unverified > 0 ? [p.yellow(`    ${plural(i.unverified, "VIP")} not confirmed by a neighbour yet`)] : []),
  ];
}

interface Column {
  readonly head: string;
  readonly right?: true;
  /** Left out below this width. */
  readonly from?: number;
  readonly of: (x: ServerStatus) => string;
}
const health = (x: ServerStatus): string => {
  const state = x.drain === "none" ? x.health : x.health === "down" ? `down, ${x.drain}` : x.drain;
  return `${x.held ? "down, held in" : state}${x.health === "sorry" ? "" : ` ${duration(x.forMs)}`}`;
};
const columnsOf: readonly Column[] = [
  { head: "server", of: (x) => x.name },
  { head: "address", of: (x) => x.address },
  { head: "way", of: (x) => x.forwarding },
  {
    head: "weight",
    right: true,
    of: (x) =>
      x.weight === x.wantedWeight || x.wantedWeight === undefined
        ? String(x.weight ?? "-")
        : `${x.weight ?? "-"} of ${x.wantedWeight}`,
  },
  { head: "health", of: health },
  { head: "active", right: true, of: (x) => (x.traffic ? thousands(x.traffic.activeConnections) : "") },
  { head: "closing", right: true, of: (x) => (x.traffic ? thousands(x.traffic.inactiveConnections) : "") },
  { head: "new/s", right: true, of: (x) => (x.traffic ? scaled(x.traffic.connectionRate) : "") },
  { head: "pkt/s", right: true, from: 90, of: (x) => (x.traffic ? scaled(x.traffic.packetRate) : "") },
  { head: "bit/s", right: true, from: 100, of: (x) => (x.traffic ? scaled(8 * x.traffic.octetRate) : "") },
];

function colourOf(x: ServerStatus, p: Paint): (text: string) => string {
  if (isWell(x)) return p.green;
  if (x.health === "down" && !x.held) return p.red;
  return x.health === "unknown" ? p.dim : p.yellow;
}

function serverTable(servers: readonly ServerStatus[], p: Paint, columns: number): string[] {
  const shown = columnsOf.filter((c) => columns >= (c.from ?? 0));
  const width = (c: Column): number => Math.max(c.head.length, ...servers.map((x) => c.of(x).length));
  const widths = shown.map(width);
  const pad = (text: string, n: number): string => {
    const c = shown[n];
    return c?.right === true ? text.padStart(widths[n] ?? 0) : text.padEnd(widths[n] ?? 0);
  };
  // Two octets between columns, one where it would not fit.
  const gap = 4 + widths.reduce((sum, w) => sum + w, 0) + 2 * (shown.length - 1) <= columns ? "  " : " ";
  const line = (cells: readonly string[]): string => `    ${cells.join(gap)}`.trimEnd();
  return [
    p.dim(line(shown.map((c, n) => pad(c.head, n)))),
    ...servers.flatMap((x) => {
      const cells = shown.map((c, n) => {
        const cell = pad(c.of(x), n);
        return c.head === "health" ? colourOf(x, p)(cell) : cell;
      });
      const tells = !isWell(x) && x.why !== "";
      return [line(cells), ...(tells ? indented(x.why, 6, columns).map(p.dim) : [])];
    }),
  ];
}

const mostServers = 12;
const mostServices = 20;

function serviceText(s: ServiceStatus, p: Paint, { columns, all }: StatusLayout): string[] {
  const quorum =
    s.quorum === "lost" ? p.red("quorum lost") : s.quorum === "held" ? "quorum held" : p.dim("quorum not known yet");
  const alarm = s.alarm ? `, ${p.red("kill-switch")}` : "";
  // Who is ill comes first, whatever the file's order is.
  const sorted = [...s.servers].sort((a, b) => Number(isWell(a)) - Number(isWell(b)));
  const ill = sorted.filter((x) => !isWell(x)).length;
  const shown = all ? s.servers : sorted.slice(0, Math.max(mostServers, Math.min(ill, 3 * mostServers)));
  const rest = s.servers.filter((x) => !shown.includes(x));
  const active = rest.reduce((sum, x) => sum + (x.traffic?.activeConnections ?? 0), 0);
  const restIll = rest.filter((x) => !isWell(x)).length;
  const more = `    and ${plural(rest.length, "server")} more, ${restIll === 0 ? "all up" : `${restIll} of them not well`}, ${thousands(active)} active connections (--all)`;
  return [
    `  ${p.bold(s.name)}  ${s.key}  ${s.scheduler}: ${quorum}${alarm}, ${s.servers.filter(isWell).length} of ${s.servers.length} up`,
    ...serverTable(shown, p, columns),
    ...(rest.length > 0 ? [p.dim(more)] : []),
  ];
}

function servicesText(s: AgentStatus, p: Paint, layout: StatusLayout): string[] {
  const isFine = (x: ServiceStatus): boolean => x.quorum === "held" && !x.alarm && x.servers.every(isWell);
  const sorted = [...s.services].sort((a, b) => Number(isFine(a)) - Number(isFine(b)));
  const shown = layout.all ? s.services : sorted.slice(0, mostServices);
  const rest = s.services.length - shown.length;
  const restIll = sorted.slice(mostServices).filter((x) => !isFine(x)).length;
  return [
    ...shown.flatMap((x) => serviceText(x, p, layout)),
    ...(rest > 0
      ? [p.dim(`  and ${plural(rest, "service")} more, ${restIll === 0 ? "all well" : `${restIll} not well`} (--all)`)]
      : []),
  ];
}

const levelColours = { info: "dim", warning: "yellow", alarm: "red" } as const;
function eventLines(e: StampedEvent, p: Paint, columns: number, now: Date): string[] {
  const time = clock(new Date(e.at), now);
  const [first = "", ...rest] = indented(`${e.subject}: ${e.text}`, time.length + 4, columns);
  const mark = e.level === "alarm" ? "!" : e.level === "warning" ? "*" : " ";
  const colour = p[levelColours[e.level]];
  return [
    `${colour(`${mark} ${time}`)}  ${first.trimStart()}`,
    ...rest,
    ...(e.level === "alarm" && e.remedy !== undefined ? indented(`-> ${e.remedy}`, time.length + 4, columns) : []),
  ];
}

const section = (title: string, lines: readonly string[], p: Paint): string[] =>
  lines.length === 0 ? [] : ["", p.bold(title), ...lines];

export function statusLines(s: AgentStatus, p: Paint, layout: StatusLayout, now: Date): string[] {
  const { columns } = layout;
  const silence = s.silence;
  const kept =
    silence === undefined ? [] : indented(`${silence.state}: ${silence.text.split("\n")[0]}`, 2, columns).map(p.green);
  return [
    ...headText(s, p, now),
    ...wrongText(s, p, columns),
    ...(silence !== undefined && ["silent", "changed"].includes(silence.state) ? section("Silence", kept, p) : []),
    ...section(
      "VIPs",
      s.instances.flatMap((i) => instanceText(i, p, columns)),
      p,
    ),
    ...section("Services", servicesText(s, p, layout), p),
    ...(s.foreign.length > 0
      ? indented(`in the kernel's table, not in the file, left alone: ${few(s.foreign, 10)}`, 2, columns).map(p.dim)
      : []),
    ...section(
      "Last events, newest first",
      s.events
        .slice(-10)
        .reverse()
        .flatMap((e) => eventLines(e, p, columns, now)),
      p,
    ),
  ];
}
