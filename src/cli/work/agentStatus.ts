/** The work behind `vipward status` where an agent runs: what it says of itself and the cluster. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentStatus } from "../../agent/status.ts";
import { askAgent } from "../../host/agent/control.ts";
import { HostError } from "../../host/errors.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { isHealthy, statusLines } from "./statusText.ts";

export interface AgentStatusFlags {
  readonly socket: string;
  readonly watch?: boolean;
  readonly json?: boolean;
  readonly all?: boolean;
}

async function once(flags: AgentStatusFlags, io: Io): Promise<AgentStatus | undefined> {
  const answer = await askAgent(flags.socket, { command: "status" }, { signal: io.signal });
  if (answer.ok) return answer.value as AgentStatus;
  io.err(`vipward: ${answer.error?.message ?? "the agent refused"}\n`);
  return undefined;
}

/** Whoever watches wants to see the agent come back, too. */
async function onceOrWhy(flags: AgentStatusFlags, io: Io): Promise<AgentStatus | string | undefined> {
  try {
    return await once(flags, io);
  } catch (error) {
    if (!(error instanceof HostError) || io.signal.aborted) throw error;
    return error.message;
  }
}

/** Written over what stood there, line by line: a screen that is cleared first flickers. */
function screen(lines: readonly string[], rows: number): string {
  const room = Math.max(3, rows - 1);
  const hidden = lines.length - room;
  const shown =
    hidden > 0 ? [...lines.slice(0, room - 1), `... ${hidden + 1} lines more: make the window larger`] : lines;
  return `\x1b[H${shown.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J`;
}

export async function runAgentStatus(flags: AgentStatusFlags, io: Io): Promise<number> {
  const live = flags.watch === true && io.isTerminal;
  if (live && flags.json !== true) io.out("\x1b[2J");
  for (;;) {
    const status = await (live ? onceOrWhy(flags, io) : once(flags, io));
    if (status === undefined) return exitCode("system");
    if (typeof status === "string") io.out(screen([status, "asking again each second; Ctrl-C ends"], io.rows ?? 24));
    else if (flags.json === true)
      io.out(flags.watch === true ? `${JSON.stringify(status)}\n` : `${JSON.stringify(status, null, 2)}\n`);
    else {
      const layout = { columns: io.columns, all: flags.all === true };
      const lines = statusLines(status, paint(io.colour), layout, new Date());
      io.out(live ? screen(lines, io.rows ?? 24) : `${lines.join("\n")}\n`);
    }
    if (flags.watch !== true && typeof status !== "string") return exitCode(isHealthy(status) ? "ok" : "no");
    try {
      await sleep(1000, undefined, { signal: io.signal });
    } catch {
      return exitCode("ok"); // Ctrl-C is how a watch ends
    }
  }
}
