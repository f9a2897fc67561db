/** Random links, hosts and questions. Everything comes from the dice, and values repeat often, so that rules meet. */
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import type { Dice } from "./dice.ts";
import type { HostPlan, LinkKind, LinkPlan, PacketPlan, Part, Question, RouteType, Topology } from "./plan.ts";

/** What the kernel can do, tried out once. */
export interface Abilities {
  readonly dummy: boolean;
  readonly ipip: boolean;
  readonly macvlan: boolean;
  readonly nft: boolean;
}

const linkMac = (n: number): Mac => mac(`02:c0:00:00:00:${(16 + n).toString(16)}`);
const at = (text: string): Ipv4 => ipv4(text);

export function drawTopology(dice: Dice, abilities: Abilities): Topology {
  const links: LinkPlan[] = [];
  const veths = dice.between(1, 3);
  for (let i = 0; i < veths; i++) links.push({ name: `eth${i}`, kind: "veth", mac: linkMac(i) });
  if (dice.chance(0.4)) {
    links.push({ name: "br0", kind: "bridge", mac: linkMac(8) });
    const ports = dice.between(1, 2);
    for (let i = 0; i < ports; i++) links.push({ name: `port${i}`, kind: "port", mac: linkMac(9 + i), over: "br0" });
  }
  if (abilities.macvlan && dice.chance(0.15))
    links.push({
      name: "mac0",
      kind: "macvlan",
      mac: linkMac(12),
      over: "eth0",
      mode: dice.pick(["bridge", "private", "vepa"]),
    });
  if (dice.chance(0.6)) links.push({ name: "dummy0", kind: carrierKind(dice, abilities), mac: linkMac(13) });
  if (abilities.ipip && dice.chance(0.6)) {
    if (dice.chance(0.7)) links.push({ name: "tunl0", kind: "tunl0" });
    if (dice.chance(0.5))
      links.push({
        name: "ipip1",
        kind: "ipip",
        // One with neither would be tunl0's twin, which the kernel refuses.
        tunnel: dice.pick([
          { local: at("10.1.0.2") },
          { remote: at("10.1.0.20") },
          { local: at("10.1.0.2"), remote: at("10.1.0.20") },
        ]),
      });
  }
  return {
    links,
    withRules: dice.chance(0.35),
    withLocalRoutes: dice.chance(0.35),
    withNft: abilities.nft && dice.chance(0.15),
  };
}

/** What holds VIPs where the kernel has no dummy; now and then one without a carrier, which takes long to settle. */
const carrierKind = (dice: Dice, { dummy }: Abilities): LinkKind =>
  dice.chance(0.1) ? "portless" : dummy ? "dummy" : "quiet";

/** Links that ARP and packets can come in on from outside. */
export const outerLinks = (t: Topology): LinkPlan[] => t.links.filter((l) => l.kind === "veth" || l.kind === "port");
/** Links with an ARP code of their own. */
const arpLinks = (t: Topology): LinkPlan[] =>
  t.links.filter((l) => l.kind === "veth" || l.kind === "bridge" || l.kind === "macvlan");
const holders = (t: Topology): string[] => ["lo", ...t.links.filter((l) => l.kind !== "port").map((l) => l.name)];

/** The subnet that belongs to a link by habit; other links may hold addresses of it, too. */
const subnetOf = (t: Topology, name: string): number =>
  Math.max(
    0,
    t.links.findIndex((l) => l.name === name),
  );
const inSubnet = (subnet: number, host: number): Ipv4 => ((10 << 24) | (1 << 16) | (subnet << 8) | host) as Ipv4;

const vips = ["10.1.0.100", "10.1.1.100", "192.168.7.7", "172.16.0.1", "203.0.113.9"].map(at);
const distant = ["198.51.100.5", "8.8.8.8", "172.16.5.5"].map(at);
const strange = [
  "0.0.0.0",
  "0.5.5.5",
  "127.0.0.1",
  "127.5.5.5",
  "224.0.0.5",
  "239.1.1.1",
  "240.1.1.1",
  "255.255.255.255",
  "10.1.0.255",
  "10.1.0.0",
  "10.1.1.255",
  "192.168.7.255",
].map(at);
/** As unsigned numbers, which is what Ipv4 is. */
const unsigned = (address: number): Ipv4 => (address >>> 0) as Ipv4;

/** Each file with its range; the first value is the kernel's. The rest of the range is drawn evenly. */
const ranges: Readonly<Record<string, readonly number[]>> = {
  arp_ignore: [0, 1, 1, 1, 2, 2, 2, 3, 3, 8, 4, 5, 6, 7, 9],
  arp_announce: [0, 1, 1, 2, 2, 3],
  arp_filter: [0, 1],
  arp_accept: [0, 1, 2],
  arp_notify: [0, 1],
  proxy_arp: [0, 1],
  proxy_arp_pvlan: [0, 1],
  medium_id: [0, -1, 1, 2],
  rp_filter: [0, 1, 2],
  accept_local: [0, 1],
  route_localnet: [0, 1],
  forwarding: [0, 1],
  drop_gratuitous_arp: [0, 1],
  drop_unicast_in_l2_multicast: [0, 1],
  send_redirects: [1, 0],
  src_valid_mark: [0, 1],
  bc_forwarding: [0, 1],
  ignore_routes_with_linkdown: [0, 1],
  arp_evict_nocarrier: [1, 0],
};
export const sysctlNames = Object.keys(ranges);
export const sysctlDefault = (name: string): number => ranges[name]?.[0] ?? 0;

export function drawHost(dice: Dice, t: Topology): HostPlan {
  const parts: Part[] = [];
  drawSysctls(dice, t, parts);
  for (const link of t.links) {
    const up = !dice.chance(link.kind === "ipip" || link.kind === "tunl0" ? 0.2 : 0.05);
    const noArp = link.kind !== "tunl0" && link.kind !== "ipip" && dice.chance(0.03);
    if (!up || noArp) parts.push({ part: "link", link: link.name, up, noArp });
  }
  for (const name of holders(t)) drawAddresses(dice, t, name, parts);
  const routes = dice.chance(0.7) ? dice.between(1, 5) : 0;
  for (let i = 0; i < routes; i++) drawRoute(dice, t, parts);
  if (t.withLocalRoutes) {
    const link = dice.pick(holders(t));
    const length = dice.pick([32, 32, 24]);
    parts.push({
      part: "route",
      type: "local",
      table: 255,
      link,
      destination: { address: dice.pick(vips), length },
    });
  }
  if (t.withRules) for (let i = dice.below(4); i > 0; i--) drawRule(dice, t, parts);
  for (let i = dice.below(5); i > 0; i--) drawNeighbour(dice, t, parts);
  if (t.withNft) for (let i = dice.between(1, 5); i > 0; i--) drawNft(dice, t, parts);
  return { parts };
}

function drawSysctls(dice: Dice, t: Topology, parts: Part[]): void {
  // Hosts with everything set at random answer nothing: most have a few settings away from the default.
  const spice = dice.pick([0.03, 0.1, 0.1, 0.25, 0.6]);
  const wish: Record<string, number> = dice.chance(0.5) ? { forwarding: 0.8, proxy_arp: 0.4 } : {};
  for (const scope of ["all", "lo", ...t.links.map((l) => l.name)])
    for (const [name, range] of Object.entries(ranges)) {
      if (scope === "all" && name === "forwarding") continue; // a write there writes everywhere
      const probability = wish[name] ?? (scope === "all" ? spice / 2 : spice);
      if (dice.chance(probability))
        parts.push({ part: "sysctl", key: `${scope}.${name}`, value: dice.pick(range.slice(1)) });
    }
  for (const link of t.links)
    if (dice.chance(0.5)) parts.push({ part: "sysctl", key: `neigh.${link.name}.locktime`, value: 0xffff_ffff });
}

const scopesDrawn = [0, 0, 0, 0, 0, 253, 254, 200];

function drawAddresses(dice: Dice, t: Topology, link: string, parts: Part[]): void {
  const subnet = subnetOf(t, link);
  const own = (): Part => {
    const prefix = {
      address: inSubnet(subnet, dice.between(2, 3)),
      length: dice.pick([24, 24, 24, 24, 25, 16, 31, 32]),
    };
    const broadcast = dice.chance(0.5) && prefix.length === 24 ? inSubnet(subnet, 255) : undefined;
    return {
      part: "address",
      link,
      prefix,
      scope: dice.pick(scopesDrawn),
      ...(broadcast === undefined ? {} : { broadcast }),
    };
  };
  const vip = (): Part => {
    const prefix = { address: dice.pick(vips), length: dice.pick([32, 32, 32, 24, 30]) };
    return { part: "address", link, prefix, scope: dice.pick(scopesDrawn) };
  };
  const withPeer = (): Part => {
    const address = dice.pick([inSubnet(subnet, 4), ...vips]);
    const peer: Prefix = {
      address: dice.pick([inSubnet(subnet, 20), at("10.5.0.1"), at("192.168.7.20")]),
      length: dice.pick([32, 32, 24]),
    };
    return { part: "address", link, prefix: { address, length: peer.length }, peer, scope: dice.pick(scopesDrawn) };
  };
  const carrier = link === "lo" || link === "dummy0" || link === "tunl0" || link === "ipip1";
  if (carrier) {
    if (dice.chance(0.6)) parts.push(vip());
    if (dice.chance(0.2)) parts.push(vip());
    if (link === "lo" && dice.chance(0.1))
      parts.push({
        part: "address",
        link,
        prefix: { address: at("127.5.5.5"), length: 32 },
        scope: dice.pick([0, 254]),
      });
    if (dice.chance(0.15)) parts.push(own());
    return;
  }
  if (dice.chance(0.25)) parts.push(vip());
  if (dice.chance(0.85)) parts.push(own());
  if (dice.chance(0.25)) parts.push(own());
  if (dice.chance(0.12)) parts.push(withPeer());
  if (dice.chance(0.15)) parts.push(vip());
}

function drawPrefix(dice: Dice, t: Topology): Prefix {
  const address = dice.pick([...vips, ...distant, inSubnet(dice.below(4), dice.pick([0, 20, 21, 100])), 0 as Ipv4]);
  const length = address === 0 ? 0 : dice.pick([32, 32, 24, 24, 16, 8]);
  const shift = 32 - length;
  void t;
  return { address: unsigned(length === 0 ? 0 : (address >>> shift) << shift), length };
}

function drawRoute(dice: Dice, t: Topology, parts: Part[]): void {
  const table = t.withRules ? dice.pick([254, 254, 100, 100, 253, 255]) : dice.pick([254, 254, 254, 253, 100]);
  const destination = drawPrefix(dice, t);
  const metric = dice.chance(0.2) ? { metric: dice.between(1, 3) } : {};
  const type: RouteType = dice.chance(0.25) ? dice.pick(["blackhole", "unreachable", "prohibit", "throw"]) : "unicast";
  if (type !== "unicast") {
    parts.push({ part: "route", destination, type, table, ...metric });
    return;
  }
  const links = arpLinks(t).map((l) => l.name);
  const link = dice.pick([...links, ...links, ...holders(t)]);
  const gateway = (name: string) =>
    dice.chance(0.4) ? { gateway: inSubnet(subnetOf(t, name), dice.between(20, 22)) } : {};
  if (dice.chance(0.1)) {
    const hops = [dice.pick(links), dice.pick(links)].map((name) => ({ link: name, ...gateway(name) }));
    parts.push({ part: "route", destination, type, table, hops, ...metric });
  } else parts.push({ part: "route", destination, type, table, link, ...gateway(link), ...metric });
}

function drawRule(dice: Dice, t: Topology, parts: Part[]): void {
  const prefix = (): Prefix => {
    const drawn = drawPrefix(dice, t);
    return drawn.length === 0 ? { address: unsigned(at("10.1.0.0")), length: 16 } : drawn;
  };
  parts.push({
    part: "rule",
    priority: dice.between(100, 400),
    action: dice.chance(0.8) ? "table" : dice.pick(["blackhole", "unreachable", "prohibit"]),
    table: dice.pick([100, 100, 254, 253]),
    ...(dice.chance(0.5) ? { source: prefix() } : {}),
    ...(dice.chance(0.4) ? { destination: prefix() } : {}),
    ...(dice.chance(0.3) ? { inputLink: dice.pick(["lo", ...arpLinks(t).map((l) => l.name)]) } : {}),
    ...(dice.chance(0.15) ? { invert: true } : {}),
  });
}

/** MACs that are nobody's question. */
const strangerMac = (n: number): Mac => mac(`02:bb:00:00:00:${n.toString(16).padStart(2, "0")}`);

function drawNeighbour(dice: Dice, t: Topology, parts: Part[]): void {
  const link = dice.pick(arpLinks(t)).name;
  const subnet = subnetOf(t, link);
  if (dice.chance(0.3)) {
    const address = dice.pick([...vips, inSubnet(subnet, 30), ...distant]);
    parts.push({ part: "neighbour", link, address, state: "proxy" });
    return;
  }
  parts.push({
    part: "neighbour",
    link,
    address: dice.pick([inSubnet(subnet, dice.between(20, 23)), dice.pick(vips), dice.pick(distant)]),
    mac: strangerMac(dice.between(1, 9)),
    state: dice.pick(["reachable", "stale", "stale", "permanent"]),
  });
}

function drawNft(dice: Dice, t: Topology, parts: Part[]): void {
  const address = (): string => text(dice.pick([...vips, inSubnet(dice.below(3), dice.pick([2, 20])), ...distant]));
  const match = (left: unknown, right: unknown): unknown => ({
    match: { op: dice.chance(0.1) ? "!=" : "==", left, right },
  });
  if (dice.chance(0.3)) {
    const hook = dice.pick(["input", "prerouting", "forward"] as const);
    const field = dice.pick(["saddr", "daddr"]);
    const expr = [
      match({ payload: { protocol: "ip", field } }, address()),
      { [dice.pick(["drop", "drop", "accept"])]: null },
    ];
    parts.push({ part: "nft", family: "ip", hook, expr });
    return;
  }
  const hook = dice.pick(["input", "output"] as const);
  const expr: unknown[] = [];
  if (dice.chance(0.3))
    expr.push(match({ meta: { key: hook === "input" ? "iifname" : "oifname" } }, dice.pick(arpLinks(t)).name));
  if (dice.chance(0.3))
    expr.push(match({ payload: { protocol: "arp", field: "operation" } }, dice.pick(["request", "reply"])));
  if (dice.chance(0.7))
    expr.push(match({ payload: { protocol: "arp", field: dice.pick(["saddr ip", "daddr ip"]) } }, address()));
  if (dice.chance(0.3)) {
    const field = hook === "output" ? "saddr ip" : dice.pick(["saddr ip", "daddr ip"]);
    expr.push({ mangle: { key: { payload: { protocol: "arp", field } }, value: address() } });
    if (dice.chance(0.5)) expr.push({ accept: null });
  } else expr.push({ [dice.pick(["drop", "drop", "accept"])]: null });
  parts.push({ part: "nft", family: "arp", hook, expr });
}

const text = (a: Ipv4): string => [24, 16, 8, 0].map((s) => (a >>> s) & 255).join(".");

/** Questions for one host: mostly about what it holds, from those who could ask. */
export function drawQuestions(dice: Dice, t: Topology, host: HostPlan, count: number): Question[] {
  const own = host.parts.flatMap((p) => (p.part === "address" ? [p.prefix.address] : []));
  const peers = host.parts.flatMap((p) => (p.part === "address" && p.peer ? [p.peer.address] : []));
  const known = host.parts.flatMap((p) => (p.part === "neighbour" ? [p.address] : []));
  const outer = outerLinks(t);
  const questions: Question[] = [];
  const anyone = (link: string): Ipv4 => {
    const subnet = subnetOf(t, link);
    const roll = dice.below(100);
    if (roll < 50) return inSubnet(subnet, dice.between(20, 29));
    if (roll < 58 && known.length > 0) return dice.pick(known);
    if (roll < 64 && peers.length > 0) return dice.pick(peers);
    if (roll < 72) return dice.pick(distant);
    if (roll < 79) return dice.pick(vips);
    if (roll < 86 && own.length > 0) return dice.pick(own);
    if (roll < 93) return dice.pick(strange);
    return inSubnet(dice.below(4), dice.between(20, 22));
  };
  const someTarget = (link: string): Ipv4 => {
    const roll = dice.below(100);
    if (roll < 45 && own.length > 0) return dice.pick(own);
    if (roll < 70) return dice.pick(vips);
    if (roll < 78) return dice.pick(distant);
    if (roll < 85) return dice.pick(strange);
    if (roll < 90 && known.length > 0) return dice.pick(known);
    return inSubnet(subnetOf(t, link), dice.pick([2, 3, 4, 20, 30, 77]));
  };
  const wireOf = (link: LinkPlan): string => link.over ?? link.name;
  const hasMacvlan = (link: string): boolean => t.links.some((l) => l.kind === "macvlan" && l.over === link);
  const asked: Ipv4[] = [];
  for (let n = 0; n < count; n++) {
    const roll = dice.below(100);
    if (roll < 12) {
      const link = dice.pick(arpLinks(t)).name;
      const nextHop = dice.pick([
        inSubnet(subnetOf(t, link), 100 + (n % 100) + 50),
        unsigned(at("192.168.7.0") + 20 + (n % 200)),
        unsigned(at("198.18.0.0") + n),
        unsigned(at("10.1.200.0") + n),
      ]);
      if (asked.includes(nextHop)) continue;
      asked.push(nextHop);
      questions.push({ n, ask: "announce", link, source: announceSource(dice, own), nextHop });
    } else if (roll < 70) {
      const link = dice.pick(outer);
      const wire = wireOf(link);
      const operation = dice.chance(0.82) ? 1 : dice.chance(0.95) ? 2 : 3;
      const senderIp = asked.length > 0 && dice.chance(0.06) ? dice.pick(asked) : anyone(wire);
      const frames = [
        "broadcast",
        "broadcast",
        "broadcast",
        "broadcast",
        "unicast",
        "unicast",
        "unicast",
        "other",
      ] as const;
      let frame: Extract<Question, { ask: "arp" }>["frame"] = dice.pick(frames);
      if (hasMacvlan(link.name)) {
        if (frame === "unicast" && dice.chance(0.4)) frame = "macvlan";
      } else if (frame === "broadcast" && dice.chance(0.05)) frame = "multicast";
      const targetIp = dice.chance(0.1) ? senderIp : someTarget(wire);
      const targetMac = dice.pick(["zero", "zero", "sender", "receiver"] as const);
      questions.push({ n, ask: "arp", link: link.name, frame, operation, senderIp, targetIp, targetMac });
    } else {
      const link = dice.pick(outer);
      const wire = wireOf(link);
      let frame: Extract<Question, { ask: "ip" }>["frame"] = dice.pick([
        "unicast",
        "unicast",
        "unicast",
        "unicast",
        "unicast",
        "other",
        "broadcast",
      ]);
      if (frame === "unicast" && hasMacvlan(link.name) && dice.chance(0.3)) frame = "macvlan";
      const plain = (): PacketPlan => ({
        source: anyone(wire),
        destination: someTarget(wire),
        protocol: frame === "unicast" ? dice.pick(["tcp", "udp", "other"]) : dice.pick(["udp", "other"]),
        destinationPort: dice.pick([80, 443, 53]),
      });
      const tunnels = t.links.some((l) => l.kind === "ipip" || l.kind === "tunl0");
      const header: PacketPlan =
        tunnels && dice.chance(0.5)
          ? {
              ...plain(),
              protocol: "ipip",
              destination: dice.chance(0.7) ? outerTarget(dice, t, own) : someTarget(wire),
              inner: plain(),
            }
          : plain();
      questions.push({ n, ask: "ip", link: link.name, frame, header });
    }
  }
  const veths = t.links.filter((l) => l.kind === "veth");
  if (dice.chance(0.25)) questions.push({ n: count, ask: "flap", link: dice.pick(veths).name });
  return questions;
}

function outerTarget(dice: Dice, t: Topology, own: readonly Ipv4[]): Ipv4 {
  void t;
  return own.length > 0 && dice.chance(0.5) ? dice.pick(own) : at("10.1.0.2");
}

function announceSource(dice: Dice, own: readonly Ipv4[]): Ipv4 {
  const roll = dice.below(100);
  if (roll < 55 && own.length > 0) return dice.pick(own);
  if (roll < 80) return dice.pick(vips);
  if (roll < 90) return dice.pick(distant);
  return at("127.0.0.1");
}
