/** The sockets of health checks. What goes wrong on one is that attempt's `failed`, never an exception. */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Certificate, ProbeEvent } from "../../machine/health/probe.ts";
import type { ProbeAction, ProbePorts } from "../../ports/probes.ts";
import { decodeIpv4, PROTOCOL } from "../../wire/ipv4.ts";
import { SystemCallError } from "../errors.ts";
import { inetAddress } from "../inetSocket.ts";
import * as libc from "../libc.ts";
import { softLimit } from "../limits.ts";
import { asOrdinary } from "./ordinary.ts";
import { ProbeConnections } from "./probeConnections.ts";

export interface ProbeSocketsOptions {
  readonly onEvent: (attempt: number, event: ProbeEvent) => void;
  /** An IPv4 packet to this neighbour's own MAC. */
  readonly toNeighbour: (address: Ipv4, packet: Uint8Array) => void;
  /** Runs `body`, in which the events of many attempts are told; left out: just so. */
  readonly together?: (body: () => void) => void;
}

type Connect = Extract<ProbeAction, { kind: "connect" }>;

/** What one attempt has open, but for plain connections. */
interface Opened {
  readonly close: () => void;
  readonly send?: (octets: Uint8Array) => void;
}

/** What of a command's output is kept; more is read and thrown away, up to a measure that no check needs. */
const outputLimitOctets = 4096;
const outputPatienceOctets = 1_048_576;
const lastWordsMs = 200;
const RAW = 255; // IPPROTO_RAW: the packet brings its own header

const codeOf = (error: unknown): string =>
  error instanceof SystemCallError
    ? error.errnoName
    : ((error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : String(error)));

export interface Account {
  readonly uid: number;
  readonly gid: number;
}
/** From /etc/passwd, so that nothing is run to find it out; undefined when it is not there. */
export function accountOf(user: string, passwd = readFileSync("/etc/passwd", "utf8")): Account | undefined {
  for (const line of passwd.split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name === user && uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

function certificateOf(socket: TLSSocket): Certificate | undefined {
  const { valid_from, valid_to } = socket.getPeerCertificate();
  if (valid_to === undefined) return undefined;
  return { notBeforeEpochMs: Date.parse(valid_from), notAfterEpochMs: Date.parse(valid_to), nowEpochMs: Date.now() };
}

/** Descriptors that everything else of an agent needs. */
const reservedDescriptors = 256;
/** An exec check has the most: two pipes and what spawn itself opens for a moment. */
const descriptorsEach = 4;
/** How many attempts may be under way, by what this process may open. Node has made the soft limit the hard one. */
export function attemptsLimitOf(limits?: string): number {
  const most = softLimit("Max open files", limits) ?? Number.POSITIVE_INFINITY;
  return Math.max(16, Math.min(4_000, Math.floor((most - reservedDescriptors) / descriptorsEach)));
}

export class ProbeSockets implements ProbePorts {
  readonly #options: ProbeSocketsOptions;
  readonly #open = new Map<number, Opened>();
  #icmp: { readonly fd: number; readonly watch: libc.Watch } | undefined;
  readonly #echoes = new Map<number, Ipv4>();
  #raw: number | undefined;

  readonly #plain: ProbeConnections;
  readonly #together: (body: () => void) => void;

  constructor(options: ProbeSocketsOptions) {
    this.#options = options;
    this.#together = options.together ?? ((body) => body());
    this.#plain = new ProbeConnections({ onEvent: options.onEvent, together: this.#together });
  }

  perform(attempt: number, action: ProbeAction): void {
    try {
      this.#perform(attempt, action);
    } catch (error) {
      const notBegun = action.kind === "run" && { notBegun: true as const };
      this.#later(attempt, { kind: "failed", error: codeOf(error), ...notBegun });
    }
  }
  /** Whoever asked is in the middle of his own step: he is told after it. */
  #later(attempt: number, event: ProbeEvent): void {
    setImmediate(() => this.#tell(attempt, event));
  }
  #tell(attempt: number, event: ProbeEvent): void {
    this.#together(() => this.#options.onEvent(attempt, event));
  }

  #perform(attempt: number, action: ProbeAction): void {
    switch (action.kind) {
      case "connect":
        if (action.tls !== undefined) this.#connectTls(attempt, action, action.tls);
        else this.#plain.connect(attempt, action.address, action.port);
        return;
      case "send":
        this.#plain.send(attempt, action.octets);
        this.#open.get(attempt)?.send?.(action.octets);
        return;
      case "datagram":
        this.#plain.ask(attempt, action.address, action.port, action.octets);
        return;
      case "icmp":
        this.#echo(attempt, action);
        return;
      case "packet":
        if (action.to.kind === "neighbour") this.#options.toNeighbour(action.to.address, action.octets);
        else this.#route(action.to.address, action.octets);
        return;
      case "run":
        this.#run(attempt, action);
        return;
      case "release":
        if (this.#plain.close(attempt)) return;
        this.#echoes.delete(attempt);
        this.#open.get(attempt)?.close();
        this.#open.delete(attempt);
    }
  }

  #connectTls(attempt: number, { address, port }: Connect, tls: NonNullable<Connect["tls"]>): void {
    const tell = (event: ProbeEvent): void => {
      if (this.#open.has(attempt)) this.#tell(attempt, event);
    };
    const socket = tlsConnect({
      ...{ host: formatIpv4(address), port, rejectUnauthorized: tls.verify },
      ...(tls.sni !== undefined && { servername: tls.sni }),
    });
    socket.on("secureConnect", () => {
      const certificate = certificateOf(socket);
      tell({ kind: "connected", ...(certificate && { certificate }) });
    });
    socket.setNoDelay(true);
    socket.on("data", (octets) => tell({ kind: "octets", octets }));
    socket.on("end", () => tell({ kind: "closed" }));
    socket.on("error", (error) => tell({ kind: "failed", error: codeOf(error) }));
    this.#open.set(attempt, { close: () => void socket.destroy(), send: (octets) => void socket.write(octets) });
  }

  #echo(attempt: number, { address, octets }: Extract<ProbeAction, { kind: "icmp" }>): void {
    this.#icmp ??= this.#openIcmp();
    this.#echoes.set(attempt, address);
    libc.sendto(this.#icmp.fd, octets, inetAddress(address, 0), "ICMP check");
  }
  #openIcmp(): { fd: number; watch: libc.Watch } {
    const what = "ICMP checks";
    const fd = libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, PROTOCOL.icmp, what);
    const buffer = new Uint8Array(2048);
    const read = (): void => {
      for (let i = 0; i < 1024; i++) {
        const length = libc.recv(fd, buffer, 0, what);
        if (length === undefined) return;
        const ip = decodeIpv4(buffer.subarray(0, length));
        if (!ip.ok) continue;
        const octets = buffer.slice(ip.value.payloadOffset, ip.value.payloadEnd);
        for (const [attempt, address] of [...this.#echoes])
          if (address === ip.value.source) this.#options.onEvent(attempt, { kind: "icmp", octets });
      }
    };
    const watch = libc.onReadable(fd, () => this.#together(read));
    return { fd, watch };
  }

  #route(address: Ipv4, packet: Uint8Array): void {
    this.#raw ??= libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, RAW, "check through a tunnel");
    libc.sendto(this.#raw, packet, inetAddress(address, 0), `packet to ${formatIpv4(address)}`);
  }

  #run(attempt: number, { command, user, environment }: Extract<ProbeAction, { kind: "run" }>): void {
    const [file, ...args] = command;
    const account = accountOf(user);
    if (file === undefined || account === undefined) throw new Error(`there is no user ${user}`);
    // The file may not say root; an account of another name can have its number.
    if (account.uid === 0) throw new Error(`${user} is root, and checks do not run as root`);
    const isSame = process.getuid?.() === account.uid;
    const child: ChildProcess = asOrdinary(() =>
      spawn(file, args, {
        stdio: ["ignore", "pipe", "pipe"],
        detached: true, // a group of its own, so that what it starts ends with it
        cwd: "/",
        env: { ...environment, PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
        ...(!isSame && account), // and no further groups: libuv gives them up
      }),
    );
    let output = "";
    let octets = 0;
    const keep = (piece: Buffer): void => {
      octets += piece.length;
      if (output.length < outputLimitOctets) output += piece.toString("utf8", 0, outputLimitOctets);
      if (octets > outputPatienceOctets) this.#tell(attempt, { kind: "failed", error: "it prints without end" });
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (error) => {
      const notBegun = child.pid === undefined && { notBegun: true as const };
      this.#tell(attempt, { kind: "failed", error: codeOf(error), ...notBegun });
    });
    const opened = { close: () => endGroup(child) };
    this.#open.set(attempt, opened);
    child.on("exit", (status, signal) => {
      const tell = (): void => {
        clearTimeout(timer);
        if (this.#open.get(attempt) !== opened) return;
        this.#tell(attempt, {
          kind: "exited",
          status: status ?? undefined,
          output,
          ...(signal !== null && { signal }),
        });
      };
      // Its last words may come after its end; a grandchild that keeps the pipe open must not hide that it has ended.
      const timer = setTimeout(tell, lastWordsMs);
      child.once("close", tell);
    });
  }

  close(): void {
    this.#plain.closeAll();
    for (const { close } of this.#open.values()) close();
    this.#open.clear();
    this.#icmp?.watch.close();
    if (this.#icmp !== undefined) libc.close(this.#icmp.fd);
    if (this.#raw !== undefined) libc.close(this.#raw);
  }
}

function endGroup(child: ChildProcess): void {
  child.stdout?.destroy();
  child.stderr?.destroy();
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // it has ended, and all that it started
  }
}
