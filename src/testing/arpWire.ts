import { execFileSync } from "node:child_process";
import { formatIpv4, type Ipv4, ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, mac, macFromOctets, writeMac, ZERO_MAC } from "../base/mac.ts";
import { prefix } from "../base/prefix.ts";
import * as libc from "../host/libc.ts";
import { createNamespace, type Namespace, removeNamespace } from "../host/namespace.ts";
import { openRtnetlink } from "../host/rtnetlink.ts";
import { testPrefix } from "./root.ts";

const ETH_ARP = 0x0806;
const PEER = ipv4("10.0.0.1");
const RS_MAC = mac("02:00:00:00:00:11");
const PEER_MAC = mac("02:00:00:00:00:01");
export interface ArpSeen {
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderIp: string;
  readonly targetIp: string;
}

function arpFrame(to: Mac, senderIp: Ipv4, targetIp: Ipv4): Uint8Array {
  const frame = new Uint8Array(42);
  const view = new DataView(frame.buffer);
  writeMac(to, frame, 0);
  writeMac(PEER_MAC, frame, 6);
  frame.set([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  writeMac(PEER_MAC, frame, 22);
  view.setUint32(28, senderIp);
  writeMac(ZERO_MAC, frame, 32);
  view.setUint32(38, targetIp);
  return frame;
}

/** A real server and its one neighbour, who hears all that it says. */
export class Wire {
  readonly rs: Namespace;
  readonly peer: Namespace;
  readonly #fd: number;
  #asked = 0;
  /** `bare`: the real server's links are down and have no address, as before a boot. */
  constructor(label: string, { bare = false } = {}) {
    const name = testPrefix(label);
    this.rs = createNamespace(`${name}rs`);
    this.peer = createNamespace(`${name}peer`);
    const rs = openRtnetlink(this.rs);
    const peer = openRtnetlink(this.peer);
    rs.createVeth({ name: "eth0", mac: RS_MAC }, { name: "wire", mac: PEER_MAC, namespace: this.peer });
    for (const [rt, link, address] of [
      [rs, "eth0", "10.0.0.11/24"],
      [peer, "wire", "10.0.0.1/24"],
    ] as const) {
      if (bare && rt === rs) continue;
      rt.setLink("lo", { up: true });
      rt.setLink(link, { up: true });
      rt.addAddress(link, { prefix: prefix(address) });
    }
    if (!bare) rs.addRoute({ gateway: PEER });
    const index = peer.indexOf("wire");
    rs.close();
    peer.close();
    this.#fd = this.peer.run(() => {
      const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0x0608, "arp tap");
      const address = new DataView(new ArrayBuffer(20));
      address.setUint16(0, libc.AF_PACKET, true);
      address.setUint16(2, ETH_ARP);
      address.setInt32(4, index, true);
      libc.bind(fd, new Uint8Array(address.buffer), "arp tap");
      return fd;
    });
  }

  /** Everything from the real server since the last call. */
  seen(): ArpSeen[] {
    const found: ArpSeen[] = [];
    const frame = new Uint8Array(128);
    for (;;) {
      const length = libc.recv(this.#fd, frame, libc.MSG_DONTWAIT, "arp tap");
      if (length === undefined) return found;
      const view = new DataView(frame.buffer);
      if (macFromOctets(frame, 6) === PEER_MAC) continue; // a macvlan has a MAC of its own
      found.push({
        operation: view.getUint16(20),
        senderMac: macFromOctets(frame, 22),
        senderIp: formatIpv4(view.getUint32(28) as Ipv4),
        targetIp: formatIpv4(view.getUint32(38) as Ipv4),
      });
    }
  }

  /**
   * Everything said in the name of `ip` since the last call, and then asks for it and, where the real server holds it,
   * makes it speak as `ip`. Waits for nothing.
   */
  overheard(ip: string): string[] {
    const said = this.seen()
      .filter((a) => a.senderIp === ip)
      .map((a) => (a.operation === 1 ? `asks as ${ip}` : `answers for ${ip}`));
    libc.send(this.#fd, arpFrame(BROADCAST_MAC, PEER, ipv4(ip)), 0, "arp request");
    this.rs.run(() => {
      const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM, 0, "datagram");
      try {
        libc.bind(fd, socketAddress(ipv4(ip), 0), `datagram from ${ip}`);
        // A neighbour not asked before, so that the kernel must ask.
        libc.sendto(fd, Uint8Array.of(1), socketAddress((PEER + 100 + (this.#asked++ % 100)) as Ipv4, 9), "datagram");
      } catch (error) {
        if (
          !["EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH"].includes((error as { errnoName?: string }).errnoName ?? "")
        )
          throw error;
      } finally {
        libc.close(fd);
      }
    });
    return said;
  }

  /** Who-has for `ip`, by broadcast, unicast and as a probe; the kinds that were answered. */
  answered(ip: string): string[] {
    const target = ipv4(ip);
    const kinds: string[] = [];
    for (const [kind, to, sender] of [
      ["broadcast", BROADCAST_MAC, PEER],
      ["unicast", RS_MAC, PEER],
      ["probe", BROADCAST_MAC, ipv4("0.0.0.0")],
    ] as const) {
      this.seen();
      libc.send(this.#fd, arpFrame(to, sender, target), 0, "arp request");
      libc.poll(this.#fd, libc.POLLIN, 30);
      if (this.seen().some((a) => a.operation === 2 && a.senderIp === ip)) kinds.push(kind);
    }
    return kinds;
  }

  /** Sends a datagram from `source`, so that the kernel must resolve the neighbour; the senders it showed. */
  shownFor(source: string): string[] {
    this.rs.run(() => execFileSync("ip", ["neigh", "flush", "all"]));
    this.seen();
    this.sendFrom(source);
    libc.poll(this.#fd, libc.POLLIN, 50);
    return this.seen().flatMap((a) => (a.operation === 1 ? [a.senderIp] : []));
  }

  /** One datagram to the neighbour. */
  sendFrom(source: string): void {
    this.rs.run(() => {
      const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM, 0, "datagram");
      try {
        libc.bind(fd, socketAddress(ipv4(source), 0), `datagram from ${source}`);
        libc.sendto(fd, Uint8Array.of(1), socketAddress(PEER, 9), "datagram");
      } finally {
        libc.close(fd);
      }
    });
  }

  /** The real server's entry for an address, with the neighbour's MAC. */
  setNeighbour(ip: string, state: string): void {
    const args = ["neigh", "replace", ip, "lladdr", PEER_MAC, "dev", "eth0", "nud", state];
    this.rs.run(() => execFileSync("ip", args));
  }

  close(): void {
    libc.close(this.#fd);
    for (const ns of [this.rs, this.peer]) {
      ns.close();
      removeNamespace(ns.name);
    }
  }
}

function socketAddress(ip: Ipv4, port: number): Uint8Array {
  const address = new DataView(new ArrayBuffer(16));
  address.setUint16(0, libc.AF_INET, true);
  address.setUint16(2, port);
  address.setUint32(4, ip);
  return new Uint8Array(address.buffer);
}
