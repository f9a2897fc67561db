import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { ipv4 } from "../base/ipv4.ts";
import { parseCluster } from "../cluster/parse.ts";
import { type CheckReport, checkHost } from "../doctor/check.ts";
import { clusterText, web } from "../doctor/testing/hosts.ts";
import { wishFromCluster, wishFromVips } from "../doctor/wish.ts";
import { SystemCallError } from "../host/errors.ts";
import { readFacts } from "../host/facts.ts";
import { openIpvs } from "../host/ipvs.ts";
import * as libc from "../host/libc.ts";
import type { Namespace } from "../host/namespace.ts";
import { Wire } from "./arpWire.ts";

/** A host in a namespace, on a wire with one neighbour who is its router and asks it questions. For tests. */

export const LIVE_VIP = "10.0.0.100";
export const LIVE_RIP = "10.0.0.11";
export const LIVE_CLIENT = "203.0.113.77";
const PORT = 8079;

export interface LiveRole {
  readonly role: "real-server" | "director" | "both";
  /** How the director sends; direct routing when absent. */
  readonly method?: "tun";
  readonly vips?: readonly string[];
  /** More lines of the cluster file; the host is then checked by it, as `web1` or `lb1`. */
  readonly cluster?: (text: string) => string;
}

const programs: readonly string[] = [
  "ip",
  "nft",
  "iptables",
  "arptables",
  "arptables-legacy",
  "ipvsadm",
  "modprobe",
  "rmmod",
];

/** Namespaces that are being taken down hold a module for a moment yet. */
function retried(work: () => void, untilMs = performance.now() + 5000): void {
  for (;;)
    try {
      work();
      return;
    } catch (error) {
      if (performance.now() > untilMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    }
}

const socketAddress = (ip: string, port: number): Uint8Array => {
  const address = new DataView(new ArrayBuffer(16));
  address.setUint16(0, libc.AF_INET, true);
  address.setUint16(2, port);
  address.setUint32(4, ipv4(ip));
  return new Uint8Array(address.buffer);
};

/**
 * One line of a set-up or a remedy in its place: a program of `programs`, `sysctl [-w] NAME=VALUE`, `listen IP:PORT` (a
 * TCP socket), `destination VIP:PORT RIP:PORT METHOD` (as ipvsadm would not add it); `peer ip ...` runs at the neighbour.
 */
export class LiveHost {
  readonly #wire: Wire;
  readonly #fds: number[] = [];
  #hasTunnel = false;
  constructor(label: string, lines: readonly string[]) {
    this.#wire = new Wire(label);
    try {
      this.run("peer ip addr add 203.0.113.77/32 dev lo");
      for (const line of lines) this.run(line);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  run(line: string): void {
    const words = line.split(" ");
    const place: Namespace = words[0] === "peer" ? this.#wire.peer : this.#wire.rs;
    if (words[0] === "peer") words.shift();
    const [tool = "", ...args] = words;
    if (tool === "sysctl") {
      const [, name = "", value = ""] = /^(?:-w )?([^=]+)=(\d+)$/.exec(args.join(" ")) ?? [];
      const path = name.includes("/") ? name : name.replaceAll(".", "/");
      place.run(() => writeFileSync(`/proc/sys/${path}`, value));
      return;
    }
    if (tool === "listen") {
      const [ip = "", port = ""] = args.join("").split(":");
      this.#fds.push(
        place.run(() => {
          const fd = libc.socket(libc.AF_INET, libc.SOCK_STREAM, 0, line);
          libc.bind(fd, socketAddress(ip, Number(port)), line);
          libc.listen(fd, 1, line);
          return fd;
        }),
      );
      return;
    }
    if (line === "wait dadfailed") {
      this.#awaitDadFailed();
      return;
    }
    if (tool === "destination") {
      const [service, destination] = args.slice(0, 2).map((end) => {
        const [ip = "", port = ""] = end.split(":");
        return { address: ipv4(ip), port: Number(port) };
      });
      const ipvs = openIpvs(place);
      assert.ok(service && destination);
      ipvs.addDestination({ protocol: "tcp", ...service }, { ...destination, forwarding: args[2] as "dr" | "tun" });
      ipvs.close();
      return;
    }
    if (!programs.includes(tool)) throw new RangeError(`no line for a live host: ${line}`);
    const start = (): void => void place.run(() => execFileSync(tool, args, { stdio: ["ignore", "pipe", "pipe"] }));
    if (tool === "rmmod") retried(start);
    else start();
  }

  #awaitDadFailed(): void {
    const until = Date.now() + 3000;
    while (!readFacts({ namespace: this.#wire.rs }).addresses6?.some((a) => a.dadFailed)) {
      if (Date.now() > until) throw new Error("duplicate address detection has not failed in 3 s");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }

  check({ role, method, vips = [LIVE_VIP], cluster }: LiveRole): CheckReport {
    const facts = readFacts({ namespace: this.#wire.rs });
    if (cluster === undefined) {
      const wish = wishFromVips(facts, vips, role, method);
      return checkHost({ ...wish, services: [{ ...web, vips: [LIVE_VIP] }] });
    }
    const read = parseCluster(cluster(clusterText().replaceAll("10.10.0.", "10.0.0.")));
    assert.ok(read.ok, JSON.stringify(read));
    const wish = wishFromCluster(facts, read.cluster, role === "director" ? "lb1" : "web1");
    assert.ok(wish.ok, JSON.stringify(wish));
    return checkHost(wish.input);
  }

  /** Whether any who-has of the neighbour for `ip` is answered. */
  answers = (ip: string): boolean => this.#wire.answered(ip).length > 0;

  /** Whether one that a neighbour asks by broadcast, as neighbours do, is. */
  answersNeighbours = (ip: string): boolean => this.#wire.answered(ip).includes("broadcast");

  /** The senders that the host's own ARP requests show while it sends from `ip`. */
  shows(ip: string): readonly string[] {
    try {
      return this.#wire.shownFor(ip);
    } catch (error) {
      if (error instanceof SystemCallError && error.errnoName === "ENETUNREACH") return []; // a policy rule forbids it
      throw error;
    }
  }

  /** What the host says by itself while `line` runs: sender addresses. */
  says(...lines: readonly string[]): readonly string[] {
    this.#wire.seen();
    for (const line of lines) this.run(line);
    return this.#wire.seen().map((a) => a.senderIp);
  }

  /**
   * Whether a client's datagram for `ip`, which the neighbour hands to this host's MAC, or puts into IPIP for its
   * address, gets to a socket.
   */
  takes(ip: string, method?: "tun"): boolean {
    if (method === "tun") {
      if (!this.#hasTunnel) {
        this.run(`peer ip tunnel add out0 mode ipip local 10.0.0.1 remote ${LIVE_RIP}`);
        this.run("peer ip link set out0 up");
      }
      this.#hasTunnel = true;
      this.run(`peer ip route replace ${ip}/32 dev out0`);
    } else {
      this.run(`peer ip route replace ${ip}/32 dev wire`);
      this.run(`peer ip neigh replace ${ip} lladdr 02:00:00:00:00:11 dev wire nud permanent`);
    }
    const [server, client] = (
      [
        [this.#wire.rs, "0.0.0.0"],
        [this.#wire.peer, LIVE_CLIENT],
      ] as const
    ).map(([place, from]) =>
      place.run(() => {
        const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0, "datagram");
        libc.bind(fd, socketAddress(from, from === LIVE_CLIENT ? 0 : PORT), "datagram");
        return fd;
      }),
    ) as [number, number];
    try {
      libc.sendto(client, Uint8Array.of(7), socketAddress(ip, PORT), "datagram");
      return libc.poll(server, libc.POLLIN, 30) > 0;
    } finally {
      libc.close(server);
      libc.close(client);
    }
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) libc.close(fd);
    this.#wire.close();
  }
}
