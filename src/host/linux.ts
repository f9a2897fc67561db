import { HostError } from "./errors.ts";

export const isLinux = process.platform === "linux";

/** What needs no kernel of its own (sim, explore, files of facts) works everywhere; all else says why not. */
export function needLinux(): void {
  if (isLinux) return;
  throw new HostError("host/not-linux", `this needs Linux, and here is ${process.platform}`, {
    remedy: "what needs no kernel of its own works here: sim, explore, explain, and check and plan with --facts",
  });
}
