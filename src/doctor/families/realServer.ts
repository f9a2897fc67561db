import type { SocketFacts } from "../../model/facts.ts";
import { acceptances, refusedOn } from "../acceptance.ts";
import { addressEvidence, type Context, linkEvidence } from "../context.ts";
import type { Entry } from "../entry.ts";
import { ipText, rules } from "../questions.ts";
import { list, setConf, theVips } from "../text.ts";

/** Does the real server take what the director sends it? */

const failing = (context: Context, fault: string) => acceptances(context).filter((a) => a.fault === fault);

const hosts = (vips: readonly string[]): string => (new Set(vips).size > 1 ? "are" : "is");

export const realServer: readonly Entry[] = [
  {
    id: "vip-missing-on-real-server",
    title: "the real server does not hold the VIP",
    severity: "critical",
    roles: ["real server"],
    notice: "SYNs arrive at the real server and nothing comes back: its share of the clients gets timeouts.",
    why: "Direct routing and tunnelling leave the destination address as it is. If the VIP is not local here, the packet is dropped, or forwarded back to the director.",
    cure: "Silence first, then the VIP as /32 on lo, a dummy or the tunnel.",
    rules: ["C-ALL-02", "C-2.6-01"],
    detect: (context) => {
      const bad = failing(context, "not local");
      const lost = bad.length > 0 && loopbackLost(context);
      if (bad.length === 0 || lost) return [];
      const vips = [...new Set(bad.map((a) => a.vip.text))];
      const modern = context.host.switches.arpIgnoreAnnounce;
      return [
        {
          vips,
          links: [...new Set(bad.map((a) => a.link.name))],
          wrong: `${theVips(vips)} ${hosts(vips)} not local here: a packet for it on ${bad[0]?.link.name} ${
            bad[0]?.verdict.kind === "forward" ? `is forwarded out of ${bad[0].verdict.out}` : "is dropped"
          }.`,
          shell: [
            ...(modern
              ? context.lan.flatMap((l) => [setConf(l.name, "arp_ignore", 1), setConf(l.name, "arp_announce", 2)])
              : []),
            ...vips.slice(0, 16).map((v) => `ip address add ${v}/32 dev lo`),
          ],
          vipward: "vipward apply",
          rules: rules(bad.map((a) => a.verdict)),
          evidence: [{ path: "addresses", value: `none is ${list(vips)}` }],
        },
      ];
    },
  },
  {
    id: "vip-packets-refused",
    title: "the kernel refuses the VIP's packets",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: "SYNs arrive at the real server and nothing comes back.",
    why: "The VIP is local, and the packet is refused before that counts: the interface has no IPv4 state (kernels up to 2.6.21, without an address), or the client's source is no source here.",
    cure: "Give the interface an address of its own; look at the route to the client.",
    rules: ["C-ALL-03"],
    detect: (context) => {
      const bad = failing(context, "other");
      const [first] = bad;
      if (!first) return [];
      const vips = [...new Set(bad.map((a) => a.vip.text))];
      return [
        {
          vips,
          links: [first.link.name],
          wrong: `A packet from ${ipText(first.client)} for ${theVips(vips)} is dropped on ${first.link.name}: ${first.verdict.because}.`,
          shell: [`# ip address show dev ${first.link.name}; ip route get ${ipText(first.client)}`],
          rules: rules(bad.map((a) => a.verdict)),
          evidence: linkEvidence(context, first.link.name),
        },
      ];
    },
  },
  {
    id: "lo-addresses-dropped-by-manager",
    title: "lo has lost its addresses",
    severity: "critical",
    roles: ["real server"],
    notice: "The VIP, and even 127.0.0.1, is gone from lo; local services fail at the same time.",
    why: "A network manager or script took lo over, or took it down, and put back only what it knew. Which program manages lo the facts do not show; that 127.0.0.1 is gone along with the VIP they do.",
    cure: "Bring lo up, add the addresses, and keep managers away from lo (or hold the VIP on a dummy of its own).",
    rules: ["C-ALL-02"],
    detect: (context) => {
      const bad = failing(context, "not local");
      const lo = context.host.loopback;
      if (bad.length === 0 || !lo || !loopbackLost(context)) return [];
      const vips = [...new Set(bad.map((a) => a.vip.text))];
      return [
        {
          vips,
          links: [lo.name],
          wrong: `${lo.name} holds neither 127.0.0.1 nor ${theVips(vips)}${lo.up ? "" : ", and is down"}.`,
          shell: [
            `ip link set ${lo.name} up`,
            `ip address add 127.0.0.1/8 dev ${lo.name} scope host`,
            ...vips.slice(0, 16).map((v) => `ip address add ${v}/32 dev ${lo.name}`),
          ],
          vipward: "vipward apply",
          rules: rules(bad.map((a) => a.verdict)),
          evidence: linkEvidence(context, lo.name),
        },
      ];
    },
  },
  {
    id: "service-bound-to-rip-only",
    title: "the service listens on the real server's own address only",
    severity: "high",
    roles: ["real server"],
    notice: "Clients get resets from the VIP while the health check, which asks the RIP, is green.",
    why: "The packet arrives with the VIP as its destination. A socket bound to the RIP does not match it. It also happens when the daemon started before the VIP was there.",
    cure: "Bind to the wildcard or to the VIP as well, and restart the service.",
    rules: ["C-ALL-02"],
    detect: (context) =>
      listeners(context)
        .filter(({ takes, there }) => there.length > 0 && !takes)
        .map(({ vip, service, port, there }) => ({
          vips: [vip],
          wrong: `${service} port ${port}: the service listens on ${list(there.map((s) => s.ip))} and not on ${vip}, where its packets go.`,
          shell: [`# let the service${program(there)} listen on 0.0.0.0:${port} or ${vip}:${port}, and restart it`],
          evidence: there.slice(0, 4).map((s) => socketEvidence(context, s)),
        })),
  },
  {
    id: "service-bound-to-vip-only",
    title: "the service listens on the VIP only, and the check asks the RIP",
    severity: "medium",
    roles: ["real server"],
    notice: "It would work for clients, but the health check is red and the director sends nothing.",
    why: "The check goes to the real server's own address, where nobody listens.",
    cure: "Check through the VIP's path (type vip-path), or bind the service to the wildcard. A director that is a real server too is asked at its RIP in any case: the wildcard.",
    rules: ["C-ALL-02"],
    detect: (context) => {
      const { director } = context;
      const asksRip = new Set(
        (context.cluster?.services ?? [])
          .filter((s) => s.checks.length > 0)
          .filter((s) => s.checks.every((c) => c.type !== "exec" && (director || c.type !== "vip-path")))
          .map((s) => s.name),
      );
      return listeners(context)
        .filter(({ name, there, takes, vipOnly }) => asksRip.has(name) && there.length > 0 && takes && vipOnly)
        .map(({ vip, service, port, there }) => ({
          vips: [vip],
          wrong: `${service} port ${port}: the service listens on ${vip} only, and the check asks this host's own address.`,
          shell: [
            director
              ? `# let the service${program(there)} listen on 0.0.0.0:${port}, and restart it`
              : `# set the service's health check to {type: vip-path}, or let it listen on 0.0.0.0:${port}`,
          ],
          evidence: there.slice(0, 4).map((s) => socketEvidence(context, s)),
        }));
    },
  },
  {
    id: "rp-filter-max-surprise",
    title: "rp_filter of the interface is off, and that of all is in force",
    severity: "high",
    roles: ["real server"],
    notice: "Packets arrive and vanish: no answer, no ICMP. Clients time out.",
    why: "The larger of all and the interface is in force, so a 0 on the interface does not help against all=1. The value 2 (loose) on the interface does beat all=1.",
    cure: "Set 2 on the interface, or 0 in both where the interface has no address.",
    rules: ["S-rp_filter", "C-ALL-03"],
    detect: (context) =>
      rpHits(
        context,
        (link, own) => own === 0 && link.conf.rpFilter > 0,
        (link) =>
          `${link}.rp_filter is 0, but all.rp_filter is ${context.sysctl("all.rp_filter") ?? 0}, and the larger one is in force`,
      ),
  },
  {
    id: "rp-filter-tunl0",
    title: "rp_filter drops what comes out of the tunnel",
    severity: "critical",
    roles: ["real server"],
    notice: "IPIP packets arrive, the inner SYN is seen on tunl0, and no SYN/ACK leaves.",
    why: "The route to a client never goes through the tunnel. Strict rp_filter drops the inner packet; if the tunnel has no address, loose drops it too.",
    cure: "rp_filter=0 for the tunnel and all, or an address (the VIP) on the tunnel and 2.",
    rules: ["C-2.6-03"],
    detect: (context) =>
      rpHits(
        context,
        (link, own) => link.isIpip && own !== 0,
        (link) => `rp_filter is in force on ${link}`,
      ),
  },
  {
    id: "rp-filter-drops-clients",
    title: "strict rp_filter drops clients that are routed out of another interface",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: "Some clients work and others time out, by where they come from.",
    why: "Strict rp_filter takes a packet only from the interface by which its source is routed. With two interfaces the director's packets come in on one and the route to the client leaves by the other.",
    cure: "rp_filter=2 (loose) on the interface that faces the director.",
    rules: ["C-2.6-04", "C-ALL-03"],
    detect: (context) =>
      rpHits(
        context,
        (link, own) => !link.isIpip && own !== 0,
        (link) => `rp_filter is in force on ${link}`,
      ),
  },
];

const loopbackLost = (context: Context): boolean => {
  const lo = context.host.loopback;
  return lo !== undefined && !lo.addresses.some((a) => a.ip >>> 24 === 127);
};

function rpHits(
  context: Context,
  fits: (
    link: { readonly isIpip: boolean; readonly conf: { readonly rpFilter: number } },
    own: number | undefined,
  ) => boolean,
  say: (link: string) => string,
) {
  const bad = failing(context, "rp_filter").filter((a) => {
    const link = refusedOn(context, a);
    return fits(link, context.sysctl(`${link.name}.rp_filter`));
  });
  const [first] = bad;
  if (!first) return [];
  const link = refusedOn(context, first);
  const vips = [...new Set(bad.map((a) => a.vip.text))];
  const bare = link.addresses.length === 0;
  return [
    {
      vips,
      links: [link.name],
      wrong: `A packet from ${ipText(first.client)} for ${theVips(vips)} is dropped: ${say(link.name)}${
        bare ? `, and ${link.name} has no address` : ""
      }.`,
      shell:
        bare || !context.host.switches.rpLoose
          ? [
              ...context.lan.map((l) => setConf(l.name, "rp_filter", context.host.switches.rpLoose ? 2 : 0)),
              setConf("all", "rp_filter", 0),
              setConf(link.name, "rp_filter", 0),
            ]
          : [setConf(link.name, "rp_filter", 2)],
      vipward: "vipward apply",
      rules: [...rules(bad.map((a) => a.verdict)), "S-rp_filter" as const],
      evidence: [
        ...context.evidence("all.rp_filter", `${link.name}.rp_filter`),
        ...(bare ? linkEvidence(context, link.name) : addressEvidence(context, first.vip.ip)),
      ],
    },
  ];
}

interface Listener {
  readonly vip: string;
  readonly name: string;
  readonly service: string;
  readonly port: number;
  readonly there: readonly SocketFacts[];
  readonly takes: boolean;
  readonly vipOnly: boolean;
}

/** The sockets of every service port, where the facts have sockets at all. Ranges count by their first port. */
function listeners(context: Context): Listener[] {
  const { sockets } = context.facts;
  if (sockets === undefined || !context.realServer) return [];
  const byPort = new Map<string, SocketFacts[]>();
  for (const s of sockets) {
    const key = `${s.protocol} ${s.port}`;
    const there = byPort.get(key);
    if (there) there.push(s);
    else byPort.set(key, [s]);
  }
  const found: Listener[] = [];
  for (const service of context.services) {
    if (service.methods.every((m) => m === "nat")) continue;
    for (const vip of service.vips)
      for (const [port] of service.ports) {
        const there = (byPort.get(`${service.protocol} ${port}`) ?? []).filter((s) => !s.ip.startsWith("127."));
        const takes = there.some((s) => s.ip === "0.0.0.0" || s.ip === "::" || s.ip === vip);
        const vipOnly = there.every((s) => context.vips.includes(s.ip));
        found.push({ vip, name: service.name, service: service.protocol, port, there, takes, vipOnly });
      }
  }
  return found;
}

const program = (sockets: readonly SocketFacts[]): string => {
  const names = [...new Set(sockets.flatMap((s) => s.program ?? []))];
  return names.length > 0 ? ` (${list(names)})` : "";
};

const socketEvidence = (context: Context, s: SocketFacts) => ({
  path: `sockets[${context.facts.sockets?.indexOf(s) ?? 0}]`,
  value: `${s.protocol} ${s.ip}:${s.port}`,
});
