import { formatIpv4 } from "../base/ipv4.ts";
import type { FilterChainFacts, FilterRuleFacts } from "../model/facts.ts";
import { labelOf } from "../plan/kinds/address.ts";
import type { Step } from "../plan/plan.ts";
import type { Service } from "../plan/proof.ts";
import { sortedVips, TABLE } from "./arpFilter.ts";
import { vipProblems } from "./carrier.ts";
import { hasIpchains, hasIptables, hasNft, no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

/** Without a list of services every connection to the VIP is meant. */
const everything: readonly Service[] = [
  { protocol: "tcp", ports: [] },
  { protocol: "udp", ports: [] },
];

interface Redirected {
  readonly vips: readonly string[];
  readonly protocol: string;
  readonly port?: readonly [number, number];
}

/** One entry for each service and port range; VIPs that share it stand together. */
function redirected(s: Situation): Redirected[] {
  const services = s.wish.services.length === 0 ? everything : s.wish.services;
  const found = new Map<string, { vips: string[]; protocol: string; port?: readonly [number, number] }>();
  for (const service of services)
    for (const port of service.ports.length === 0 ? [undefined] : service.ports) {
      const key = `${service.protocol} ${port?.join("-") ?? "all"}`;
      const entry = found.get(key) ?? {
        vips: [],
        protocol: service.protocol,
        ...(port === undefined ? {} : { port }),
      };
      entry.vips.push(...(service.vip === undefined ? s.wish.vips : [service.vip]));
      found.set(key, entry);
    }
  return [...found.values()].map((e) => ({ ...e, vips: sortedVips(e.vips) }));
}

const verdict = (s: Situation): FilterRuleFacts["verdict"] => {
  const port = s.wish.options?.redirectPort;
  return port === undefined ? { kind: "redirect" } : { kind: "redirect", port };
};

const ruleOf = (s: Situation, e: Redirected, vips: readonly string[]): FilterRuleFacts => ({
  match: {
    target: { any: vips },
    protocol: { any: [e.protocol] },
    ...(e.port === undefined ? {} : { targetPort: { any: [e.port] } }),
  },
  verdict: verdict(s),
});

const why =
  "hands packets for the VIPs to the service here; the VIP itself is not on this host, so ARP has nothing to say";

function nftSteps(s: Situation): Step[] {
  const chain: FilterChainFacts = {
    tool: "nft",
    family: "ip",
    table: TABLE,
    chain: "prerouting",
    type: "nat",
    hook: "prerouting",
    priority: -100,
    policy: "accept",
    rules: redirected(s).map((e) => ruleOf(s, e, e.vips)),
  };
  const change = { kind: "nftTable", family: "ip", table: TABLE, before: null, after: [chain] } as const;
  return [{ change, why, rules: ["C-2.4-01", "C-2.4-02"] }];
}

const iptablesSteps = (s: Situation): Step[] =>
  redirected(s).flatMap((e) =>
    e.vips.map((vip): Step => {
      const rule = ruleOf(s, e, [vip]);
      const change = { kind: "iptables", table: "nat", chain: "PREROUTING", rule, before: false, after: true } as const;
      return { change, why, rules: ["C-2.4-01", "C-2.4-02"] };
    }),
  );

/** The redirect comes before routing, which must still succeed: forwarding on (C-2.2-03). */
const ipchainsSteps = (s: Situation): Step[] => [
  {
    change: { kind: "sysctl", name: "ip_forward", before: s.facts.sysctls.ip_forward ?? null, after: 1 },
    why: "ipchains REDIRECT needs a successful route look-up, also for an address that is not ours",
    rules: ["C-2.2-03"],
  },
  ...redirected(s).flatMap((e) =>
    e.vips.map((vip): Step => {
      const rule = ruleOf(s, e, [vip]);
      const change = { kind: "ipchains", table: "filter", chain: "input", rule, before: false, after: true } as const;
      return { change, why, rules: ["C-2.2-03", "C-2.2-04"] };
    }),
  ),
];

/** netfilter redirects to the first address of the incoming interface: on TUN that is tunl0, which needs one. */
function tunnelAddress(s: Situation): Step[] {
  if (s.wish.forwarding !== "tun" || s.switches.redirectForm !== "netfilter") return [];
  if (s.facts.addresses.some((a) => a.link === "tunl0")) return [];
  const rip = (s.lan.find((l) => l.isDefault) ?? s.lan[0])?.own[0];
  if (rip === undefined) return [];
  const label = labelOf("tunl0");
  const after = { prefixLength: 32, scope: 0, ...(label === undefined ? {} : { label }) };
  return [
    {
      change: { kind: "address", link: "tunl0", ip: formatIpv4(rip), before: null, after },
      why: "REDIRECT rewrites to the first address of the incoming interface, and without one drops; the RIP is ours anyway",
      rules: ["C-2.4-02"],
    },
  ];
}

type Form = (s: Situation) => Step[];
/** The first that the host has. */
const forms: readonly [has: (s: Situation) => boolean, name: string, form: Form][] = [
  [(s) => s.switches.redirectForm === "netfilter" && hasNft(s), "nft", nftSteps],
  [(s) => s.switches.redirectForm === "netfilter" && hasIptables(s), "iptables", iptablesSteps],
  [(s) => s.switches.redirectForm === "ipchains" && hasIpchains(s), "ipchains", ipchainsSteps],
];

export const redirect: Policy = {
  name: "redirect",
  summary: "no VIP on the host: REDIRECT of its traffic by nft, iptables or ipchains",
  where: "2.2 with transparent proxy, 2.4 and later",
  suits: (s) => {
    const form = forms.find(([has]) => has(s));
    if (form === undefined) return no("neither nft, iptables nor ipchains is here to redirect with");
    const [problem] = vipProblems(s, false);
    if (problem !== undefined) return no(problem);
    const notes =
      form[1] === "ipchains"
        ? ["ip_forward must stay on", "services that are not listed are not taken in"]
        : [
            "the service sees this host's own address, not the VIP (C-2.4-02)",
            "every connection takes a conntrack entry; ping to the VIP is not answered",
          ];
    return yes(60, `with ${form[1]}`, ...notes, ...tunnelNotes(s));
  },
  steps: (s) => [...tunnelReception(s, true), ...tunnelAddress(s), ...(forms.find(([has]) => has(s))?.[2](s) ?? [])],
};
