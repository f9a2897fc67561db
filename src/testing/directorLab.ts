/**
 * Two directors, two real servers and a client as namespaces on one switch, for tests and measurements of the whole
 * agent, beside keepalived: who runs on a director is a process of its own, as in life.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { AgentStatus } from "../agent/status.ts";
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { askAgent } from "../host/agent/control.ts";
import type { Namespace } from "../host/namespace.ts";
import { openRtnetlink, type Rtnetlink } from "../host/rtnetlink.ts";
import type { LoadPlan, LoadReport } from "./loadThread.ts";
import type { ToServers } from "./serverThread.ts";
import { buildWires, type Wires } from "./wires.ts";
import { within } from "./within.ts";

export const addresses = {
  lb1: "10.50.0.2",
  lb2: "10.50.0.3",
  web1: "10.50.0.11",
  web2: "10.50.0.12",
  client: "10.50.0.200",
} as const;
export type MachineName = keyof typeof addresses;
export type DirectorName = "lb1" | "lb2";
export const vip = "10.50.0.100";
const vipAddress = ipv4(vip);
const nobody = 65_534;

const main = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));

export interface Attempt {
  /** performance.timeOrigin + now: the same for all threads. */
  readonly atMs: number;
  readonly tookMs: number;
  /** The handshake was over; undefined: it never was. */
  readonly connectedMs: number | undefined;
  /** Which server answered; undefined: nobody, in time. */
  readonly by: string | undefined;
}

export interface Vrrp {
  readonly version: 2 | 3;
  readonly intervalMs: number;
}

/** `health`: text of the services' checks, YAML flow. */
export function clusterText(
  { version, intervalMs }: Vrrp,
  more: {
    readonly health?: string;
    readonly silence?: string;
    readonly failover?: string;
    readonly service?: string;
  } = {},
): string {
  return `version: 1
name: failover
networks: { lan: { prefix: 10.50.0.0/24, router: ${addresses.client} } }
directors:
  lb1: { dip: ${addresses.lb1}, priority: 150 }
  lb2: { dip: ${addresses.lb2}, priority: 100 }
realServers: { web1: ${addresses.web1}, web2: ${addresses.web2} }
vips: { web: ${vip} }
services:
  - { name: http, vip: web, port: 80, scheduler: rr, onFailure: remove${more.service ?? ""}, health: ${more.health ?? "[{ type: tcp, port: 80, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 1 }]"} }
silenceCheck: ${more.silence ?? "{ intervalMs: 1000, action: remove }"}
failover:
  vrrp: { id: 51, version: ${version}, intervalMs: ${intervalMs}${more.failover ?? ""} }
agent: { socket: /nowhere }
`;
}

export function keepalivedText(self: DirectorName, { version, intervalMs }: Vrrp, services = true): string {
  return `global_defs {
  router_id ${self}
  vrrp_version ${version}
}
vrrp_instance web {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority ${self === "lb1" ? 150 : 100}
  advert_int ${intervalMs / 1000}
  virtual_ipaddress { ${vip}/32 }
}
${services ? virtualServer : ""}`;
}
const real = (address: string): string => `  real_server ${address} 80 {
    weight 1
    TCP_CHECK { connect_timeout 1
      retry 0
      delay_before_retry 1 }
  }
`;
const virtualServer = `virtual_server ${vip} 80 {
  delay_loop 1
  lb_algo rr
  lb_kind DR
  protocol TCP
${real(addresses.web1)}${real(addresses.web2)}}
`;

export class DirectorLab {
  readonly #wires: Wires;
  readonly #folder = mkdtempSync(join(tmpdir(), "vipward-directors-"));
  readonly #processes = new Map<DirectorName, ChildProcess>();
  #servers: Worker | undefined;
  readonly #netlinks = new Map<DirectorName, Rtnetlink>();
  readonly #captures: ChildProcess[] = [];
  readonly output = new Map<DirectorName, string>();
  #prober: Worker | undefined;
  #load: Worker | undefined;
  readonly attempts: Attempt[] = [];

  constructor(prefix: string) {
    const machine = (name: MachineName): string[] => [`address add ${addresses[name]}/24 brd 10.50.0.255 dev eth0`];
    this.#wires = buildWires(
      prefix,
      Object.fromEntries(Object.keys(addresses).map((n) => [n, machine(n as MachineName)])),
    );
    try {
      for (const web of ["web1", "web2"] as const) {
        for (const scope of ["all", "eth0"]) {
          this.run(
            web,
            "sysctl",
            "-qw",
            `net.ipv4.conf.${scope}.arp_ignore=1`,
            `net.ipv4.conf.${scope}.arp_announce=2`,
          );
        }
        this.run(web, "ip", "address", "add", `${vip}/32`, "dev", "lo");
      }
      for (const lb of ["lb1", "lb2"] as const) this.run(lb, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
    } catch (error) {
      this.#wires.close();
      throw error;
    }
  }

  namespace(name: MachineName): Namespace {
    return this.#wires.machine(name);
  }
  run(name: MachineName, command: string, ...args: string[]): string {
    return this.#wires.run(name, command, ...args);
  }

  /** The server says its name, and repeats what it hears. In a thread of its own: this one waits for programs now and then. */
  async serve(name: Exclude<MachineName, "client">): Promise<void> {
    this.#servers ??= new Worker(new URL("./serverThread.js", import.meta.url));
    await this.#tellServers({ kind: "serve", name, namespace: this.namespace(name).name, port: 80 });
  }
  async stopServing(name: Exclude<MachineName, "client">): Promise<void> {
    await this.#tellServers({ kind: "stop", name });
  }
  #tellServers(message: ToServers): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#servers?.once("error", reject);
      this.#servers?.once("message", () => resolve());
      this.#servers?.postMessage(message);
    });
  }

  #spawn(name: DirectorName, command: string, args: readonly string[]): ChildProcess {
    const child = this.namespace(name).run(() => spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] }));
    const keep = (piece: Buffer): void => {
      this.output.set(name, `${this.output.get(name) ?? ""}${piece.toString()}`.slice(-100_000));
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("exit", (status, signal) => keep(Buffer.from(`[ended: ${status ?? signal}]\n`)));
    this.#processes.set(name, child);
    return child;
  }
  socket(name: DirectorName): string {
    return join(this.#folder, `${name}.sock`);
  }
  clusterFile(name: DirectorName): string {
    return join(this.#folder, `${name}.yaml`);
  }
  /** `unprivileged`: as nobody, with the two capabilities that docs/running-a-director.md names. */
  vipward(name: DirectorName, cluster: string, how: "root" | "unprivileged" = "root"): ChildProcess {
    writeFileSync(this.clusterFile(name), cluster);
    const state = join(this.#folder, name);
    mkdirSync(state, { recursive: true });
    const args = ["run", "--config", this.clusterFile(name), "--socket", this.socket(name), "--state-dir", state];
    const command = [process.execPath, main, ...args, "--as", name];
    if (how === "unprivileged") {
      chmodSync(this.#folder, 0o777);
      chownSync(state, nobody, nobody);
      const rights = ["inh-caps", "ambient-caps", "bounding-set"].map((set) => `--${set}=-all,+net_admin,+net_raw`);
      const account = [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--no-new-privs"];
      command.unshift("setpriv", ...account, ...rights);
    }
    const [program = "", ...rest] = command;
    return this.#spawn(name, program, rest);
  }
  /** Its failover thread alone, on kernels without IPVS. */
  vipwardVrrp(name: DirectorName, cluster: string): ChildProcess {
    writeFileSync(this.clusterFile(name), cluster);
    const node = fileURLToPath(new URL("./vrrpNode.js", import.meta.url));
    return this.#spawn(name, process.execPath, [node, this.clusterFile(name), name]);
  }
  keepalived(name: DirectorName, configuration: string): ChildProcess {
    const file = (what: string): string => join(this.#folder, `${name}.${what}`);
    writeFileSync(file("conf"), configuration);
    const pids = ["-p", file("pid"), "-r", file("vrrp.pid"), "-c", file("check.pid")];
    return this.#spawn(name, "keepalived", ["-n", "-l", "-D", "-f", file("conf"), ...pids]);
  }
  /** What tcpdump on a machine's wire says, until the lab is closed; the answer is all of it so far. */
  capture(name: MachineName, ...filter: string[]): () => string {
    const args = ["-l", "-nn", "-vv", "-i", "eth0", ...filter];
    const dump = this.namespace(name).run(() => spawn("tcpdump", args, { stdio: ["ignore", "pipe", "ignore"] }));
    let captured = "";
    dump.stdout.on("data", (piece: Buffer) => {
      captured += piece.toString();
    });
    this.#captures.push(dump);
    return () => captured;
  }
  process(name: DirectorName): ChildProcess {
    const child = this.#processes.get(name);
    if (child === undefined) throw new RangeError(`nothing runs on ${name}`);
    return child;
  }
  /** The process and what it started. */
  pids(name: DirectorName): number[] {
    const pid = this.process(name).pid;
    if (pid === undefined) return [];
    let children = "";
    try {
      children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    } catch {
      // it has ended
    }
    const more = children.split(/\s+/).filter((text) => text !== "");
    return [pid, ...more.map(Number)];
  }
  signal(name: DirectorName, signal: NodeJS.Signals): void {
    const send = (pid: number, what: NodeJS.Signals): void => {
      try {
        process.kill(pid, what);
      } catch {
        // it has ended meanwhile
      }
    };
    // keepalived starts a child again that has died. One that it starts between two kills would live on, with our pipe.
    const { pid } = this.process(name);
    if (signal === "SIGKILL" && pid !== undefined) send(pid, "SIGSTOP");
    // Children first: keepalived's say priority 0 when they see that their parent has died.
    for (const each of this.pids(name).reverse()) send(each, signal);
  }
  async ended(name: DirectorName, withinMs: number): Promise<void> {
    const child = this.process(name);
    if (child.exitCode !== null || child.signalCode !== null) return;
    await Promise.race([
      new Promise((resolve) => child.once("exit", resolve)),
      sleep(withinMs).then(() => {
        throw new Error(`${name} has not ended in ${withinMs} ms:\n${this.output.get(name) ?? ""}`);
      }),
    ]);
  }

  /** Who has the VIP, or another one, on this link now. */
  holders(link = "eth0", address: Ipv4 = vipAddress): DirectorName[] {
    return (["lb1", "lb2"] as const).filter((name) => {
      const netlink = this.#netlinks.get(name) ?? openRtnetlink(this.namespace(name));
      this.#netlinks.set(name, netlink);
      return netlink.addresses({ link }).some((a) => a.address === address);
    });
  }
  /** Takes a machine's wire out of the switch, or puts it back. */
  wire(name: MachineName, state: "up" | "down", link: "eth0" | "eth1" = "eth0"): void {
    const port = `${link === "eth0" ? "p" : "q"}${Object.keys(addresses).indexOf(name) + 1}`;
    this.#wires.switch.run(() => execFileSync("ip", ["link", "set", port, state]));
  }
  /** A second network, on a switch of its own: 10.51.0.0/24 on eth1, with the last octet of eth0. */
  secondNetwork(names: readonly MachineName[]): void {
    const inSwitch = (...args: string[]): void => {
      this.#wires.switch.run(() => execFileSync("ip", args));
    };
    inSwitch("link", "add", "br1", "type", "bridge", "mcast_snooping", "0");
    inSwitch("link", "set", "br1", "up");
    for (const name of names) {
      const port = `q${Object.keys(addresses).indexOf(name) + 1}`;
      const peer = ["peer", "name", port, "netns", this.#wires.switch.name];
      this.run(name, "ip", "link", "add", "eth1", "type", "veth", ...peer);
      inSwitch("link", "set", port, "master", "br1", "up");
      this.run(name, "ip", "address", "add", `${addresses[name].replace("10.50", "10.51")}/24`, "dev", "eth1");
      this.run(name, "ip", "link", "set", "eth1", "up");
    }
  }
  /** Another cluster file for a director that runs. */
  async reload(name: DirectorName, cluster: string): Promise<void> {
    writeFileSync(this.clusterFile(name), cluster);
    const answer = await this.ask(name, "reload", { force: true });
    if (!answer.ok) throw new Error(answer.error?.message);
  }
  async status(name: DirectorName): Promise<AgentStatus> {
    const answer = await askAgent(this.socket(name), { command: "status" });
    if (!answer.ok) throw new Error(answer.error?.message);
    return answer.value as AgentStatus;
  }
  ask(name: DirectorName, command: string, more: Record<string, unknown> = {}): ReturnType<typeof askAgent> {
    return askAgent(this.socket(name), { command, ...more });
  }
  async until(what: string, holds: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
    if (await within(withinMs, holds, 100)) return;
    const said = [...this.output].map(([name, text]) => `--- ${name}\n${text.slice(-6000)}`).join("\n");
    throw new Error(`not within ${withinMs} ms: ${what}\n${said}`);
  }

  /** A new connection to the VIP every so often, from now on. */
  async probe(everyMs: number, patienceMs: number): Promise<void> {
    const data = { namespace: this.namespace("client").name, vip, port: 80, everyMs, patienceMs };
    this.#prober = new Worker(new URL("./proberThread.js", import.meta.url), { workerData: data });
    await new Promise<void>((resolve, reject) => {
      this.#prober?.once("error", reject);
      this.#prober?.on("message", (message: Attempt | "ready") => {
        if (message === "ready") resolve();
        else this.attempts.push(message);
      });
    });
  }
  /** Clients that talk to the VIP from now on, until the lab is closed; the answer asks what became of them since. */
  async load(plan: Omit<LoadPlan, "namespace" | "vip" | "port">): Promise<() => Promise<LoadReport>> {
    const workerData: LoadPlan = { ...plan, namespace: this.namespace("client").name, vip, port: 80 };
    const worker = new Worker(new URL("./loadThread.js", import.meta.url), { workerData });
    this.#load = worker;
    let broke: (error: unknown) => void = () => {};
    const answer = <T>(): Promise<T> =>
      new Promise((resolve, reject) => {
        broke = reject;
        worker.once("message", resolve);
      });
    worker.on("error", (error) => broke(error));
    await answer<"ready">();
    return () => {
      worker.postMessage("report");
      return answer<LoadReport>();
    };
  }
  async stopProbing(): Promise<void> {
    await this.#prober?.terminate();
    this.#prober = undefined;
  }

  async close(): Promise<void> {
    await this.stopProbing();
    await this.#load?.terminate();
    for (const dump of this.#captures) dump.kill();
    for (const name of this.#processes.keys()) {
      const child = this.process(name);
      if (child.exitCode !== null || child.signalCode !== null) continue;
      this.signal(name, "SIGCONT");
      this.signal(name, "SIGKILL");
    }
    await this.#servers?.terminate();
    for (const netlink of this.#netlinks.values()) netlink.close();
    this.#wires.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export const epochMs = (): number => performance.timeOrigin + performance.now();
