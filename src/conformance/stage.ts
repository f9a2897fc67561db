/**
 * Two namespaces: the host under test, and the wires of it, where nobody answers. Links are made once; a host is its
 * parts put on them, and taken off again. What is left behind by accident does no harm: the model works on what is
 * read back.
 */
import { closeSync, existsSync, openSync, writeSync } from "node:fs";
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { readFacts } from "../host/facts.ts";
import * as libc from "../host/libc.ts";
import { createNamespace, type Namespace, removeNamespace } from "../host/namespace.ts";
import { applyNft } from "../host/nft.ts";
import { linkAddress, openPacketSocket, type PacketSocket, SendBatch } from "../host/packetSocket.ts";
import { ask, type Link, openRtnetlink, type Rtnetlink } from "../host/rtnetlink.ts";
import { setLockTime } from "../host/rtnetlinkRequests.ts";
import type { HostFacts } from "../model/facts.ts";
import { writeHost32 } from "../wire/octets.ts";
import { anyLink } from "../wire/rtnetlink.ts";
import { sysctlDefault, sysctlNames } from "./generate.ts";
import type { HostPlan, LinkKind, NftHook, Part, Topology } from "./plan.ts";

const PROTOCOLS = [4, 6, 17, 253];
const IPPROTO_RAW = 255;
const SO_DONTROUTE = 5;
const SO_BINDTODEVICE = 25;
const SO_RCVBUFFORCE = 33;
const BATCH = 128;
const FRAME_OCTETS = 160;

function write(path: string, value: string | number): void {
  const fd = openSync(`/proc/sys/net/${path}`, "w");
  try {
    writeSync(fd, String(value));
  } finally {
    closeSync(fd);
  }
}

const LONG_LOCK_MS = 60_000;
/**
 * The kernel's files refuse a negative lock time, and 0 is over only with the next tick of its clock. This many
 * milliseconds overflow to a few ticks below zero (msecs_to_jiffies), so that every lock is over at once.
 */
export const NO_LOCK_MS = 0xffff_ffff;

/** Waiting entries stay, reachable ones stay, proxy answers come at once: nothing happens by the clock. */
const neighbourDefaults: Readonly<Record<string, number>> = {
  proxy_delay: 0,
  retrans_time_ms: 600_000,
  base_reachable_time_ms: 7_200_000,
  delay_first_probe_time: 3600,
  gc_stale_time: 36_000,
  locktime: LONG_LOCK_MS / 10,
};

const isVeth = (kind: LinkKind): boolean => kind === "veth" || kind === "port" || kind === "quiet";

const waitCell = new Int32Array(new SharedArrayBuffer(4));
/** Blocks the thread: everything here happens in one. */
export const sleep = (ms: number): void => void Atomics.wait(waitCell, 0, 0, ms);

export class Stage {
  readonly topology: Topology;
  readonly host: Namespace;
  readonly #peer: Namespace;
  readonly #rt: Rtnetlink;
  readonly #peerRt: Rtnetlink;
  /** ifindex in the host, by link. */
  readonly index = new Map<string, number>();
  /** ifindex of the far end, by link, and back. */
  readonly #farIndex = new Map<string, number>();
  readonly linkOfFar = new Map<number, string>();
  readonly wire: PacketSocket;
  readonly #batch = new SendBatch(BATCH, FRAME_OCTETS);
  /** Sockets that get a copy of what is delivered here, one for each protocol. */
  readonly #delivery: readonly number[];
  readonly #announcers = new Map<string, number>();
  readonly #sysctls = new Map<string, number>();
  #applied: readonly Part[] = [];
  #hadLocalRoute = false;
  #flapped = false;
  #hasNft = false;
  readonly #incoming = new Uint8Array(4096);

  /** Leaves the calling thread inside the host's namespace. */
  constructor(topology: Topology, name: string) {
    this.topology = topology;
    this.host = createNamespace(`${name}h`);
    this.#peer = createNamespace(`${name}p`);
    try {
      this.host.enter();
      this.#rt = openRtnetlink(this.host);
      this.#peerRt = openRtnetlink(this.#peer);
      this.#calm();
      this.#makeLinks();
      this.#delivery = PROTOCOLS.map((protocol) => {
        const fd = libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, protocol, "raw socket");
        libc.setsockopt(fd, libc.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20, "raw socket");
        return fd;
      });
      this.wire = openPacketSocket({ namespace: this.#peer });
    } catch (error) {
      removeNamespace(this.host.name);
      removeNamespace(this.#peer.name);
      throw error;
    }
  }

  #calm(): void {
    for (const namespace of [this.host, this.#peer])
      namespace.run(() => {
        for (const scope of ["all", "default"])
          if (existsSync(`/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`)) write(`ipv6/conf/${scope}/disable_ipv6`, 1);
        write("ipv4/ip_forward", 0);
        for (const scope of ["all", "default", "lo"]) for (const name of sysctlNames) this.#setConf(scope, name);
      });
  }

  /** The kernel's default; a new namespace may start from what the machine has. Files that are not there are passed over. */
  #setConf(scope: string, name: string): void {
    const path = `ipv4/conf/${scope}/${name}`;
    if (existsSync(`/proc/sys/net/${path}`)) write(path, sysctlDefault(name));
    else this.#sysctls.set(`missing ${name}`, 1);
  }

  #makeLinks(): void {
    const rt = this.#rt;
    for (const link of this.topology.links) {
      const { name, kind, mac } = link;
      const withMac = mac === undefined ? {} : { mac };
      if (isVeth(kind)) this.#must(rt.batch([this.#vethRequest(name, withMac)]));
      else if (kind === "bridge" || kind === "portless")
        rt.createBridge(name, { stp: false, multicastSnooping: false });
      else if (kind === "dummy") rt.createDummy(name);
      else if (kind === "macvlan") rt.createMacvlan(name, { parent: link.over as string, mode: link.mode ?? "bridge" });
      else if (kind === "ipip") rt.createIpip(name, link.tunnel ?? {});
      if (mac !== undefined && !isVeth(kind)) rt.setLink(name, { mac });
      if (kind === "port") rt.setLink(name, { master: link.over as string });
    }
    for (const link of rt.links()) this.index.set(link.name, link.index);
    // The directory "default" is there in the first namespace only.
    for (const { name } of this.topology.links)
      for (const [file, value] of Object.entries(neighbourDefaults)) write(`ipv4/neigh/${name}/${file}`, value);
    const ups = this.topology.links.map((l) => ask.setLink(this.#indexOf(l.name), { up: true }, l.name));
    this.#must(rt.batch([ask.setLink(this.#indexOf("lo"), { up: true }, "lo"), ...ups]));
    for (const link of this.#peerRt.links()) {
      if (link.loopback) continue;
      this.#farIndex.set(link.name, link.index);
      this.linkOfFar.set(link.index, link.name);
      this.#peerRt.setLink(link.index, { up: true });
    }
    this.#settle();
  }

  /**
   * Both ends with numbers of their own: the kernel is in no hurry to tell of carriers where the two are equal, as it
   * takes them for one device (linkwatch_urgent_event).
   */
  #vethRequest(name: string, mac: { readonly mac?: Mac }) {
    const place = this.topology.links.findIndex((l) => l.name === name);
    const peer = { ...anyLink, index: 100 + place, name, netNsFd: this.#peer.fd };
    const request = ask.createLink({ name, ...mac }, { kind: "veth", data: { peer } });
    writeHost32(request.payload, 4, 20 + place);
    return request;
  }

  /**
   * A carrier that comes or goes reaches queues and routes later, up to a second (net/core/link_watch.c); a link's
   * operational state turns at that moment. Until then frames get lost and routes do not know.
   */
  #settle(): void {
    const settled = (link: Link): boolean => {
      if (!link.up || link.loopback) return true;
      const isDown = /down|notpresent/.test(link.operationalState);
      return link.lowerUp ? link.operationalState === "up" || (link.kind !== "veth" && !isDown) : isDown;
    };
    const ends = (): boolean =>
      this.#rt.links().every(settled) && this.#peerRt.links().every((l) => !l.lowerUp || settled(l));
    for (let i = 0; i < 400 && !ends(); i++) sleep(i < 20 ? 1 : 5);
  }

  #must(failures: readonly { readonly error: Error }[]): void {
    if (failures[0] !== undefined) throw failures[0].error;
  }

  #indexOf(link: string): number {
    const index = this.index.get(link);
    if (index === undefined) throw new RangeError(`no link ${link}`);
    return index;
  }

  /** Puts a host on the links. What the kernel refuses (a route to nowhere) is simply not there. */
  apply(plan: HostPlan): void {
    const links = this.#flapped || [...this.#applied, ...plan.parts].some((p) => p.part === "link");
    this.#flapped = false;
    this.#reset();
    this.#applied = plan.parts;
    const wish = new Map<string, number>();
    for (const p of plan.parts) if (p.part === "sysctl") wish.set(p.key, p.value);
    for (const key of new Set([...this.#sysctls.keys(), ...wish.keys()])) this.#setSysctl(key, wish.get(key));
    const order: readonly Part["part"][] = ["link", "address", "route", "rule", "neighbour"];
    const tasks = order.flatMap((kind) =>
      plan.parts.filter((p) => p.part === kind).flatMap((p) => this.#add(p).map((request) => ({ p, request }))),
    );
    const refused = new Set(this.#rt.batch(tasks.map((t) => t.request)).map((f) => f.index));
    this.#hadLocalRoute ||= tasks.some(({ p }, i) => p.part === "route" && p.type === "local" && !refused.has(i));
    if (links) this.#settle();
    const rules = plan.parts.filter((p) => p.part === "nft");
    if (rules.length > 0 || this.#hasNft) applyNft([{ flush: { ruleset: null } }, ...nftCommands(rules)]);
    this.#hasNft = rules.length > 0;
  }

  #setSysctl(key: string, value: number | undefined): void {
    if (key.startsWith("missing ")) return;
    const dot = key.lastIndexOf(".");
    const name = key.slice(dot + 1);
    if (this.#sysctls.has(`missing ${name}`)) return;
    const byDefault = name === "locktime" ? LONG_LOCK_MS : sysctlDefault(name);
    const next = value ?? byDefault;
    if ((this.#sysctls.get(key) ?? byDefault) === next) return;
    try {
      if (name === "locktime") this.#must(this.#rt.batch([setLockTime(this.#indexOf(key.slice(6, dot)), next)]));
      else write(`ipv4/conf/${key.slice(0, dot)}/${name}`, next);
      this.#sysctls.set(key, next);
    } catch (error) {
      // arp_accept 2 and the like are refused by kernels that know fewer values.
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
    }
  }

  #add(p: Part) {
    switch (p.part) {
      case "link":
        return [
          ask.setLink(this.#indexOf(p.link), { noArp: p.noArp }),
          ask.setLink(this.#indexOf(p.link), { up: p.up }),
        ];
      case "address":
        return [ask.addAddress(this.#indexOf(p.link), p)];
      case "route":
        return [ask.addRoute(this.#routeWish(p))];
      case "rule":
        return [ask.addRule(p)];
      case "neighbour":
        return p.state === "proxy"
          ? [ask.setNeighbour(this.#indexOf(p.link), { address: p.address, proxy: true })]
          : [
              ask.setNeighbour(this.#indexOf(p.link), {
                address: p.address,
                state: p.state,
                ...(p.mac ? { mac: p.mac } : {}),
              }),
            ];
      default:
        return [];
    }
  }

  #routeWish(p: Extract<Part, { part: "route" }>) {
    const { destination, type, table, link, gateway, metric, hops } = p;
    return {
      destination,
      type,
      table,
      ...(link === undefined ? {} : { linkIndex: this.#indexOf(link) }),
      ...(gateway === undefined ? {} : { gateway, onLink: true }),
      ...(metric === undefined ? {} : { metric }),
      ...(hops === undefined
        ? {}
        : {
            hops: hops.map((h) => ({
              linkIndex: this.#indexOf(h.link),
              ...(h.gateway === undefined ? {} : { gateway: h.gateway, onLink: true }),
            })),
          }),
    };
  }

  #reset(): void {
    const parts = this.#applied;
    const requests = [
      ...parts.flatMap((p) => (p.part === "rule" ? [ask.removeRule(p)] : [])),
      ...parts.flatMap((p) => (p.part === "route" ? [ask.removeRoute(this.#routeWish(p))] : [])),
      ...parts.flatMap((p) =>
        p.part === "address" ? [ask.removeAddress(this.#indexOf(p.link), p.prefix, p.link, p.peer)] : [],
      ),
      ...parts.flatMap((p) =>
        p.part === "link"
          ? [ask.setLink(this.#indexOf(p.link), { noArp: false }), ask.setLink(this.#indexOf(p.link), { up: true })]
          : [],
      ),
    ];
    this.#rt.batch(requests);
    this.#forgetNeighbours();
    this.#applied = [];
  }

  #forgetNeighbours(): void {
    const all = [...this.#rt.neighbours(), ...this.#rt.neighbours({ proxy: true })];
    this.#rt.batch(all.map((n) => ask.removeNeighbour(n.linkIndex, n.address, "", n.proxy)));
  }

  facts(): HostFacts {
    const facts = readFacts({ onlyModel: true });
    return this.#hadLocalRoute ? { ...facts, kernel: { ...facts.kernel, hadCustomLocalRoutes: true } } : facts;
  }

  neighbours(): ReturnType<Rtnetlink["neighbours"]> {
    return this.#rt.neighbours();
  }

  /** So that packets that are forwarded leave at once. */
  setNeighbours(wishes: readonly { readonly link: number; readonly address: Ipv4; readonly mac: string }[]): void {
    this.#rt.batch(wishes.map((w) => ask.setNeighbour(w.link, { address: w.address, mac: w.mac as never })));
  }

  flap(link: string): void {
    this.#flapped = true;
    const index = this.#indexOf(link);
    this.#must(this.#rt.batch([ask.setLink(index, { up: false }), ask.setLink(index, { up: true })]));
  }

  /** Puts frames on the wires in order. */
  send(frames: readonly { readonly link: string; readonly octets: Uint8Array }[]): void {
    for (let from = 0; from < frames.length; from += BATCH) {
      const part = frames.slice(from, from + BATCH);
      part.forEach(({ link, octets }, slot) => {
        this.#batch.put(slot, octets);
        this.#batch.block.setName(slot, linkAddress(0, this.#farIndex.get(link) as number));
      });
      let sent = 0;
      while (sent < part.length) {
        try {
          const taken = this.wire.sendBatch(this.#batch, sent, part.length - sent);
          sent += Math.max(1, taken); // without a carrier the wire takes nothing, and says ENOBUFS
        } catch (error) {
          // A wire whose other end is down takes none.
          if (!/ENETDOWN|ENXIO/.test(String(error))) throw error;
          sent++;
        }
      }
    }
  }

  /** Sends a packet of any source by a link; false where the kernel has no way. */
  sendFromHost(link: string, packet: Uint8Array, to: Uint8Array): boolean {
    let fd = this.#announcers.get(link);
    if (fd === undefined) {
      fd = libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, IPPROTO_RAW, "raw socket");
      libc.setsockopt(fd, libc.SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(`${link}\0`), "raw socket");
      libc.setsockopt(fd, libc.SOL_SOCKET, SO_DONTROUTE, 1, "raw socket");
      this.#announcers.set(link, fd);
    }
    try {
      libc.sendto(fd, packet, to, "raw socket");
      return true;
    } catch {
      return false;
    }
  }

  /** Whole packets that were delivered to this host since last asked. */
  delivered(visit: (packet: Uint8Array) => void): void {
    for (const fd of this.#delivery)
      for (;;) {
        const length = libc.recv(fd, this.#incoming, 0, "raw socket");
        if (length === undefined) break;
        visit(this.#incoming.subarray(0, length));
      }
  }

  close(): void {
    for (const fd of [...this.#delivery, ...this.#announcers.values()]) libc.close(fd);
    this.wire.close();
    this.#batch.close();
    this.#rt.close();
    this.#peerRt.close();
    this.host.close();
    this.#peer.close();
    removeNamespace(this.host.name);
    removeNamespace(this.#peer.name);
  }
}

const nftHooks: readonly (readonly ["arp" | "ip", NftHook])[] = [
  ["arp", "input"],
  ["arp", "output"],
  ["ip", "prerouting"],
  ["ip", "input"],
  ["ip", "forward"],
];

function nftCommands(rules: readonly Extract<Part, { part: "nft" }>[]): unknown[] {
  const table = "vipward_conformance";
  const commands: unknown[] = [];
  for (const [family, hook] of nftHooks) {
    const here = rules.filter((r) => r.family === family && r.hook === hook);
    if (here.length === 0) continue;
    commands.push({ add: { table: { family, name: table } } });
    const chain = { family, table, name: hook, type: "filter", hook, prio: 0, policy: "accept" };
    commands.push({ add: { chain } });
    for (const { expr } of here) commands.push({ add: { rule: { family, table, chain: hook, expr } } });
  }
  return commands;
}
