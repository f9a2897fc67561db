/**
 * A small machine that really boots: systemd as process 1 of its own PID, mount, UTS, IPC and cgroup namespaces, in a
 * network namespace that the test made, with this machine's /usr read-only below an /etc and /var of its own, which
 * outlive it, as a disk does. It cannot reach this machine: of /proc/sys only net/ is writable, /sys is read-only (so
 * there is no udev), /dev holds null and its like, and it can load no module.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Namespace } from "../host/namespace.ts";

const SYSTEMD = "/lib/systemd/systemd";

/** $1: folder of the room, $2: its cgroup, $3: the project, $4: node. */
const inside = `set -e
echo $$ > "$2/cgroup.procs"
exec unshare --cgroup bash -ec '
R=$1/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs $R
mkdir $R/etc $R/var $R/usr $R/proc $R/sys $R/dev $R/run $R/tmp $R/root $R/vipward $R/old
for d in bin sbin lib lib32 lib64 libx32; do ln -s usr/$d $R/$d; done
mount --bind $1/etc $R/etc; mount --bind $1/var $R/var
mount --bind /usr $R/usr; mount -o remount,bind,ro $R/usr
mount --bind $3 $R/vipward; mount -o remount,bind,ro $R/vipward
touch $R/node; mount --bind $4 $R/node
mount -t proc proc $R/proc
mount --bind $R/proc/sys $R/proc/sys; mount -o remount,bind,ro $R/proc/sys
mount -t proc proc $R/tmp; mount --bind $R/tmp/sys/net $R/proc/sys/net; umount $R/tmp
mount -t sysfs sysfs $R/sys; mount -t cgroup2 cgroup2 $R/sys/fs/cgroup; mount -o remount,bind,ro $R/sys
mount -t tmpfs -o mode=755 tmpfs $R/dev
for n in null zero full random urandom; do touch $R/dev/$n; mount --bind /dev/$n $R/dev/$n; done
mkdir $R/dev/shm $R/dev/pts; mount -t tmpfs tmpfs $R/dev/shm
mount -t tmpfs -o mode=755 tmpfs $R/run
cd $R; pivot_root . old; umount -l /old
exec env -i container=vipward PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C \\
  setpriv --bounding-set=-sys_module,-sys_time,-sys_boot,-syslog,-sys_rawio \\
  ${SYSTEMD} --system --log-target=console --log-level=notice --show-status=0 --unit=multi-user.target
' room "$@"
`;

/** Units of this machine's /usr that are of no use in a room, or that would wait for what it does not have. */
const masked = [
  "getty.target",
  "console-getty.service",
  "systemd-logind.service",
  "systemd-user-sessions.service",
  "systemd-tmpfiles-setup.service",
  "systemd-tmpfiles-setup-dev.service",
  "systemd-update-utmp.service",
  "systemd-update-utmp-runlevel.service",
  "proc-sys-fs-binfmt_misc.automount",
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "sys-fs-fuse-connections.mount",
  "systemd-networkd-wait-online.service",
  "NetworkManager-wait-online.service",
  "systemd-timesyncd.service",
  "systemd-hostnamed.service", // cannot start without devices, and NetworkManager would wait 25 s for it
  "ldconfig.service",
];

function cgroupMount(): string | undefined {
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n")) {
    const [, path, type, options] = line.split(" ");
    if (type === "cgroup2" && path !== undefined && /^rw\b/.test(options ?? "")) return path;
  }
  return undefined;
}

/** Why no room can be had here; undefined: it can. */
export function noRoomWhy(): string | undefined {
  if (!existsSync(SYSTEMD)) return "systemd is not installed";
  if (cgroupMount() === undefined) return "no cgroup2 hierarchy is mounted for writing";
  return undefined;
}

function projectFolder(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at))
    if (existsSync(join(at, "package.json")) || at === "/") return at;
}

/** The room's disk: `folder` gets etc/ and var/ with what any machine has, and these files and enabled units. */
export function furnish(folder: string, files: Readonly<Record<string, string>>, enabled: readonly string[]): void {
  const units = join(folder, "etc/systemd/system");
  mkdirSync(join(units, "multi-user.target.wants"), { recursive: true });
  for (const path of ["root", "var/lib", "var/log", "var/tmp", "etc/sysctl.d", "etc/modules-load.d"])
    mkdirSync(join(folder, path), { recursive: true });
  symlinkSync("/run", join(folder, "var/run"));
  for (const unit of masked) symlinkSync("/dev/null", join(units, unit));
  for (const unit of enabled) symlinkSync(`/lib/systemd/system/${unit}`, join(units, "multi-user.target.wants", unit));
  const identity = { "etc/machine-id": "5b1c2d3e4f5061728394a5b6c7d8e9f0\n", "etc/hostname": "room\n" };
  const users = Object.fromEntries(
    ["etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.cache"].map((p) => [p, readFileSync(`/${p}`)] as const),
  );
  for (const [path, text] of Object.entries({ ...identity, ...users, ...files })) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text, { mode: /\.(yaml|nmconnection)$/.test(path) ? 0o600 : 0o644 });
  }
}

export interface Ran {
  readonly status: number | null;
  /** Standard output, then standard error. */
  readonly text: string;
  readonly stdout: string;
}

let count = 0;

export class SystemdRoom {
  readonly #child: ChildProcess;
  readonly #cgroup: string;
  readonly #gone: Promise<void>;
  #log = "";

  /** Starts to boot at once; `folder` was furnished. */
  constructor(ns: Namespace, folder: string) {
    const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    this.#cgroup = join(cgroupMount() ?? "", own, `vipward-room-${process.pid}-${count++}`);
    mkdirSync(this.#cgroup);
    const unshared = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"];
    const args = [...unshared, "bash", "-c", inside, "room", folder, this.#cgroup, projectFolder(), process.execPath];
    // Whoever ends us, however, ends the room.
    const tied = ["--pdeathsig", "KILL", "nsenter", `--net=/run/netns/${ns.name}`, "unshare"];
    this.#child = spawn("setpriv", [...tied, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (piece: Buffer) => {
        this.#log += piece.toString();
      });
    this.#gone = new Promise((resolve) => this.#child.on("close", () => resolve()));
  }

  /** What systemd said on its console. */
  get log(): string {
    return this.#log;
  }

  /** Process 1 as seen from outside. */
  #first(): number | undefined {
    const { pid } = this.#child;
    if (pid === undefined) return undefined;
    try {
      const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
      return first === undefined || first === "" ? undefined : Number(first);
    } catch {
      return undefined; // gone
    }
  }

  /** Runs a program in there. */
  run(...command: readonly string[]): Ran {
    const entered = ["-t", String(this.#first()), "-m", "-u", "-i", "-n", "-p", "-C", "--", ...command];
    const { status, stdout, stderr } = spawnSync("nsenter", entered, {
      encoding: "utf8",
      timeout: 120_000,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C", HOME: "/root" },
    });
    return { status, text: `${stdout}${stderr}`, stdout };
  }

  vipward(...args: readonly string[]): Ran {
    return this.run("/node", "/vipward/dist/bin/vipward.js", ...args);
  }

  /** Until all that starts at boot has started or failed. */
  async booted(timeoutMs = 60_000): Promise<void> {
    for (const untilMs = Date.now() + timeoutMs; ; await sleep(50)) {
      if (this.#child.exitCode !== null || Date.now() > untilMs) throw new Error(`the room did not boot: ${this.log}`);
      if (/^(running|degraded)$/m.test(this.run("systemctl", "is-system-running").text)) return;
    }
  }

  /** As if the plug were pulled. */
  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#gone;
    for (let tries = 0; ; tries++) {
      try {
        removeCgroups(this.#cgroup);
        return;
      } catch (error) {
        // Its processes are dead, but the kernel takes a moment to let go of them.
        if (tries > 100) throw error;
        await sleep(20);
      }
    }
  }
}

function removeCgroups(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroups(join(folder, entry.name));
  rmdirSync(folder);
}

/** The disk goes, with what the room mounted on nothing of ours. */
export const clear = (folder: string): void => rmSync(folder, { recursive: true, force: true });
