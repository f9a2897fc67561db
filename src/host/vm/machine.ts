import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { chooseAccelerator } from "./accelerator.ts";
import { VmError, type VmErrorCode } from "./errors.ts";
import { buildImage } from "./image.ts";
import { findKernel } from "./kernel.ts";
import { LineSplitter } from "./lines.ts";
import { encodeOrder, type VmFile } from "./order.ts";
import { findProgram } from "./process.ts";
import { type Accelerator, type MachineShape, portDescriptors, qemuArguments } from "./qemu.ts";
import { projectInside } from "./rootfs.ts";

export interface VmRun {
  /** Found on the VM's PATH: "node", "bash", "ip", ... Starts in `cwd`, else in the project's folder. */
  readonly command: readonly [string, ...string[]];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: readonly VmFile[];
  /** Compiled tests and fast-check are in the VM as well. */
  readonly withTests?: boolean;
  readonly memoryMib?: number;
  readonly cpus?: number;
  /** From boot to exit status. */
  readonly timeoutMs?: number;
  /** How long the VM may be silent: no line, no progress. */
  readonly stallMs?: number;
  /** Each line of the command's output, without its end. The two streams are separate: their order is not kept. */
  readonly onLine?: (stream: "stdout" | "stderr", line: string) => void;
  /** Said once each, in words for people: "building the VM's image", "booting Linux 6.1... under tcg". */
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

export interface VmResult {
  /** As a shell has it: 128 + N for a command ended by signal N, 127 for one that is not there. */
  readonly exitCode: number;
  /** From QEMU's start to the VM's first process; to the command's start; to its end. */
  readonly timesMs: { readonly userspace: number; readonly command: number; readonly end: number };
  readonly accelerator: Accelerator;
  readonly kernelRelease: string;
  /** Optional programs that the VM does not have. */
  readonly missing: readonly string[];
}

const consoleTailLines = 40;

/** The folder with this package's package.json. */
function projectFolder(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at))
    if (existsSync(join(at, "package.json")) || at === "/") return at;
}

/** Kernel and image, found or made. Costs nothing but looking when an earlier run has made them. */
export async function prepareVm(run: Pick<VmRun, "withTests" | "onProgress" | "signal">): Promise<{
  readonly qemu: string;
  readonly shape: Pick<MachineShape, "accelerator" | "kernelPath" | "imagePath">;
  readonly kernelRelease: string;
  readonly missing: readonly string[];
}> {
  if (process.arch !== "x64") throw new VmError("vm/architecture", `no VM for ${process.arch} yet`);
  const qemu = findProgram("qemu-system-x86_64");
  if (qemu === undefined) throw new VmError("vm/qemu-missing", "qemu-system-x86_64 is not installed");
  const kernel = await findKernel({ onProgress: run.onProgress, signal: run.signal });
  const request = { kernel, projectFolder: projectFolder(), withTests: run.withTests ?? false };
  const image = await buildImage(request);
  const accelerator = await chooseAccelerator(qemu, kernel.imagePath);
  const shape = { accelerator, kernelPath: kernel.imagePath, imagePath: image.path };
  return { qemu, shape, kernelRelease: kernel.release, missing: image.missing };
}

/** Boots a VM, runs one command in it and ends it. VmError: the VM failed; a command that fails is an exit code. */
export async function runInVm(run: VmRun): Promise<VmResult> {
  const { qemu, shape, kernelRelease, missing } = await prepareVm(run);
  if (run.signal?.aborted) throw new VmError("vm/aborted", "ended before the VM started");
  run.onProgress?.(`booting Linux ${kernelRelease} (${shape.accelerator})`);
  const { memoryMib = 1536, cpus = 2 } = run;
  const ended = await new Session(qemu, qemuArguments({ ...shape, memoryMib, cpus }), run).result;
  return { ...ended, accelerator: shape.accelerator, kernelRelease, missing };
}

type Ended = Pick<VmResult, "exitCode" | "timesMs">;

/** One QEMU process from its start to its end. All ends pass through `#settle`, which leaves nothing running. */
class Session {
  readonly result: Promise<Ended>;
  readonly #run: VmRun;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #streams: readonly LineSplitter[];
  readonly #console: string[] = [];
  readonly #startedMs = performance.now();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #mark = `\u0001vipward-end-${randomBytes(16).toString("hex")}`;
  #stall: NodeJS.Timeout | undefined;
  #phase = "boot";
  #userspaceMs = Number.NaN;
  #commandMs = Number.NaN;
  #panic: string | undefined; // the console's line that says so
  #exitCode: number | undefined;
  #settled = false;
  #resolve: (ended: Ended) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(qemu: string, args: readonly string[], run: VmRun) {
    this.#run = run;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#child = spawn(qemu, args, { stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe"] });
    const stdio: readonly unknown[] = this.#child.stdio;
    this.#control = stdio[portDescriptors.control] as Duplex; // "pipe" is a socket pair: both ways
    for (const source of [stdio[1], stdio[2]]) this.#listen(source, (line) => this.#onConsole(line));
    this.#listen(this.#control, (line) => this.#onControl(line));
    this.#streams = (["stdout", "stderr"] as const).map((name) =>
      this.#listen(stdio[portDescriptors[name]], (line) => run.onLine?.(name, line), this.#mark),
    );
    this.#child.on("error", (error) => this.#fail("vm/qemu-missing", `cannot start QEMU: ${error.message}`));
    this.#child.on("close", (code, signal) => this.#onQemuEnd(code, signal));
    if (run.timeoutMs !== undefined) {
      const { timeoutMs } = run;
      this.#timers.push(setTimeout(() => this.#fail("vm/timeout", `not done after ${timeoutMs / 1000} s`), timeoutMs));
    }
    run.signal?.addEventListener("abort", this.#onAbort);
    process.on("exit", this.#onExit);
    this.#alive();
  }

  #listen(source: unknown, onLine: (line: string) => void, mark?: string): LineSplitter {
    const lines = new LineSplitter((line) => {
      if (!this.#settled) onLine(line);
    }, mark);
    const stream = source as Duplex;
    stream.on("data", (piece: Buffer) => {
      this.#alive();
      lines.push(piece);
      if (lines.ended) this.#finishWhenWhole();
    });
    stream.on("end", () => lines.finish());
    stream.on("error", () => {}); // QEMU's end resets its sockets; "close" of the process tells the story
    return lines;
  }

  #onConsole(line: string): void {
    const clean = line.replace(/[^\t\x20-\x7e]/g, "");
    // Noted as it comes: what a panic prints after it may be more than the lines that are kept.
    if (line.includes("Kernel panic")) this.#panic ??= clean;
    this.#console.push(clean);
    if (this.#console.length > consoleTailLines) this.#console.shift();
  }

  #onControl(line: string): void {
    const [word, rest = ""] = line.split(" ", 2);
    if (word === "exit") {
      this.#exitCode = Number(rest);
      this.#finishWhenWhole();
    } else if (word === "phase") {
      this.#phase = rest;
      if (rest === "modules") this.#userspaceMs = this.#elapsedMs();
      if (rest === "order") this.#sendOrder();
      if (rest === "run") this.#commandMs = this.#elapsedMs();
    }
  }

  #sendOrder(): void {
    const { command, cwd = projectInside, env = {}, files = [] } = this.#run;
    this.#control.write(encodeOrder({ command, cwd, env, files, mark: this.#mark }));
  }

  #elapsedMs(): number {
    return Math.round(performance.now() - this.#startedMs);
  }

  /** Something was heard: the patience starts anew. */
  #alive(): void {
    const { stallMs = 60_000 } = this.#run;
    if (this.#settled) return;
    if (this.#stall === undefined) {
      this.#stall = setTimeout(() => {
        this.#fail("vm/stalled", `the VM said nothing for ${stallMs / 1000} s (in phase ${this.#phase})`);
      }, stallMs);
      this.#timers.push(this.#stall);
    } else this.#stall.refresh();
  }

  readonly #onAbort = (): void => this.#fail("vm/aborted", "ended by request");
  /** Sooner than the VM would notice by itself that nobody listens any more. */
  readonly #onExit = (): void => {
    this.#child.kill("SIGKILL");
  };

  /** The exit status travels on another port than the output, and may overtake it. */
  #finishWhenWhole(): void {
    const exitCode = this.#exitCode;
    if (exitCode === undefined || !this.#streams.every((stream) => stream.ended)) return;
    const timesMs = { userspace: this.#userspaceMs, command: this.#commandMs, end: this.#elapsedMs() };
    this.#settle(() => this.#resolve({ exitCode, timesMs }));
  }

  #onQemuEnd(code: number | null, signal: NodeJS.Signals | null): void {
    const when = `in phase ${this.#phase}, before the command's end`;
    if (this.#panic !== undefined) this.#fail("vm/panic", `the VM's kernel panicked ${when}: ${this.#panic}`);
    else
      this.#fail(
        this.#phase === "boot" ? "vm/boot" : "vm/died",
        `QEMU ended ${signal ?? `with status ${code}`} ${when}`,
      );
  }

  #fail(code: VmErrorCode, message: string): void {
    const tail = [...this.#console];
    this.#settle(() => this.#reject(new VmError(code, message, tail)));
  }

  /** Ends QEMU by its id and answers once it is gone. Nothing in the VM outlives it, so there is nothing to shut down. */
  #settle(answer: () => void): void {
    if (this.#settled) return;
    this.#settled = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#run.signal?.removeEventListener("abort", this.#onAbort);
    process.off("exit", this.#onExit);
    const gone = this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined;
    if (!gone) {
      this.#child.once("exit", answer);
      this.#child.kill("SIGKILL");
    } else answer();
    for (const stream of this.#child.stdio) stream?.destroy();
  }
}
