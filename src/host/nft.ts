/** nftables through its JSON interface (libnftables-json(5)), in the calling thread's namespace. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostError } from "./errors.ts";
import { findProgram } from "./vm/process.ts";

function run(args: readonly string[]): string {
  const result = spawnSync(findProgram("nft") ?? "nft", args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    timeout: 60_000,
  });
  if (result.error !== undefined) {
    const code = (result.error as NodeJS.ErrnoException).code ?? "unknown";
    throw new HostError(code === "ENOENT" ? "nft/missing" : `nft/${code}`, `cannot run nft: ${code}`, {
      remedy: "install the package nftables",
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    const why = result.stderr.trim().split("\n")[0] ?? "";
    const denied = /Operation not permitted/.test(result.stderr);
    throw new HostError(denied ? "nft/EPERM" : "nft/refused", `nft ${args.join(" ")} refused: ${why}`, {
      remedy: denied
        ? "run as root, or with CAP_NET_ADMIN"
        : "check that this kernel has the nft families used: `nft list tables`",
    });
  }
  return result.stdout;
}

/** A full disk, or one that is read only, is the host's fault and not ours. */
function writing<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    const message = `cannot write commands for nft below ${tmpdir()}: ${code}`;
    throw new HostError(`nft/${code}`, message, { remedy: "see df and mount", cause: error });
  }
}

/** Runs commands as one transaction: all of them or none. */
export function applyNft(commands: readonly unknown[]): void {
  // nft opens "-" as /dev/stdin, which fails on the socket that a child of Node has there; so, a file
  const folder = writing(() => mkdtempSync(join(tmpdir(), "vipward-nft-")));
  try {
    const file = join(folder, "commands.json");
    writing(() => writeFileSync(file, JSON.stringify({ nftables: commands }), { mode: 0o600 }));
    run(["-j", "-f", file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What `nft -j list ...` gives: an array of one-key objects. */
export function listNft(what: readonly string[]): Record<string, unknown>[] {
  const text = run(["-j", "list", ...what]);
  const parsed = JSON.parse(text === "" ? '{"nftables":[]}' : text) as { nftables: Record<string, unknown>[] };
  return parsed.nftables;
}

/** Taking away a table that is not there is no error. */
export const deleteNftTable = (family: string, name: string): void =>
  applyNft([{ add: { table: { family, name } } }, { delete: { table: { family, name } } }]);
