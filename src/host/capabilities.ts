import { readFileSync } from "node:fs";
import { HostError } from "./errors.ts";
import { needLinux } from "./linux.ts";

/** linux/capability.h */
const CAP_NET_ADMIN = 12n;

/** Whoever may not change the network is told so before anything is tried. Errors: permission/EPERM. */
export function needNetAdmin(task: string): void {
  needLinux();
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  if (effective === undefined || ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n) return;
  throw new HostError("permission/EPERM", `${task}: not permitted without CAP_NET_ADMIN`, { remedy: "run as root" });
}
