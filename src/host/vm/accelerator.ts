import { spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./cache.ts";
import type { Accelerator } from "./qemu.ts";

/**
 * True where a kernel really runs under KVM: it must reach its first line on the console within the limit. To open
 * /dev/kvm proves nothing: inside some containers it opens, takes every order, and no instruction is ever executed.
 * A probe that cannot even be killed is left to itself; it holds nothing of ours.
 */
export function probeKvm(qemu: string, kernelPath: string, limitMs: number): Promise<boolean> {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return Promise.resolve(false);
  }
  const quiet = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "pc"];
  const args = [...quiet, "-accel", "kvm", "-cpu", "host", "-m", "128M", "-serial", "stdio", "-kernel", kernelPath];
  return new Promise((resolve) => {
    const child = spawn(qemu, [...args, "-append", "console=ttyS0 earlyprintk=serial panic=-1"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let seen = "";
    const end = (works: boolean): void => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      child.stdout.destroy();
      child.unref();
      resolve(works);
    };
    const timer = setTimeout(() => end(false), limitMs);
    child.on("error", () => end(false));
    child.on("exit", () => end(seen.includes("Linux version")));
    child.stdout.on("data", (piece: Buffer) => {
      seen = (seen + piece.toString("latin1")).slice(-4096);
      if (seen.includes("Linux version")) end(true);
    });
  });
}

/** One boot of this machine answers the same each time, so the answer is kept until the next. */
async function kvmWorks(qemu: string, kernelPath: string): Promise<boolean> {
  const file = join(cacheFolder(), "kvm.json");
  let boot = "";
  try {
    boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const kept: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (typeof kept === "object" && kept !== null && "boot" in kept && "works" in kept && kept.boot === boot)
      return kept.works === true;
  } catch {
    // never asked, or not readable: ask now
  }
  const works = await probeKvm(qemu, kernelPath, 4000);
  try {
    mkdirSync(cacheFolder(), { recursive: true });
    writeFileSync(file, JSON.stringify({ boot, works }));
  } catch {
    // a cache that cannot be written costs time, not truth
  }
  return works;
}

/** VIPWARD_ACCELERATOR=tcg or kvm decides; else KVM where it has been seen to work. */
export async function chooseAccelerator(qemu: string, kernelPath: string): Promise<Accelerator> {
  const asked = process.env.VIPWARD_ACCELERATOR;
  if (asked === "tcg" || asked === "kvm") return asked;
  return (await kvmWorks(qemu, kernelPath)) ? "kvm" : "tcg";
}
