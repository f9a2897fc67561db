import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { probeKvm } from "./accelerator.ts";
import { VmError } from "./errors.ts";
import { findKernel } from "./kernel.ts";
import { runInVm, type VmResult, type VmRun } from "./machine.ts";

interface Seen extends VmResult {
  readonly stdout: string[];
  readonly stderr: string[];
}

async function see(run: VmRun): Promise<Seen> {
  const lines = { stdout: [] as string[], stderr: [] as string[] };
  const result = await runInVm({ timeoutMs: 100_000, ...run, onLine: (stream, line) => lines[stream].push(line) });
  return { ...result, ...lines };
}

/** Processes whose command line names QEMU and that this process started. */
function ourQemus(parent = process.pid): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const parentOf = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "latin1"))?.[1]);
        return parentOf === parent && readFileSync(`/proc/${name}/cmdline`, "latin1").includes("qemu-system");
      } catch {
        return false;
      }
    })
    .map(Number);
}

const rejectsWith = (code: string, tail: RegExp) => (error: unknown) => {
  assert.ok(error instanceof VmError, String(error));
  assert.equal(error.code, code);
  assert.match(error.consoleTail.join("\n"), tail);
  assert.notEqual(error.remedy, "");
  return true;
};

test("the kernel has IPVS, dummy and ipip, Node runs, the project is there, streams and exit status come through", async () => {
  const script = [
    "for m in ip_vs dummy ipip nf_tables bridge veth; do [[ -d /sys/module/$m ]] || echo missing $m; done",
    "ip link add vw0 type dummy && ip link add vw1 type ipip remote 10.0.0.1 && ip -brief link show vw1 >&2",
    "ipvsadm -A -t 10.0.0.9:80 -s mh && ipvsadm -Ln | grep -c 10.0.0.9:80",
    "node -p 'process.version + process.getuid()'",
    "node -e \"import('koffi').then(k => console.log(k.default.load('libc.so.6').func('int getpid()')() > 1))\"",
    'cat "$PWD/package.json" | head -2; cat /tmp/a/b; echo "$WORD"; echo last; printf unfinished >&2',
    "exit 7",
  ];
  const seen = await see({
    command: ["bash", "-c", script.join("\n")],
    env: { WORD: "two words\tand 'quotes'" },
    files: [{ path: "/tmp/a/b", content: "laid in\n" }],
  });
  assert.equal(seen.exitCode, 7);
  assert.deepEqual(seen.stdout, [
    "1",
    `${process.version}0`,
    "true",
    "{",
    '  "name": "vipward",',
    "laid in",
    "two words\tand 'quotes'",
    "last",
  ]);
  assert.equal(seen.stderr.length, 2);
  assert.match(seen.stderr[0] ?? "", /^vw1@NONE/);
  assert.equal(seen.stderr[1], "unfinished");
});

test("100,000 lines and one line of 2 MB come through whole, as does what is written just before the end", async () => {
  const script = `let s = ""; for (let i = 0; i < 100000; i++) s += "line " + i + " on its way out of the VM\\n";
    process.stdout.write(s); process.stdout.write("x".repeat(2e6) + "\\n"); console.error("done"); process.exitCode = 9`;
  const seen = await see({ command: ["node", "-e", script] });
  assert.equal(seen.stdout.length, 100_001);
  assert.ok(seen.stdout.slice(0, 100_000).every((line, i) => line === `line ${i} on its way out of the VM`));
  assert.equal(seen.stdout[100_000]?.length, 2e6);
  assert.deepEqual(seen.stderr, ["done"]);
  assert.equal(seen.exitCode, 9);
});

test("a command that is not there is status 127, with the reason on stderr", async () => {
  const seen = await see({ command: ["no-such-program"] });
  assert.equal(seen.exitCode, 127);
  assert.match(seen.stderr.join("\n"), /not found/);
});

test("a command that hangs is ended with an error that says so, and QEMU is gone", async () => {
  const hung = runInVm({ command: ["sleep", "1000"], stallMs: 12_000 });
  await assert.rejects(hung, rejectsWith("vm/stalled", /(?:)/));
  assert.deepEqual(ourQemus(), []);
});

test("a kernel panic is an error that names it, however long its trace, with the console's last lines", async () => {
  const crash = runInVm({ command: ["bash", "-c", "echo c >/proc/sysrq-trigger"], stallMs: 60_000 });
  await assert.rejects(crash, (error: Error) => {
    assert.match(error.message.split("\n")[0] ?? "", /panicked.*Kernel panic - not syncing: sysrq triggered crash/);
    return rejectsWith("vm/panic", /\S/)(error);
  });
});

test("a VM that switches itself off before the command's end is an error", async () => {
  const off = runInVm({ command: ["bash", "-c", "echo o >/proc/sysrq-trigger; sleep 100"], stallMs: 60_000 });
  await assert.rejects(off, rejectsWith("vm/died", /(?:)/));
});

test("an abort ends QEMU at once", async () => {
  const controller = new AbortController();
  const run = runInVm({
    command: ["sleep", "1000"],
    signal: controller.signal,
    onProgress: (text) => {
      if (text.startsWith("booting")) setTimeout(() => controller.abort(), 500);
    },
  });
  await assert.rejects(run, rejectsWith("vm/aborted", /(?:)/));
  assert.deepEqual(ourQemus(), []);
});

test("a VM whose starter was killed switches itself off", async () => {
  const source = `import { runInVm } from ${JSON.stringify(new URL("machine.js", import.meta.url).href)};
    await runInVm({ command: ["bash", "-c", "echo up; sleep 1000"], onLine: (_, line) => console.log(line) });`;
  const starter = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => starter.stdout.once("data", resolve));
  const [qemu] = ourQemus(starter.pid);
  assert.ok(qemu !== undefined);
  starter.kill("SIGKILL");
  const commandLine = (): string => {
    try {
      return readFileSync(`/proc/${qemu}/cmdline`, "latin1");
    } catch {
      return "";
    }
  };
  for (let tries = 0; tries < 150 && commandLine() !== ""; tries++) await sleep(100);
  assert.equal(commandLine(), "");
});

test("the question whether KVM works is answered within its limit, and leaves no QEMU running", async () => {
  const { imagePath } = await findKernel();
  const started = performance.now();
  assert.equal(typeof (await probeKvm("qemu-system-x86_64", imagePath, 1500)), "boolean");
  assert.ok(performance.now() - started < 4000);
  await sleep(500);
  assert.deepEqual(ourQemus(), []);
  assert.equal(await probeKvm("no-such-qemu", imagePath, 1500), false);
});
