/**
 * `node --import`ed, it makes a process believe that it is on another system: no /proc, no /sys, no native module, and
 * another name. What Linux gives all the same, such as its own libc, Node itself still has.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

Object.defineProperty(process, "platform", { value: "darwin" });
process.dlopen = () => {
  throw new Error("a native module was loaded");
};
const isLinuxOnly = (path: unknown): boolean => /^\/(proc|sys)\b/.test(String(path));
for (const name of ["readFileSync", "openSync", "readdirSync", "readlinkSync", "statSync"] as const) {
  const real = fs[name] as (...args: unknown[]) => unknown;
  (fs as unknown as Record<string, unknown>)[name] = (path: unknown, ...rest: unknown[]): unknown => {
    if (isLinuxOnly(path)) throw Object.assign(new Error(`ENOENT: ${String(path)}`), { code: "ENOENT" });
    return real.call(fs, path, ...rest);
  };
}
syncBuiltinESMExports();
