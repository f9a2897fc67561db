/**
 * Silence policies as changes of one simulated host's facts. The simulator needs to know what each makes of a host,
 * not how to get there on a live one: that is policy/ and plan/.
 */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Carrier, SilencePolicyName } from "../../cluster/words.ts";
import type { FilterChainFacts, HostFacts, LinkFacts } from "../../model/facts.ts";
import { type Switches, switchesOf } from "../../model/switches.ts";
import type { Cure, CureChange } from "../report.ts";

export interface Subject {
  readonly name: string;
  readonly carrier: string;
  readonly vips: readonly Ipv4[];
  /** Its own address on the LAN. */
  readonly rip: Ipv4;
  /** Links that face a wire. */
  readonly nics: readonly string[];
  readonly forwarding: "dr" | "tun" | "nat";
  /** redirect: only this port, on all protocols of the services; undefined: all ports, a rule per protocol. */
  readonly redirectPort?: number | undefined;
}

interface Discipline {
  /** The policy knows answering and announcing apart, so that half of it can be applied. */
  readonly halves: boolean;
  /** Nothing is to be done: the kernel is silent as it is. */
  readonly byNature?: true;
  readonly apply: (facts: HostFacts, subject: Subject, cure: Exclude<Cure, "none">) => HostFacts;
}

const withSysctls = (facts: HostFacts, values: Readonly<Record<string, number>>): HostFacts => ({
  ...facts,
  sysctls: { ...facts.sysctls, ...values },
});
const same = (facts: HostFacts): HostFacts => facts;

const flagOnCarrier =
  (file: string) =>
  (facts: HostFacts, { carrier }: Subject): HostFacts =>
    withSysctls(facts, { [`all.${file}`]: 1, [`${carrier}.${file}`]: 1 });

const withoutVips = (facts: HostFacts, { vips }: Subject): HostFacts => {
  const texts = new Set(vips.map(formatIpv4));
  return { ...facts, addresses: facts.addresses.filter((a) => !texts.has(a.ip)) };
};

const arpChains = (tool: "nft" | "arptables", subject: Subject, cure: Cure): FilterChainFacts[] => {
  const any = subject.vips.map(formatIpv4);
  const rip = formatIpv4(subject.rip);
  const chains: FilterChainFacts[] = [];
  if (cure !== "announce-only")
    chains.push({
      tool,
      family: "arp",
      hook: "input",
      rules: [{ match: { target: { any } }, verdict: { kind: "drop" } }],
    });
  if (cure !== "ignore-only")
    chains.push({
      tool,
      family: "arp",
      hook: "output",
      rules: [{ match: { source: { any } }, verdict: { kind: "mangle", senderIp: rip, next: "accept" } }],
    });
  return chains;
};

function redirect(facts: HostFacts, subject: Subject): HostFacts {
  const form = switchesOf(facts.kernel).redirectForm;
  const any = subject.vips.map(formatIpv4);
  const port = subject.redirectPort;
  const rules = ["tcp", "udp"].map((protocol) => ({
    match: {
      target: { any },
      protocol: { any: [protocol] },
      ...(port === undefined ? {} : { targetPort: { any: [[port, port] as const] } }),
    },
    verdict: { kind: "redirect" as const, ...(port === undefined ? {} : { port }) },
  }));
  const plain = withoutVips(facts, subject);
  // `ifconfig tunl0 0.0.0.0 up`: before 2.6.22 a tunnel without an address takes nothing (C-2.2-06)
  const bare = { ...plain, links: plain.links.map((l) => (l.name === "tunl0" ? { ...l, ipv4State: true } : l)) };
  if (form === "netfilter") {
    const chain: FilterChainFacts = { tool: "iptables", family: "ip", table: "nat", hook: "prerouting", rules };
    // netfilter redirects to the first address of the incoming interface: tunl0 needs one (C-2.4-02)
    const tunnel = { link: "tunl0", ip: formatIpv4(subject.rip), prefixLength: 32, scope: 0 };
    const needs = subject.forwarding === "tun" && !bare.addresses.some((a) => a.link === "tunl0");
    return {
      ...bare,
      ...(needs ? { addresses: [...bare.addresses, tunnel] } : {}),
      filters: [...bare.filters, chain],
    };
  }
  const chain: FilterChainFacts = {
    tool: form === "ipchains" ? "ipchains" : "ipfwadm",
    family: "ip",
    hook: "input",
    rules,
  };
  // ipchains: the route look-up must succeed (C-2.2-03)
  return withSysctls({ ...bare, filters: [...bare.filters, chain] }, form === "ipchains" ? { ip_forward: 1 } : {});
}

function localRoute(facts: HostFacts, subject: Subject): HostFacts {
  const bare = withoutVips(facts, subject);
  const routes = subject.vips.map((vip) => ({
    dst: `${formatIpv4(vip)}/32`,
    type: "local" as const,
    table: 255,
    dev: "lo",
    scope: 254,
  }));
  const sysctls = subject.nics.flatMap((nic) => [
    [`${nic}.arp_ignore`, 1] as const,
    [`${nic}.arp_announce`, 2] as const,
  ]);
  return withSysctls({ ...bare, routes: [...bare.routes, ...routes] }, Object.fromEntries(sysctls));
}

const noArp = (facts: HostFacts, { carrier }: Subject): HostFacts => ({
  ...facts,
  links: facts.links.map((l): LinkFacts => (l.name === carrier ? { ...l, flags: [...l.flags, "NOARP"] } : l)),
});

const disciplines: Readonly<Record<Exclude<SilencePolicyName, "auto">, Discipline>> = {
  "nature-2.0": { halves: false, byNature: true, apply: same },
  fullarpfix: { halves: false, byNature: true, apply: same },
  "arp-invisible": { halves: false, apply: flagOnCarrier("arp_invisible") },
  hidden: { halves: false, apply: flagOnCarrier("hidden") },
  "arp-sysctl": {
    halves: true,
    apply: (facts, { nics }, cure) =>
      withSysctls(
        facts,
        Object.fromEntries(
          nics.flatMap((nic) => [
            [`${nic}.arp_ignore`, cure === "announce-only" ? 0 : 1],
            [`${nic}.arp_announce`, cure === "ignore-only" ? 0 : 2],
          ]),
        ),
      ),
  },
  "nft-arp": {
    halves: true,
    apply: (facts, subject, cure) => ({ ...facts, filters: [...facts.filters, ...arpChains("nft", subject, cure)] }),
  },
  arptables: {
    halves: true,
    apply: (facts, subject, cure) => ({
      ...facts,
      filters: [...facts.filters, ...arpChains("arptables", subject, cure)],
    }),
  },
  "noarp-carrier": { halves: false, apply: noArp },
  redirect: { halves: false, apply: redirect },
  "local-route": { halves: false, apply: localRoute },
};

/** What `auto` means on a kernel: what it was born with first, then its own flag, then filters. */
function automatic(switches: Switches, carrier: Carrier | string): Exclude<SilencePolicyName, "auto"> {
  if (switches.arpScope === "device") return "nature-2.0";
  if (switches.hiddenFlag && !switches.arpIgnoreAnnounce) return "hidden";
  if (switches.arpInvisible) return "arp-invisible";
  if (switches.fullArpFix && carrier !== "dummy0") return "fullarpfix";
  return switches.arpIgnoreAnnounce ? "arp-sysctl" : "redirect";
}

export const policyOn = (
  facts: HostFacts,
  wanted: SilencePolicyName,
  carrier: string,
): Exclude<SilencePolicyName, "auto"> => (wanted === "auto" ? automatic(switchesOf(facts.kernel), carrier) : wanted);

export const disciplineOf = (policy: Exclude<SilencePolicyName, "auto">): Discipline => disciplines[policy];

/** `plain` with the policy, or the part of it that `cure` names; `none` is the host as it stood. */
export function disciplined(
  plain: HostFacts,
  subject: Subject,
  policy: Exclude<SilencePolicyName, "auto">,
  cure: Cure,
): HostFacts {
  return cure === "none" ? plain : disciplines[policy].apply(plain, subject, cure);
}

/** What became different, for people. */
export function changesBetween(machine: string, before: HostFacts, after: HostFacts): CureChange[] {
  const changes: CureChange[] = [];
  const note = (what: string, from: string, to: string): void => {
    if (from !== to) changes.push({ machine, what, before: from, after: to });
  };
  const names = [...new Set([...Object.keys(before.sysctls), ...Object.keys(after.sysctls)])].sort();
  for (const name of names) {
    const path = name.includes(".") ? `net.ipv4.conf.${name}` : `net.ipv4.${name}`;
    note(path, String(before.sysctls[name] ?? 0), String(after.sysctls[name] ?? 0));
  }
  const list = <T>(facts: HostFacts, pick: (f: HostFacts) => readonly T[], text: (t: T) => string): string =>
    pick(facts).map(text).join(", ") || "none";
  const compare = <T>(what: string, pick: (f: HostFacts) => readonly T[], text: (t: T) => string): void =>
    note(what, list(before, pick, text), list(after, pick, text));
  compare(
    "filters",
    (f) => f.filters,
    (c) => `${c.tool} ${c.family} ${c.hook}`,
  );
  for (const link of after.links) {
    const own = (f: HostFacts): string =>
      list(
        f,
        (x) => x.addresses.filter((a) => a.link === link.name && a.ip !== "127.0.0.1"),
        (a) => `${a.ip}/${a.prefixLength}`,
      );
    note(`${link.name} addresses`, own(before), own(after));
    const was = before.links.find((l) => l.name === link.name);
    note(`${link.name} flags`, was?.flags.join(",") ?? "", link.flags.join(","));
  }
  compare(
    "routes",
    (f) => f.routes,
    (r) => `${r.type ?? "unicast"} ${r.dst}`,
  );
  return changes;
}
