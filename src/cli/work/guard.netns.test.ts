import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { GuardWord } from "../../apply/guard.ts";
import { wordText } from "../../apply/guardian.ts";
import { parseCluster } from "../../cluster/index.ts";
import { moduleState } from "../../host/modules.ts";
import { programsHere } from "../../host/perform/readFacts.ts";
import { builtinCluster } from "../../lab/builtin.ts";
import { scenarioPlot } from "../../lab/plot.ts";
import { Scenario, scenarioOptions } from "../../lab/sim/scenario.ts";
import { specOf } from "../../lab/spec.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";

const main = fileURLToPath(new URL("../../bin/vipward.js", import.meta.url));
const VIP = "10.0.0.100";

interface Word {
  readonly atMs: number;
  readonly event: string;
  readonly key?: string;
  readonly text?: string;
}

/** A real server with vipward on it, and a guard that runs. */
class Guarded {
  readonly wire: Wire;
  readonly words: Word[] = [];
  readonly #stateDir = mkdtempSync(join(tmpdir(), "vipward-guard-"));
  #guard: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);

  constructor(label: string) {
    this.wire = new Wire(label);
  }
  #args(...rest: string[]): string[] {
    const { name } = this.wire.rs;
    return ["netns", "exec", name, process.execPath, main, ...rest, "--state-dir", this.#stateDir];
  }
  vipward(...rest: string[]): number | null {
    return spawnSync("ip", this.#args(...rest), { stdio: "ignore", timeout: 60_000 }).status;
  }
  /** Runs a program in the real server. */
  there(program: string, ...args: string[]): void {
    execFileSync("ip", ["netns", "exec", this.wire.rs.name, program, ...args], { stdio: "ignore" });
  }
  sysctl(name: string): string {
    const path = `/proc/sys/net/ipv4/conf/${name.replace(".", "/")}`;
    return execFileSync("ip", ["netns", "exec", this.wire.rs.name, "cat", path], { encoding: "utf8" }).trim();
  }
  async start(...rest: string[]): Promise<void> {
    const child = spawn("ip", this.#args("guard", "--json", ...rest), { stdio: ["ignore", "pipe", "inherit"] });
    this.#guard = child;
    this.#ended = new Promise((resolve) => child.once("exit", resolve));
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        this.words.push({ atMs: performance.now(), ...JSON.parse(text.slice(0, end)) });
        text = text.slice(end + 1);
      }
    });
    await this.word("began");
  }
  /** The first such word since `from`; waits for it long enough for a busy machine. */
  async word(event: string, key = "", from = 0): Promise<Word> {
    for (let i = 0; i < 600; i++) {
      const found = this.words.slice(from).find((w) => w.event === event && (w.key ?? "").includes(key));
      if (found !== undefined) return found;
      await sleep(25);
    }
    throw new Error(`no "${event}" ${key}: ${JSON.stringify(this.words.slice(from))}`);
  }
  get pid(): number {
    return this.#guard?.pid ?? 0;
  }
  async stop(): Promise<number | null> {
    this.#guard?.kill("SIGTERM");
    const status = await this.#ended;
    this.#guard = undefined;
    return status;
  }
  async close(): Promise<void> {
    if (this.#guard !== undefined) await this.stop();
    this.wire.close();
    rmSync(this.#stateDir, { recursive: true });
  }
}

async function guarded(t: TestContext, label: string, body: (host: Guarded) => Promise<void>): Promise<void> {
  if (!needsRoot(t)) return;
  const host = new Guarded(label);
  try {
    await body(host);
  } finally {
    await host.close();
  }
}

const sabotage: readonly {
  readonly what: string;
  readonly key: string;
  readonly policy: string;
  readonly argv: string[];
  /** Options of apply besides. */
  readonly more?: string[];
  /** Programs and modules that this kernel and host must have. */
  readonly needs?: string;
}[] = [
  {
    what: "the VIP comes to eth0",
    key: "address eth0",
    policy: "arp-sysctl",
    argv: ["ip", "address", "add", `${VIP}/24`, "dev", "eth0"],
  },
  {
    what: "arp_ignore is flipped",
    key: "arp_ignore",
    policy: "arp-sysctl",
    argv: ["sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=0"],
  },
  {
    what: "the VIP is taken from lo",
    key: "address lo",
    policy: "arp-sysctl",
    argv: ["ip", "address", "delete", `${VIP}/32`, "dev", "lo"],
  },
  { what: "nft is flushed", key: "nft arp", policy: "nft-arp", argv: ["nft", "flush", "ruleset"], needs: "nft" },
  {
    what: "one rule of the nft table is deleted",
    key: "nft arp",
    policy: "nft-arp",
    argv: ["nft", "flush", "chain", "arp", "vipward", "input"],
    needs: "nft",
  },
  {
    what: "an arptables rule is deleted",
    key: "arptables",
    policy: "arptables",
    argv: ["arptables", "-D", "INPUT", "1"],
    needs: "arptables",
  },
  {
    what: "the VIP's route is deleted",
    key: "route",
    policy: "local-route",
    argv: ["ip", "route", "delete", "local", VIP, "dev", "lo", "table", "local"],
  },
  {
    what: "the carrier is deleted",
    key: "link dummy0",
    policy: "arp-sysctl",
    more: ["--carrier", "dummy"],
    argv: ["ip", "link", "delete", "dummy0"],
    needs: "dummy",
  },
  {
    what: "the tunnel goes down",
    key: "link tunl0",
    policy: "arp-sysctl",
    more: ["--carrier", "tunl0", "--forwarding", "tun"],
    argv: ["ip", "link", "set", "tunl0", "down"],
    needs: "ipip",
  },
];

/** Why this host cannot have what a test needs. */
function lacking(needs: string | undefined): string | undefined {
  if (needs === undefined) return undefined;
  if (needs === "nft" || needs === "arptables") return programsHere()[needs] ? undefined : `no ${needs} here`;
  return moduleState(needs) === "missing" ? `this kernel has no module ${needs}` : undefined;
}

/** A second is promised; on a busy machine the process itself may have to wait for so long. */
const NOTICED_MS = 5000;

for (const { what, key, policy, argv, more = [], needs } of sabotage)
  test(`guard --heal: ${what}, is noticed, put right, and silent on the wire again; undo still exact`, async (t) => {
    const why = lacking(needs);
    if (why !== undefined) return t.skip(why);
    await guarded(t, "heal", async (host) => {
      assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none", "--policy", policy, ...more), 0);
      await host.start("--heal");
      const [program = "", ...args] = argv;
      host.there(program, ...args);
      const atMs = performance.now();
      const drifted = await host.word("drifted", key);
      t.diagnostic(`said after ${Math.round(drifted.atMs - atMs)} ms`);
      assert.ok(drifted.atMs - atMs < NOTICED_MS, `said after ${drifted.atMs - atMs} ms`);
      await host.word("mended", key);
      assert.deepEqual(host.wire.answered(VIP), []);
      assert.deepEqual(host.wire.shownFor(VIP), ["10.0.0.11"]);
      assert.equal(host.vipward("status"), 0);
      assert.equal(await host.stop(), 0);
      assert.equal(host.vipward("undo"), 0);
      // Gone from everywhere: what was foreign did not become ours to bring back.
      assert.deepEqual(host.wire.answered(VIP), []);
    });
  });

test("guard --heal of a hidden interface: an address that is added later is hidden, too, and reveal takes all of it away", async (t) => {
  if (!programsHere().nft) return t.skip("no nft here");
  await guarded(t, "hide", async (host) => {
    // A third interface's address must stay answered for, so it cannot be done by arp_ignore.
    host.there("ip", "link", "add", "third", "type", "bridge");
    host.there("ip", "address", "add", "10.0.0.77/32", "dev", "third");
    host.there("ip", "address", "add", `${VIP}/32`, "dev", "lo");
    assert.equal(host.vipward("hide", "lo"), 0);
    assert.deepEqual(host.wire.answered(VIP), []);
    await host.start("--heal");
    host.there("ip", "address", "add", "10.0.0.101/32", "dev", "lo");
    await host.word("mended", "nft arp vipward_hide_lo");
    assert.deepEqual(host.wire.answered("10.0.0.101"), []);
    assert.deepEqual(host.wire.answered(VIP), []);
    assert.notDeepEqual(host.wire.answered("10.0.0.77"), []);
    assert.equal(await host.stop(), 0);
    assert.equal(host.vipward("reveal", "lo"), 0);
    for (const ip of [VIP, "10.0.0.101"]) assert.notDeepEqual(host.wire.answered(ip), []);
  });
});

test("guard --heal beside an undo: what vipward gave up is not put back as if it were another's", async (t) => {
  await guarded(t, "undone", async (host) => {
    assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none", "--policy", "arp-sysctl"), 0);
    await host.start("--heal");
    assert.equal(host.vipward("undo"), 0);
    // the VIP is not taken in any more: that is said, and nothing is done about it
    await host.word("drifted", "law 2");
    assert.equal(await host.stop(), 1);
    assert.deepEqual(
      host.words.filter((w) => w.event === "mended"),
      [],
    );
    assert.equal(host.sysctl("eth0.arp_ignore"), "0");
  });
});

/** What the guard of the simulator says of web1 while the same is done to it; its VIP by the name of this one's. */
async function simulated(): Promise<string[]> {
  const scenario = `lab:
  scenario:
    seconds: 40
    guard: heal
    faults:
      - { at: 10, do: sysctl, host: web1, name: eth0.arp_ignore, value: 0 }
      - { at: 20, do: remove-vip, host: web1 }
      - { at: 30, do: sysctl, host: web1, name: eth0.arp_announce, value: 0 }
`;
  const read = parseCluster(builtinCluster("dr", 2).replace(/^lab:\n/m, scenario));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, "dr", "scenario");
  assert.ok(typeof spec !== "string");
  const options = scenarioOptions(read.cluster, undefined, true);
  const { timeline } = await new Scenario(read.cluster, scenarioPlot(spec), options).run();
  // its facts name no sysctl that is 0
  return timeline.flatMap(
    ({ text }) =>
      /^web1: guard: (.*)/.exec(text)?.[1]?.replaceAll("10.10.0.100", VIP).replace("(now not read)", "(now 0)") ?? [],
  );
}

test("guard --heal says the same of the same deeds, in the same order, as the simulator's", async (t) => {
  await guarded(t, "alike", async (host) => {
    assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none", "--policy", "arp-sysctl"), 0);
    await host.start("--heal");
    host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=0");
    await host.word("mended", "arp_ignore");
    host.there("ip", "address", "delete", `${VIP}/32`, "dev", "lo");
    await host.word("mended", "address lo");
    host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_announce=0");
    await host.word("mended", "arp_announce");
    const said = host.words.flatMap((w) => (w.event === "began" ? [] : wordText(w as unknown as GuardWord)));
    assert.deepEqual(said, await simulated());
  });
});

test("guard without --heal says it, touches nothing, and ends with 1", async (t) => {
  await guarded(t, "say", async (host) => {
    assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none"), 0);
    await host.start();
    host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=0");
    await host.word("drifted", "arp_ignore");
    await sleep(500);
    assert.notDeepEqual(host.wire.answered(VIP), []);
    assert.equal(await host.stop(), 1);
  });
});

test("guard of VIPs that other tools hold: a value that was there before is put back, and does not become vipward's", async (t) => {
  await guarded(t, "other", async (host) => {
    host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=1", "net.ipv4.conf.eth0.arp_announce=2");
    host.there("ip", "address", "add", `${VIP}/32`, "dev", "lo");
    await host.start("--heal", "--vip", VIP);
    host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=0");
    await host.word("mended", "arp_ignore");
    assert.deepEqual(host.wire.answered(VIP), []);
    await host.stop();
    assert.equal(host.vipward("undo"), 0);
    assert.deepEqual(host.wire.answered(VIP), []);
  });
});

test("guard against a program that takes it back each time: given up after five, and the other one has its way", async (t) => {
  await guarded(t, "fight", async (host) => {
    assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none", "--policy", "arp-sysctl"), 0);
    await host.start("--heal");
    const file = () => host.sysctl("eth0.arp_ignore");
    const fighter = new AbortController();
    const fight = (async () => {
      while (!fighter.signal.aborted) {
        if (file() === "1") host.there("sysctl", "-q", "net.ipv4.conf.eth0.arp_ignore=0");
        await sleep(100);
      }
    })();
    try {
      for (let i = 0; i < 120 && !host.words.some((w) => w.event === "given up"); i++) await sleep(500);
      await host.word("given up", "arp_ignore");
    } finally {
      fighter.abort();
      await fight;
    }
    assert.equal(await host.stop(), 1);
  });
});

test("guard at rest: its processor time and memory are small", async (t) => {
  await guarded(t, "rest", async (host) => {
    assert.equal(host.vipward("apply", "--vip", VIP, "--keep", "none"), 0);
    await host.start();
    await sleep(500);
    const ticks = (): number => {
      const fields = readFileSync(`/proc/${host.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      return Number(fields[11]) + Number(fields[12]);
    };
    const before = ticks();
    await sleep(4000);
    const percent = (ticks() - before) / 4; // 100 ticks a second
    const memory = /VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${host.pid}/status`, "utf8"))?.[1];
    t.diagnostic(`${percent} % of one processor, ${Math.round(Number(memory) / 1024)} MiB resident`);
    assert.ok(percent < 5);
  });
});
