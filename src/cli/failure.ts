import { HostError } from "../host/errors.ts";
import { type ExitName, exitCode } from "./exitCodes.ts";
import type { Io } from "./io.ts";

/** Which exit status a host failure has: by its whole code, else by the last part, an errno name where the kernel spoke. */
const statusOf: Record<string, ExitName> = {
  "host/not-linux": "unavailable",
  "vm/qemu-missing": "unavailable",
  "vm/tool-missing": "unavailable",
  "vm/kernel-missing": "unavailable",
  "vm/kernel-download": "unavailable",
  "vm/architecture": "unavailable",
  "vm/not-built": "unavailable",
  "ipvs/absent": "unavailable",
  "namespace/name": "usage",
  EPERM: "permission",
  EACCES: "permission",
  ENODEV: "noInput",
  ENOENT: "noInput",
  EOPNOTSUPP: "unavailable",
  EAFNOSUPPORT: "unavailable",
  EPROTONOSUPPORT: "unavailable",
  missing: "unavailable",
  unavailable: "unavailable",
  absent: "unavailable",
  busy: "unavailable",
  "bad-data": "badData",
  "no-input": "noInput",
  usage: "usage",
};

const statusFor = (code: string): ExitName =>
  statusOf[code] ?? statusOf[code.slice(code.lastIndexOf("/") + 1)] ?? "system";

/** Names from files and the command line come back in messages: what would steer a terminal is shown, not obeyed. */
export const harmless = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "\u00b7");

/** Prints what failed, why and the remedy; gives the exit status. */
export function reportFailure(error: unknown, io: Io): number {
  if (io.signal.aborted) {
    const { reason } = io.signal;
    io.err(
      reason instanceof Error && !reason.message.startsWith("SIG") ? `ended: ${reason.message}\n` : "interrupted\n",
    );
    return exitCode("interrupted");
  }
  if (error instanceof HostError) {
    io.err(harmless(`vipward: ${error.message}\n  remedy: ${error.remedy}\n`));
    return exitCode(statusFor(error.code));
  }
  io.err(`vipward: internal error, please report it: ${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCode("internal");
}
