import { HostError } from "../host/errors.ts";
import { type ExitName, exitCode } from "./exitCodes.ts";
import type { Io } from "./io.ts";

/** Which exit status a host failure has: by the last part of its code, an errno name where the kernel spoke. */
const statusOf: Record<string, ExitName> = {
  EPERM: "permission",
  EACCES: "permission",
  ENODEV: "noInput",
  ENOENT: "noInput",
  missing: "unavailable",
  absent: "unavailable",
  busy: "unavailable",
  "bad-data": "badData",
  "no-input": "noInput",
  usage: "usage",
};

/** Prints what failed, why and the remedy; gives the exit status. */
export function reportFailure(error: unknown, io: Io): number {
  if (io.signal.aborted) {
    io.err("interrupted\n");
    return exitCode("interrupted");
  }
  if (error instanceof HostError) {
    io.err(`vipward: ${error.message}\n  remedy: ${error.remedy}\n`);
    return exitCode(statusOf[error.code.slice(error.code.lastIndexOf("/") + 1)] ?? "system");
  }
  io.err(`vipward: internal error, please report it: ${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCode("internal");
}
