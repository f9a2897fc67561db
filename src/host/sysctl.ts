/** /proc/sys of the calling thread's network namespace. Synchronous on purpose: see namespace.ts. */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { HostError } from "./errors.ts";

/** A path below /proc/sys, as segments: interface names may hold dots, so the dotted form is ambiguous. */
export type SysctlPath = readonly string[];

const fileOf = (path: SysctlPath): string => {
  for (const segment of path)
    if (segment === "" || segment === "." || segment === ".." || segment.includes("/"))
      throw new HostError("sysctl/path", `"${segment}" cannot be part of a sysctl's name`, {
        remedy: "use names as they stand in /proc/sys",
      });
  return `/proc/sys/${path.join("/")}`;
};

/** net.ipv4.conf.IFACE.NAME; `all` and `default` count as interfaces. */
export const ipv4Conf = (link: string, name: string): SysctlPath => ["net", "ipv4", "conf", link, name];

function fail(action: string, path: SysctlPath, cause: unknown): never {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  const remedies: Record<string, string> = {
    ENOENT: "this kernel or interface does not have it: check the interface's name and the kernel's version",
    EACCES: "run as root",
    EPERM: "run as root",
    EROFS:
      "/proc/sys is read-only here, as in most containers: set it on the host, or start the container with this sysctl",
    EINVAL: "the kernel refuses this value: see ip-sysctl in the kernel's documentation",
  };
  throw new HostError(`sysctl/${code}`, `cannot ${action} ${path.join(".")}: ${code}`, {
    remedy: remedies[code] ?? "see the cause",
    cause,
  });
}

/** The value as text, without the end of line; undefined when there is no such sysctl. */
export function readSysctl(path: SysctlPath): string | undefined {
  try {
    return readFileSync(fileOf(path), "utf8").trimEnd();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    if (error instanceof HostError) throw error;
    return fail("read", path, error);
  }
}

/** Errors: sysctl/ENOENT, sysctl/EACCES, sysctl/EROFS, sysctl/EINVAL. */
export function writeSysctl(path: SysctlPath, value: string): void {
  const file = fileOf(path);
  try {
    writeFileSync(file, `${value}\n`, { flag: "r+" });
  } catch (error) {
    fail("write", path, error);
  }
}

/**
 * Values under /proc/sys to be compared again and again: each file is opened once, and a read from its start asks the
 * kernel anew, which costs one system call instead of three.
 */
export class SysctlWatch {
  readonly #files: { readonly fd: number; readonly value: string }[] = [];
  readonly #octets = new Uint8Array(64);

  /** Those that cannot be opened are passed over: they are gone, and whoever made the list will see that. */
  constructor(values: readonly (readonly [SysctlPath, string])[]) {
    for (const [path, value] of values)
      try {
        this.#files.push({ fd: openSync(fileOf(path), "r"), value });
      } catch (error) {
        if (error instanceof HostError) throw error;
      }
  }

  /** Is any of them another one now, or gone with its interface? */
  differs(): boolean {
    return this.#files.some(({ fd, value }) => {
      try {
        const length = readSync(fd, this.#octets, 0, this.#octets.length, 0);
        return Buffer.from(this.#octets.buffer, 0, length).toString("latin1").trimEnd() !== value;
      } catch {
        return true;
      }
    });
  }

  close(): void {
    for (const { fd } of this.#files.splice(0)) closeSync(fd);
  }
}
