import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

export interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, never through a shell. A program that cannot be started at all has exit code 127. */
export function runProgram(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<Finished> {
  return new Promise((resolve) => {
    const settings = {
      encoding: "utf8",
      maxBuffer: 64 << 20,
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    } as const;
    execFile(file, args, settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 127;
      resolve({ exitCode: code, stdout, stderr: code === 127 && stderr === "" ? String(error) : stderr });
    });
  });
}

const usual = ["/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/lib/systemd"];
const folders = [...(process.env.PATH ?? "").split(":"), ...usual];

/** The path of a program, also where a user's PATH lacks the sbin folders, or undefined. systemd's daemons are on no PATH. */
export function findProgram(name: string): string | undefined {
  for (const folder of folders) {
    if (!folder.startsWith("/")) continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not there; the next folder
    }
  }
  return undefined;
}
