import { readFileSync } from "node:fs";

/** This process's soft limit by its name in /proc/PID/limits (proc(5)); undefined where it is unlimited or not told. */
export function softLimit(name: string, limits = readFileSync("/proc/self/limits", "utf8")): number | undefined {
  const line = limits.split("\n").find((l) => l.startsWith(`${name} `));
  const soft = /^ +(\d+)/.exec(line?.slice(name.length) ?? "")?.[1];
  return soft === undefined ? undefined : Number(soft);
}
