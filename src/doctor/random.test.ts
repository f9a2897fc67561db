import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import type { FilterChainFacts, HostFacts, LinkFlag } from "../model/facts.ts";
import { checkFacts } from "../model/factsSchema.ts";
import { generationOf, parseRelease } from "../model/generation.ts";
import { isRuleId } from "../model/rules.ts";
import { checkHost } from "./check.ts";
import { severities } from "./finding.ts";
import { cluster, clusterText } from "./testing/hosts.ts";

/** Small vocabularies, so that parts of a host meet each other by chance. */
const names = ["lo", "eth0", "eth1", "eth0.100", "dummy0", "tunl0", "br0", "kube-ipvs0", "wlan0"] as const;
const ips = [
  "10.10.0.100",
  "10.10.0.101",
  "10.10.0.11",
  "10.10.0.2",
  "10.10.0.1",
  "127.0.0.1",
  "192.0.2.9",
  "0.0.0.0",
  "255.255.255.255",
] as const;
const keys = [
  "arp_ignore",
  "arp_announce",
  "arp_filter",
  "rp_filter",
  "hidden",
  "proxy_arp",
  "forwarding",
  "arp_notify",
  "accept_local",
] as const;
const ip = fc.constantFrom(...ips);
const name = fc.constantFrom(...names);
const optional = <T>(a: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(a, { nil: undefined });

const flags = fc.subarray<LinkFlag>(["UP", "NOARP", "BROADCAST", "POINTOPOINT", "PROMISC"]);
const links = fc.uniqueArray(
  fc.record({
    name,
    flags,
    kind: optional(fc.constantFrom("dummy", "ipip", "bridge", "bond", "macvlan", "veth", "vlan", "vrf")),
    mac: fc.boolean(),
    master: optional(name),
    parent: optional(name),
    mtu: optional(fc.integer({ min: 0, max: 9000 })),
  }),
  {
    selector: (l) => l.name,
    maxLength: 7,
  },
);
const chains = fc.array(
  fc.record({
    family: fc.constantFrom<FilterChainFacts["family"]>("arp", "ip", "inet"),
    hook: fc.constantFrom<FilterChainFacts["hook"]>("input", "output", "prerouting", "forward"),
    policy: fc.constantFrom<"accept" | "drop">("accept", "drop"),
    rules: fc.array(
      fc.oneof(
        fc.constantFrom({ notUnderstood: "ct state invalid drop" }, { notUnderstood: "\u001b[2J; reboot" }),
        fc.record({
          match: fc.record({ target: fc.record({ any: fc.array(ip, { maxLength: 2 }) }) }),
          verdict: fc.constantFrom(
            { kind: "drop" as const },
            { kind: "accept" as const },
            { kind: "redirect" as const },
          ),
        }),
      ),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 3 },
);

const hosts: fc.Arbitrary<HostFacts> = fc
  .record({
    release: fc.constantFrom("2.0.36", "2.2.13", "2.2.19", "2.4.22", "2.4.27", "2.6.32", "3.10.0", "6.1.0", "7.3-rc1"),
    patch: fc.constantFrom("", "hidden", "arp_invisible", "fullarpfix"),
    links,
    addresses: fc.array(
      fc.record({
        link: name,
        ip,
        prefixLength: fc.integer({ min: 0, max: 32 }),
        scope: fc.constantFrom(0, 200, 253, 254),
        secondary: fc.boolean(),
      }),
      { maxLength: 8 },
    ),
    routesGiven: fc.constantFrom<"all" | "added">("all", "added"),
    routes: fc.array(
      fc.record({
        dst: fc.constantFrom("default", "10.10.0.0/24", "10.10.0.100/32"),
        via: optional(ip),
        dev: name,
        type: fc.constantFrom<"unicast" | "local" | "blackhole">("unicast", "local", "blackhole"),
        prefsrc: optional(ip),
      }),
      { maxLength: 5 },
    ),
    rules: fc.array(
      fc.record({
        priority: fc.integer({ min: 0, max: 40000 }),
        from: optional(fc.constantFrom("10.10.0.100/32", "default")),
        table: fc.constantFrom(100, 254, 255),
      }),
      { maxLength: 2 },
    ),
    sysctls: fc.dictionary(
      fc.tuple(fc.constantFrom("all", "default", ...names), fc.constantFrom(...keys)).map(([n, k]) => `${n}.${k}`),
      fc.integer({ min: -1, max: 9 }),
      { maxKeys: 10 },
    ),
    vs: fc.boolean(),
    filters: chains,
    sockets: optional(
      fc.array(
        fc.record({ protocol: fc.constantFrom<"tcp" | "udp">("tcp", "udp"), ip, port: fc.constantFrom(80, 53) }),
        { maxLength: 3 },
      ),
    ),
    destinations: optional(
      fc.array(
        fc.record({
          rip: ip,
          port: fc.constantFrom(80, 8080),
          method: fc.constantFrom<"dr" | "tun" | "nat" | "local">("dr", "tun", "nat", "local"),
          weight: fc.constantFrom(0, 1),
        }),
        { maxLength: 3 },
      ),
    ),
    platform: optional(fc.constantFrom("kvm", "amazon", "openstack")),
  })
  .map(hostOf)
  .filter((facts) => checkFacts(facts).ok);

interface Draft {
  readonly patch: string;
  readonly release: string;
  readonly links: readonly {
    readonly name: string;
    readonly flags: LinkFlag[];
    readonly kind: string | undefined;
    readonly mac: boolean;
    readonly master: string | undefined;
    readonly parent: string | undefined;
    readonly mtu: number | undefined;
  }[];
  readonly addresses: HostFacts["addresses"];
  readonly routesGiven: "all" | "added";
  readonly routes: readonly {
    readonly dst: string;
    readonly via: string | undefined;
    readonly dev: string;
    readonly type: "unicast" | "local" | "blackhole";
    readonly prefsrc: string | undefined;
  }[];
  readonly rules: readonly { readonly priority: number; readonly from: string | undefined; readonly table: number }[];
  readonly sysctls: Record<string, number>;
  readonly vs: boolean;
  readonly filters: readonly {
    readonly family: FilterChainFacts["family"];
    readonly hook: FilterChainFacts["hook"];
    readonly policy: "accept" | "drop";
    readonly rules: FilterChainFacts["rules"];
  }[];
  readonly sockets: HostFacts["sockets"];
  readonly destinations:
    | { rip: string; port: number; method: "dr" | "tun" | "nat" | "local"; weight: number }[]
    | undefined;
  readonly platform: string | undefined;
}

/** JSON leaves out what is undefined, as a facts file does. What names a link that is not there is left out, too. */
function hostOf(d: Draft): HostFacts {
  const there = new Set(d.links.map((l) => l.name));
  const seen = new Set<string>();
  return JSON.parse(
    JSON.stringify({
      factsVersion: 1,
      kernel: { release: d.release, generation: generationOf(parseRelease(d.release) ?? [], [d.patch]) },
      links: d.links.map((l, i) => ({
        ...l,
        ifindex: i + 1,
        flags: l.name === "lo" ? [...l.flags, "LOOPBACK"] : l.flags,
        mac: l.mac && l.name !== "lo" ? `02:00:00:00:00:0${i + 1}` : null,
        // Only links further on in the list, so that nobody is his own master.
        master: d.links.slice(i + 1).some((o) => o.name === l.master) ? l.master : undefined,
        parent: d.links.slice(i + 1).some((o) => o.name === l.parent) ? l.parent : undefined,
      })),
      addresses: d.addresses.filter((a) => {
        const key = `${a.link} ${a.ip}/${a.prefixLength}`;
        const good = there.has(a.link) && !seen.has(key);
        seen.add(key);
        return good;
      }),
      routesGiven: d.routesGiven,
      routes: d.routes.filter((r) => there.has(r.dev)),
      rules: d.rules,
      sysctls: {
        ...Object.fromEntries(
          Object.entries(d.sysctls).filter(([key]) => {
            const link = key.slice(0, key.lastIndexOf("."));
            return link === "all" || link === "default" || there.has(link);
          }),
        ),
        ...(d.vs ? { "vs.backup_only": 0, "vs.conntrack": 1 } : {}),
      },
      neighbours: [],
      filters: d.filters.map((c) => ({ ...c, tool: "nft" })),
      ipvs: d.destinations && {
        services: [{ protocol: "tcp", vip: "10.10.0.100", port: 80, scheduler: "rr", destinations: d.destinations }],
      },
      sockets: d.sockets,
      environment: { virtualisation: d.platform },
      unread: [],
    }),
  ) as HostFacts;
}

const small = cluster(clusterText("health: tcp\n"));

test("whatever the facts, check neither throws nor loops, and what it says is whole", () => {
  fc.assert(
    fc.property(
      hosts,
      fc.constantFrom("real server", "director", "both", "none"),
      fc.subarray(["10.10.0.100", "10.10.0.101", "10.10.0.11", "2001:db8::1", "nonsense"]),
      fc.constantFrom<"dr" | "tun" | "nat">("dr", "tun", "nat"),
      fc.boolean(),
      (facts, role, vips, method, withCluster) => {
        const report = checkHost({
          facts,
          realServer: role === "real server" || role === "both",
          director: role === "director" || role === "both",
          vips,
          services: [{ name: "web", vips, protocol: "tcp", ports: [[80, 80]], methods: [method] }],
          methods: [method],
          ...(withCluster ? { cluster: small, self: "web1" } : {}),
        });
        let worst = 0;
        for (const finding of report.findings) {
          assert.ok(severities.indexOf(finding.severity) >= worst, "worst first");
          worst = severities.indexOf(finding.severity);
          assert.ok(finding.rules.every(isRuleId));
          for (const text of [finding.wrong, ...finding.remedy.shell])
            assert.doesNotMatch(text, /undefined|NaN|\[object/);
          for (const line of finding.remedy.shell) assert.doesNotMatch(line, /\p{Cc}/u);
        }
        for (const vip of report.vips)
          for (const said of [...vip.answers, ...vip.announces, ...vip.accepts]) assert.ok(isRuleId(said.rule));
        if (role === "none") assert.ok(report.vips.every((v) => v.expected === "nothing"));
      },
    ),
    { numRuns: 400 },
  );
});

test("what the model says is wrong on a real server (answer, leak, refusal) always has a finding that names the VIP", () => {
  fc.assert(
    fc.property(hosts, (facts) => {
      const report = checkHost({
        facts,
        realServer: true,
        director: false,
        vips: ["10.10.0.100"],
        services: [],
        methods: ["dr"],
      });
      const wrong = report.vips.some((v) => [...v.answers, ...v.announces, ...v.accepts].some((s) => s.wrong));
      const named = report.findings.some((f) => f.subject.vips.includes("10.10.0.100"));
      if (wrong) assert.ok(named, JSON.stringify(report.vips));
    }),
    { numRuns: 400 },
  );
});
