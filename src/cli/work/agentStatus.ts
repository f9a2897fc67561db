/** The work behind `vipward status` where an agent runs: what it says of itself and the cluster. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentStatus, InstanceReport, ServerStatus, ServiceStatus } from "../../agent/status.ts";
import { askAgent } from "../../host/agent/control.ts";
import { type Paint, paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { eventText } from "./agentControl.ts";

export interface AgentStatusFlags {
  readonly socket: string;
  readonly watch?: boolean;
  readonly json?: boolean;
}

const duration = (ms: number): string => {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
};
const thousands = (n: number): string =>
  Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, " ");

function instanceText(i: InstanceReport, p: Paint): string {
  const mark =
    i.phase === "master" || i.phase === "sole" ? p.green(i.phase) : i.phase === "backup" ? i.phase : p.red(i.phase);
  const vips = `${i.vips.slice(0, 4).join(", ")}${i.vips.length > 4 ? ` and ${i.vips.length - 4} more` : ""}`;
  if (i.phase === "sole") return `${p.bold(vips)} on ${i.link}: ${mark}, the only director\n`;
  const since = i.forMs === undefined ? "" : ` for ${duration(i.forMs)}`;
  const lowered =
    i.effectivePriority === i.priority
      ? ""
      : ` (${i.priority} in the file${i.switchedOver === true ? ", switched over" : ""})`;
  const lines = [
    `${p.bold(i.name)} ${vips} on ${i.link}: ${mark}${since}, owner ${i.owner ?? p.yellow("not heard yet")}`,
    `  VRRP ${i.version} id ${i.id}, every ${i.intervalMs} ms, priority ${i.effectivePriority}${lowered}${i.why === undefined ? "" : `; last: ${i.why}`}`,
  ];
  for (const peer of i.peers ?? [])
    lines.push(
      `  peer ${peer.address} priority ${peer.priority}, heard ${duration(peer.heardAgoMs)} ago, checksum of ${peer.checksum}`,
    );
  if (i.conflicts > 0) lines.push(p.red(`  ${i.conflicts} other machines claim these VIPs`));
  if (i.unverified > 0) lines.push(p.yellow(`  ${i.unverified} VIPs not confirmed by a neighbour yet`));
  return `${lines.join("\n")}\n`;
}

function healthText(s: ServerStatus, p: Paint): string {
  if (s.health === "up") return p.green("up");
  if (s.health === "down") return s.held ? p.yellow("down, held in") : p.red("down");
  return s.health === "sorry" ? p.yellow("sorry") : p.dim("unknown");
}

function serverLine(s: ServerStatus, p: Paint, width: number): string {
  const t = s.traffic;
  const weight = s.weight === undefined ? "-" : String(s.weight);
  const rates = t === undefined ? "" : `${thousands(t.connectionRate)}/s`;
  const load =
    t === undefined
      ? ""
      : `${thousands(t.activeConnections)} active, ${thousands(t.inactiveConnections)} closing, ${rates}`;
  const drain = s.drain === "none" ? "" : ` ${p.yellow(s.drain)}`;
  const why = s.health === "up" && s.drain === "none" ? "" : `  ${p.dim(s.why)}`;
  return `  ${s.name.padEnd(width)} ${s.address.padEnd(21)} ${s.forwarding.padEnd(3)} weight ${weight.padStart(3)}  ${healthText(s, p)}${drain}  ${load}${why}`;
}

function serviceText(s: ServiceStatus, p: Paint): string {
  const quorum =
    s.quorum === "lost" ? p.red("quorum lost") : s.quorum === "held" ? "quorum held" : p.dim("quorum unknown");
  const alarm = s.alarm ? ` ${p.red("KILL-SWITCH: too many fail at once")}` : "";
  const width = Math.max(4, ...s.servers.map((x) => x.name.length));
  const lines = [`${p.bold(s.name)} ${s.key} ${s.scheduler}: ${quorum}${alarm}`];
  return `${[...lines, ...s.servers.map((x) => serverLine(x, p, width))].join("\n")}\n`;
}

export function statusText(s: AgentStatus, p: Paint): string {
  const parts = [`${p.bold(s.host)}, ${s.role} of ${s.cluster}, up ${duration(s.forMs)}\n`];
  if (s.configuration.error !== undefined)
    parts.push(
      p.red(
        `the file has errors, the configuration of ${s.configuration.loadedAt} stays in force:\n${s.configuration.error}\n`,
      ),
    );
  if (s.silence !== undefined)
    parts.push(
      `silence: ${s.silence.state === "silent" ? p.green("kept") : p.yellow(s.silence.state)}: ${s.silence.text}\n`,
    );
  parts.push(...s.instances.map((i) => instanceText(i, p)));
  for (const g of s.guilty)
    parts.push(
      p.red(`NOT SILENT: ${g.who} ${g.how === "answers" ? "answers for" : "names"} ${g.vip} (${g.seen} times)\n`),
    );
  parts.push(...s.services.map((x) => serviceText(x, p)));
  if (s.foreign.length > 0) parts.push(`left alone, not in the file: ${s.foreign.slice(0, 10).join(", ")}\n`);
  if (s.events.length > 0) parts.push("last events:\n", ...s.events.slice(-8).map((e) => `  ${eventText(e, p)}`));
  return parts.join("");
}

/** Healthy: every VIP has an owner, every quorum is held, everybody is silent, the file has no errors. */
export function isHealthy(s: AgentStatus): boolean {
  const owned = s.instances.every((i) => i.conflicts === 0 && (i.phase === "sole" || i.owner !== undefined));
  const served = s.services.every((x) => x.quorum !== "lost" && !x.alarm);
  const silent = s.guilty.length === 0 && (s.silence === undefined || ["silent", "changed"].includes(s.silence.state));
  return owned && served && silent && s.configuration.error === undefined;
}

async function once(flags: AgentStatusFlags, io: Io): Promise<AgentStatus | undefined> {
  const answer = await askAgent(flags.socket, { command: "status" }, { signal: io.signal });
  if (answer.ok) return answer.value as AgentStatus;
  io.err(`vipward: ${answer.error?.message ?? "the agent refused"}\n`);
  return undefined;
}

export async function runAgentStatus(flags: AgentStatusFlags, io: Io): Promise<number> {
  for (;;) {
    const status = await once(flags, io);
    if (status === undefined) return exitCode("system");
    if (flags.json === true)
      io.out(flags.watch === true ? `${JSON.stringify(status)}\n` : `${JSON.stringify(status, null, 2)}\n`);
    else
      io.out(`${flags.watch === true && io.isTerminal ? "\x1b[H\x1b[2J" : ""}${statusText(status, paint(io.colour))}`);
    if (flags.watch !== true) return exitCode(isHealthy(status) ? "ok" : "no");
    try {
      await sleep(1000, undefined, { signal: io.signal });
    } catch {
      return exitCode("ok"); // Ctrl-C is how a watch ends
    }
  }
}
