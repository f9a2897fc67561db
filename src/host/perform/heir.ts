/** The heir of an unconfirmed run: a process of its own session, which no hang-up and no Ctrl-C reaches. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Heirs } from "../../ports/apply.ts";
import { HostError } from "../errors.ts";

/** `command` gives the arguments of node for a run's number and the process to outlive. */
export const processHeirs = (command: (run: number, parent: string) => readonly string[]): Heirs => ({
  appoint: async (run) => {
    const child = spawn(process.execPath, [...command(run, processMark(process.pid) ?? "")], {
      detached: true,
      stdio: "ignore",
      cwd: "/",
    });
    await started(child);
    child.unref();
    return { dismiss: () => void child.kill() };
  },
});

const started = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) =>
      reject(
        new HostError("heir/missing", `cannot start the process that would take it back: ${cause.message}`, {
          remedy: "free some memory or processes, or apply without --confirm",
          cause,
        }),
      ),
    );
  });

/** "PID:STARTTIME", which no other process ever has; undefined when it is gone. A zombie is gone. */
export function processMark(pid: number): string | undefined {
  try {
    // The name, in parentheses, may hold anything.
    const [state, ...rest] = readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    return state === "Z" || state === "X" ? undefined : `${pid}:${rest[18]}`;
  } catch {
    return undefined;
  }
}

export const isAlive = (mark: string): boolean => processMark(Number(mark.split(":")[0])) === mark;
