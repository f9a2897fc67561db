import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { type Mac, mac, ZERO_MAC } from "../base/mac.ts";
import type { ArpPacket } from "../model/answerArp.ts";
import { compileHost } from "../model/compileHost.ts";
import type { AddressFacts, Generation, HostFacts, LinkFacts } from "../model/facts.ts";
import { generationOf, parseRelease } from "../model/generation.ts";
import type { Host } from "../model/host.ts";
import type { IpPacket } from "../model/receive.ts";

export const NIC: Mac = mac("02:00:00:00:00:02");
export const ASKER: Mac = mac("02:00:00:00:01:00");

/** Address in short: "10.0.0.1/24", "10.0.0.1/32 host", "10.0.0.1/24 secondary", "10.0.0.1/32 peer=10.9.9.9". */
export function addressFacts(link: string, short: string): AddressFacts {
  const [prefix = "", ...words] = short.split(" ");
  const [ip = "", length = "32"] = prefix.split("/");
  const named = (key: string): string | undefined => words.find((w) => w.startsWith(`${key}=`))?.slice(key.length + 1);
  const peer = named("peer");
  const label = named("label");
  const broadcast = named("brd");
  return {
    link,
    ip,
    prefixLength: Number(length),
    scope: words.includes("host") ? 254 : words.includes("link") ? 253 : 0,
    ...(words.includes("secondary") ? { secondary: true } : {}),
    ...(peer === undefined ? {} : { peer }),
    ...(label === undefined ? {} : { label }),
    ...(broadcast === undefined ? {} : { broadcast }),
  };
}

export interface HostSketch {
  readonly release?: string;
  readonly generation?: Generation;
  readonly patches?: HostFacts["kernel"]["patches"];
  readonly hadCustomRules?: boolean;
  readonly lo?: readonly string[];
  readonly eth0?: readonly string[];
  readonly eth1?: readonly string[];
  /** Further links, and changes to lo, eth0 and eth1 by name. */
  readonly links?: readonly Partial<LinkFacts>[];
  readonly addresses?: readonly AddressFacts[];
  readonly sysctls?: Readonly<Record<string, number>>;
  readonly more?: Partial<HostFacts>;
}

/** A host with lo, eth0 (ifindex 2) and, if it has addresses or is named, eth1 (ifindex 3). */
export function sketchFacts(sketch: HostSketch = {}): HostFacts {
  const release = sketch.release ?? "6.18.0";
  const links: LinkFacts[] = [
    { ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK"], mac: null },
    { ifindex: 2, name: "eth0", flags: ["UP", "BROADCAST"], mac: NIC },
  ];
  if (sketch.eth1) links.push({ ifindex: 3, name: "eth1", flags: ["UP", "BROADCAST"], mac: mac("02:00:00:00:00:03") });
  for (const [i, change] of (sketch.links ?? []).entries()) {
    const at = links.findIndex((l) => l.name === change.name);
    const base = links[at] ?? { ifindex: 10 + i, name: `link${i}`, flags: ["UP"], mac: null };
    const made: LinkFacts = { ...base, ...change };
    if (at >= 0) links[at] = made;
    else links.push(made);
  }
  const addresses = [
    ...(sketch.lo ?? []).map((a) => addressFacts("lo", a)),
    ...(sketch.eth0 ?? ["10.0.0.11/24"]).map((a) => addressFacts("eth0", a)),
    ...(sketch.eth1 ?? []).map((a) => addressFacts("eth1", a)),
    ...(sketch.addresses ?? []),
  ];
  return {
    factsVersion: 1,
    kernel: {
      release,
      generation:
        sketch.generation ??
        generationOf(
          parseRelease(release) ?? [],
          (sketch.patches ?? []).map((p) => p.name),
        ),
      ...(sketch.patches ? { patches: sketch.patches } : {}),
      ...(sketch.hadCustomRules ? { hadCustomRules: true } : {}),
    },
    links,
    addresses: [addressFacts("lo", "127.0.0.1/8 host"), ...addresses],
    routesGiven: "added",
    routes: [],
    rules: [],
    sysctls: sketch.sysctls ?? {},
    neighbours: [],
    filters: [],
    unread: [],
    ...sketch.more,
  };
}

export const sketchHost = (sketch: HostSketch = {}): Host => compileHost(sketchFacts(sketch));

/** A real server: RIP 10.0.0.11/24 on eth0, VIP 10.0.0.100/32 on lo. */
export const realServer = (sysctls: Readonly<Record<string, number>> = {}, sketch: HostSketch = {}): Host =>
  sketchHost({ lo: ["10.0.0.100/32"], sysctls, ...sketch });

/** "Who has `target`, tell `sender`", as a broadcast on eth0. */
export function whoHas(target: string, sender = "10.0.0.1", change: Partial<ArpPacket> = {}): ArpPacket {
  return {
    link: 2,
    frame: "broadcast",
    operation: 1,
    senderMac: ASKER,
    senderIp: ipv4(sender),
    targetMac: ZERO_MAC,
    targetIp: ipv4(target),
    ...change,
  };
}

/** A UDP packet for port 7000 that came in on eth0. */
export function udp(source: string, destination: string, change: Partial<IpPacket> = {}): IpPacket {
  return {
    link: 2,
    frame: "unicast",
    source: ipv4(source),
    destination: ipv4(destination),
    protocol: "udp",
    destinationPort: 7000,
    ...change,
  };
}

export const at = (text: string): Ipv4 => ipv4(text);
