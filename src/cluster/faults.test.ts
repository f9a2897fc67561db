import assert from "node:assert/strict";
import { test } from "node:test";
import { type Code, codes } from "./codes.ts";
import { parseCluster, refuseSize, sizeLimitOctets } from "./parse.ts";
import { formatProblem, type Problem } from "./problem.ts";

/** A sound file, one section a line, in which each case changes some. */
const sound: Readonly<Record<string, string>> = {
  version: "1",
  name: "test",
  networks: "{lan: {prefix: 10.10.0.0/24, router: 10.10.0.1}, far: {prefix: 10.20.0.0/24, router: 10.20.0.1}}",
  directors: "{lb1: 10.10.0.2}",
  realServers: "{web1: 10.10.0.11, web2: 10.10.0.12}",
  vips: "{web: 10.10.0.100, two: 10.10.0.101}",
  services: "[{vip: web, port: 80}]",
};

type Change = Readonly<Record<string, string | undefined>>;
const written = (change: Change): string =>
  Object.entries({ ...sound, ...change })
    .flatMap(([key, value]) => (value === undefined ? [] : [`${key}: ${value}\n`]))
    .join("");

const service = (keys: string): Change => ({ services: `[{vip: web, ${keys}}]` });
const two80 = (protocol: string): Change => ({
  services: `[{vip: web, port: 80}, {vip: web, port: 80, protocol: ${protocol}}]`,
});
const manyAddresses = (count: number): string => {
  const further = Array.from({ length: count }, (_, i) => `10.10.0.${i + 110}`);
  return `{lb1: {dip: 10.10.0.2, addresses: [${further.join()}]}}`;
};
const pair = { directors: "{lb1: 10.10.0.2, lb2: 10.10.0.3}" };
const vrrp = (keys: string): Change => ({ ...pair, failover: `{vrrp: {id: 7, ${keys}}}` });
const instances = (list: string, more = ""): Change => ({ ...pair, failover: `{instances: [${list}]${more}}` });
const lab = (keys: string): Change => ({ lab: `{${keys}}` });
const happens = (fault: string, more = ""): Change => lab(`${more}scenario: {seconds: 9, faults: [{${fault}}]}`);
const asking = service("port: 80, health: http");
const farServer: Change = {
  realServers: "{web1: 10.10.0.11, web2: 10.20.0.12}",
  services: "[{vip: web, port: 80, forwarding: tun}]",
};
/** lb1, router and client on one switch, the real servers on another. */
const two = (switches: string, servers = "web1: edge, web2: edge", more = ""): Change =>
  lab(`switches: {${switches}}, links: {lb1: core, router: core, client: core, ${servers}}${more}`);
const raw = (text: string): Change => ({ raw: text });
const deep = (n: number): string => "[".repeat(n) + "]".repeat(n);
const laughs = (levels: number): string =>
  Array.from({ length: levels }, (_, i) =>
    i === 0 ? "a0: &a0 [x]\n" : `a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}]\n`,
  ).join("");

/** Each code: a file that earns it, and its twin, nearly the same, that does not. */
const cases: readonly (readonly [Code, Change, Change])[] = [
  ["empty-file", raw("# nothing\n\n"), {}],
  ["yaml-syntax", raw("version: [1\nname: x\n"), {}],
  ["yaml-syntax", raw("a: 1\n---\nb: 2\n"), {}],
  ["yaml-syntax", raw("a: *nowhere\n"), raw("b: &nowhere 1\na: *nowhere\n")],
  ["yaml-tag", service("port: !port 80"), service("port: 80")],
  ["duplicate-key", raw(`${written({})}name: again\n`), {}],
  ["bad-key", raw("? [a]\n: 1\n"), {}],
  ["bad-key", raw("__proto__: 1\n"), {}],
  ["too-many-aliases", raw(laughs(9)), raw(laughs(3))],
  ["too-many-aliases", raw("a: &a [*a]\n"), raw("a: &a [b]\n")],
  ["too-deep", raw(deep(40)), raw(deep(20))],
  ["too-many-problems", raw(Array.from({ length: 300 }, (_, i) => `k${i}: 1\n`).join("")), raw("k1: 1\n")],
  ["unknown-key", service("port: 80, schedular: rr"), service("port: 80, scheduler: rr")],
  ["missing-key", { realServers: "[{name: web1}]" }, { realServers: "[{name: web1, rip: 10.10.0.11}]" }],
  ["missing-key", { name: undefined }, {}],
  [
    "wrong-type",
    service("port: 80, onePacket: yes, protocol: udp"),
    service("port: 80, onePacket: true, protocol: udp"),
  ],
  ["wrong-type", raw("just words"), {}],
  ["bad-version", { version: "2" }, { version: "1" }],
  ["bad-name", { realServers: "{-web: 10.10.0.11}" }, { realServers: "{web-: 10.10.0.11}" }],
  ["bad-name", { name: "'a b'" }, { name: "a-b" }],
  [
    "bad-interface",
    { directors: "{lb1: {dip: 10.10.0.2, interface: sixteen-letters-}}" },
    { directors: "{lb1: {dip: 10.10.0.2, interface: fifteen-letters}}" },
  ],
  ["bad-address", { vips: "{web: 10.10.0.010}" }, { vips: "{web: 10.10.0.10}" }],
  ["bad-address", { vips: "{web: 10.10.0.256}" }, { vips: "{web: 10.10.0.25}" }],
  ["ipv6-not-yet", { vips: "{web: '2001:db8::1'}" }, { vips: "{web: 10.10.0.9}" }],
  ["bad-prefix", { networks: "{lan: 10.10.0.0}" }, { networks: "{lan: 10.10.0.0/24}" }],
  ["bad-prefix", { networks: "{lan: 10.10.0.0/33}" }, { networks: "{lan: 10.10.0.0/24}" }],
  [
    "bad-netmask",
    service("port: 80, persistence: {timeoutSeconds: 9, netmask: 255.0.255.0}"),
    service("port: 80, persistence: {timeoutSeconds: 9, netmask: 255.255.0.0}"),
  ],
  ["bad-endpoint", { agent: "{metrics: '9112'}" }, { agent: "{metrics: '127.0.0.1:9112'}" }],
  [
    "bad-text",
    service("port: 80, health: {type: http, path: health}"),
    service("port: 80, health: {type: http, path: /health}"),
  ],
  ...(
    [
      ["1.2.13", "2.0.36"],
      ["6", "6.1"],
      ["2.2.13+arp_invisble", "2.2.13+arp_invisible"],
      ["2.4.20+", "2.4.20+hidden"],
      ["2", "5.10.0-26+deb11-amd64"],
    ] as const
  ).map(
    ([bad, good]) => ["bad-text", lab(`kernels: {router: "${bad}"}`), lab(`kernels: {router: "${good}"}`)] as const,
  ),
  ["bad-port", service("port: 0"), service("port: 1")],
  ["bad-port", service("port: 65536"), service("port: 65535")],
  ["bad-port", service("port: 80-70000"), service("port: 80-7000")],
  ["bad-port", service("port: http"), service("port: any")],
  ["port-reversed", service("port: 8010-8000"), service("port: 8000-8010")],
  ["unknown-scheduler", service("port: 80, scheduler: wlcc"), service("port: 80, scheduler: wlc")],
  ["unknown-policy", { policy: "arp_sysctl" }, { policy: "arp-sysctl" }],
  ["unknown-forwarding", { forwarding: "dsr" }, { forwarding: "dr" }],
  ["unknown-value", service("port: 80, protocol: icmp"), service("port: 80, protocol: sctp")],
  ["unknown-value", service("port: 80, health: {type: tpc}"), service("port: 80, health: {type: tcp}")],
  [
    "weight-range",
    { realServers: "{web1: {rip: 10.10.0.11, weight: 65536}}" },
    { realServers: "{web1: {rip: 10.10.0.11, weight: 65535}}" },
  ],
  ["weight-range", service("port: 80, realServers: {web1: -1}"), service("port: 80, realServers: {web1: 0}")],
  [
    "priority-range",
    { directors: "{lb1: {dip: 10.10.0.2, priority: 256}}" },
    { directors: "{lb1: {dip: 10.10.0.2, priority: 255}}" },
  ],
  ["vrid-range", { ...pair, failover: "{vrrp: {id: 256}}" }, { ...pair, failover: "{vrrp: {id: 255}}" }],
  ["vrid-range", { ...pair, failover: "{vrrp: {id: 0}}" }, { ...pair, failover: "{vrrp: {id: 1}}" }],
  ["interval-range", vrrp("intervalMs: 9"), vrrp("intervalMs: 10")],
  ["interval-range", vrrp("intervalMs: 40960"), vrrp("intervalMs: 40950")],
  ["interval-range", vrrp("version: 2, intervalMs: 100"), vrrp("version: 2, intervalMs: 1000")],
  ["number-range", { directors: manyAddresses(129) }, { directors: manyAddresses(128) }],
  ["number-range", { lab: "{clients: 251}" }, { lab: "{clients: 200}" }],
  ["no-networks", { networks: "{}" }, {}],
  ["no-directors", { directors: "[]" }, {}],
  ["no-directors", { directors: undefined }, {}],
  ["no-real-servers", { realServers: "" }, {}],
  ["no-vips", { vips: "{}" }, {}],
  ["no-services", { services: "[]" }, {}],
  ["network-host-bits", { networks: "{lan: 10.10.0.1/24}" }, { networks: "{lan: 10.10.0.0/24}" }],
  ["network-size", { networks: "{lan: 10.10.0.0/32}" }, { networks: "{lan: 10.10.0.0/24}" }],
  [
    "networks-overlap",
    { networks: "{lan: 10.10.0.0/24, all: 10.0.0.0/8}" },
    { networks: "{lan: 10.10.0.0/24, all: 11.0.0.0/8}" },
  ],
  [
    "router-outside-network",
    { networks: "{lan: {prefix: 10.10.0.0/24, router: 10.10.1.1}}" },
    { networks: "{lan: {prefix: 10.10.0.0/24, router: 10.10.0.1}}" },
  ],
  [
    "network-without-router",
    { forwarding: "tun", networks: "{lan: 10.10.0.0/24, far: 10.20.0.0/24}", realServers: "{web1: 10.20.0.11}" },
    { forwarding: "tun", networks: "{lan: 10.10.0.0/24, far: 10.20.0.0/24}", realServers: "{web1: 10.10.0.11}" },
  ],
  ["address-not-unicast", { vips: "{web: 224.0.0.18}" }, {}],
  ["address-not-unicast", { realServers: "{web1: 127.0.0.1}" }, {}],
  ["network-or-broadcast-address", { vips: "{web: 10.10.0.255}" }, { vips: "{web: 10.10.0.254}" }],
  ["network-or-broadcast-address", { realServers: "{web1: 10.10.0.0}" }, { realServers: "{web1: 10.10.0.13}" }],
  ["address-outside-networks", { realServers: "{web1: 10.11.0.11}" }, {}],
  ["vip-outside-networks", { vips: "{web: 10.11.0.100}" }, {}],
  [
    "wrong-network",
    { vips: "{web: {address: 10.10.0.100, network: far}}" },
    { vips: "{web: {address: 10.10.0.100, network: lan}}" },
  ],
  [
    "vip-without-director",
    { vips: "{web: 10.20.0.100}" },
    { vips: "{web: 10.20.0.100}", directors: "{lb1: {dip: 10.10.0.2, addresses: [10.20.0.2]}}" },
  ],
  ["vip-is-host-address", { vips: "{web: 10.10.0.11}" }, { vips: "{web: 10.10.0.111}" }],
  ["vip-is-host-address", { vips: "{web: 10.10.0.2}" }, { vips: "{web: 10.10.0.22}" }],
  ["vip-is-host-address", { vips: "{web: 10.10.0.1}" }, { vips: "{web: 10.10.0.110}" }],
  ["duplicate-address", { realServers: "{web1: 10.10.0.11, web2: 10.10.0.11}" }, {}],
  ["duplicate-address", { vips: "{web: 10.10.0.100, two: 10.10.0.100}" }, {}],
  [
    "duplicate-name",
    { realServers: "[{name: web1, rip: 10.10.0.11}, {name: web1, rip: 10.10.0.12}]" },
    { realServers: "[{name: web1, rip: 10.10.0.11}, {name: web2, rip: 10.10.0.12}]" },
  ],
  ["duplicate-name", { realServers: "{lb1: 10.10.0.11}" }, { realServers: "{lb1: 10.10.0.2}" }],
  ["duplicate-name", { lab: "{clients: {web1: 10.10.0.200}}" }, { lab: "{clients: {web9: 10.10.0.200}}" }],
  ["unknown-vip", { services: "[{vip: wbe, port: 80}]" }, { services: "[{vip: 10.10.0.100, port: 80}]" }],
  ["unknown-real-server", service("port: 80, realServers: [web3]"), service("port: 80, realServers: [web2]")],
  ["unknown-network", { vips: "{web: {address: 10.10.0.100, network: lam}}" }, {}],
  [
    "unknown-service",
    vrrp("track: [{type: quorum, service: http}]"),
    vrrp("track: [{type: quorum, service: web-tcp-80}]"),
  ],
  [
    "unknown-instance",
    instances("{name: a, id: 1, vips: [web, two]}", ", syncGroups: [{name: g, instances: [b]}]"),
    instances("{name: a, id: 1, vips: [web, two]}", ", syncGroups: [{name: g, instances: [a]}]"),
  ],
  [
    "unknown-director",
    instances("{name: a, id: 1, vips: [web, two], priorities: {lb3: 5}}"),
    instances("{name: a, id: 1, vips: [web, two], priorities: {lb2: 5}}"),
  ],
  ["service-match", service("scheduler: rr"), service("port: 80, scheduler: rr")],
  ["service-match", service("port: 80, fwmark: 7"), service("fwmark: 7")],
  [
    "services-overlap",
    { services: "[{vip: web, port: 80}, {port: 70-90}]" },
    { services: "[{vip: web, port: 80}, {port: 70-79}]" },
  ],
  [
    "services-overlap",
    { services: "[{vip: web, port: 80}, {vip: web, port: 80}]" },
    { services: "[{vip: web, port: 80}, {vip: two, port: 80}]" },
  ],
  [
    "services-overlap",
    { services: "[{port: 80}, {port: 80}]" },
    { services: "[{port: 80}, {port: 80, protocol: udp}]" },
  ],
  ["services-overlap", { services: "[{fwmark: 1}, {fwmark: 1}]" }, { services: "[{fwmark: 1}, {fwmark: 2}]" }],
  ["ports-overlap", service("port: [80, 70-90]"), service("port: [80, 81-90]")],
  ["port-any-not-alone", service("port: [any, 80]"), service("port: [any]")],
  ["dr-across-router", { realServers: "{web1: 10.20.0.11}" }, { realServers: "{web1: 10.20.0.11}", forwarding: "tun" }],
  [
    "dr-director-apart",
    { ...vrrp("preempt: true"), directors: "{lb1: 10.10.0.2, lb2: 10.20.0.2}" },
    vrrp("preempt: true"),
  ],
  [
    "port-remap-impossible",
    service("port: 80, realServers: {web1: {port: 8080}}"),
    service("port: 80, realServers: {web1: {port: 80}}"),
  ],
  [
    "port-remap-impossible",
    service("port: 80, forwarding: tun, realServers: {web1: {port: 8080}}"),
    service("port: 80, forwarding: nat, realServers: {web1: {port: 8080}}"),
  ],
  [
    "threshold-reversed",
    service("port: 80, realServers: {web1: {upperThreshold: 10, lowerThreshold: 11}}"),
    service("port: 80, realServers: {web1: {upperThreshold: 10, lowerThreshold: 10}}"),
  ],
  ["tunnel-without-tun", service("port: 80, tunnel: gre"), service("port: 80, tunnel: gre, forwarding: tun")],
  [
    "tunnel-port",
    service("port: 80, forwarding: tun, tunnel: gue"),
    service("port: 80, forwarding: tun, tunnel: {type: gue, port: 6080}"),
  ],
  [
    "tunnel-checksum",
    service("port: 80, forwarding: tun, tunnel: {checksum: remote}"),
    service("port: 80, forwarding: tun, tunnel: {checksum: checksum}"),
  ],
  ["one-packet-not-udp", service("port: 80, onePacket: true"), service("port: 80, onePacket: true, protocol: udp")],
  [
    "scheduler-flag",
    service("port: 80, scheduler: mh, schedulerFlags: [sh-port]"),
    service("port: 80, scheduler: sh, schedulerFlags: [sh-port]"),
  ],
  ["quorum-unreachable", service("port: 80, quorum: 3"), service("port: 80, quorum: 2")],
  [
    "hysteresis-too-large",
    service("port: 80, quorum: {minimum: 1, hysteresis: 1}"),
    service("port: 80, quorum: {minimum: 2, hysteresis: 1}"),
  ],
  [
    "engine-cannot",
    service("port: 80, engine: nft, forwarding: tun"),
    service("port: 80, engine: nft, forwarding: dr"),
  ],
  [
    "health-not-possible",
    service("port: 53, protocol: udp, health: vip-path"),
    service("port: 53, protocol: udp, health: dns"),
  ],
  [
    "health-not-possible",
    service("port: 80, health: {type: http, method: HEAD, bodyRegex: '^OK'}"),
    service("port: 80, health: {type: http, method: GET, bodyRegex: '^OK'}"),
  ],
  ["health-needs-port", service("fwmark: 1, health: tcp"), service("fwmark: 1, health: {type: tcp, port: 80}")],
  ["health-needs-port", service("port: any, health: tcp"), service("port: any, health: {type: tcp, port: 80}")],
  [
    "health-timeout",
    service("port: 80, health: {type: tcp, intervalMs: 100, timeoutMs: 200}"),
    service("port: 80, health: {type: tcp, intervalMs: 100, timeoutMs: 100}"),
  ],
  [
    "bad-regex",
    service("port: 80, health: {type: http, bodyRegex: '(ok'}"),
    service("port: 80, health: {type: http, bodyRegex: '(ok)'}"),
  ],
  [
    "runs-as-root",
    service("port: 80, health: {type: exec, command: [/bin/true], user: root}"),
    service("port: 80, health: {type: exec, command: [/bin/true], user: checker}"),
  ],
  ["option-without-policy", { policy: "{name: nft-arp, scope: all}" }, { policy: "{name: arp-sysctl, scope: all}" }],
  [
    "carrier-tunnel-for-dr",
    { realServers: "{web1: {rip: 10.10.0.11, carrier: tunl0}}" },
    { realServers: "{web1: {rip: 10.10.0.11, carrier: dummy0}}" },
  ],
  ["interval-step", vrrp("intervalMs: 105"), vrrp("intervalMs: 110")],
  ["vrid-defaulted", pair, vrrp("preempt: true")],
  [
    "vrid-shared",
    instances("{name: a, id: 1, vips: [web]}, {name: b, id: 1, vips: [two]}"),
    instances("{name: a, id: 1, vips: [web]}, {name: b, id: 2, vips: [two]}"),
  ],
  [
    "vip-in-two-instances",
    instances("{name: a, id: 1, vips: [web, two]}, {name: b, id: 2, vips: [two]}"),
    instances("{name: a, id: 1, vips: [web]}, {name: b, id: 2, vips: [two]}"),
  ],
  ["unknown-host", happens("at: 1, do: crash, host: lb7"), happens("at: 1, do: crash, host: lb1")],
  ["unknown-host", lab("kernels: {roter: '2.0.36'}"), lab("kernels: {router: '2.0.36'}")],
  ["unknown-host", lab("links: {web9: {delayMs: 1}}"), lab("links: {web1: {delayMs: 1}}")],
  [
    "unknown-host",
    happens("at: 1, do: cut, host: core", "switches: {core: {}}, "),
    happens(
      "at: 1, do: cut, host: edge",
      "switches: {core: {}, edge: core}, links: {lb1: core, web1: edge, web2: edge, router: core, client: core}, ",
    ),
  ],
  ["number-range", happens("at: -1, do: crash, host: lb1"), happens("at: 0, do: crash, host: lb1")],
  ["number-range", lab("scenario: {seconds: 0}"), lab("scenario: {seconds: 1}")],
  ["number-range", lab("links: {web1: {delayMs: -1}}"), lab("links: {web1: {delayMs: 0}}")],
  ["number-range", lab("links: {web1: {lossPercent: 101}}"), lab("links: {web1: {lossPercent: 0.5}}")],
  ["number-range", lab("vlans: {lan: 4095}"), lab("vlans: {lan: 4094}")],
  ["number-range", lab("vlans: {lan: 0}"), lab("vlans: {lan: 1}")],
  [
    "number-range",
    two("core: {}, edge: {uplink: {to: core, vlans: [0]}}"),
    two("core: {}, edge: {uplink: {to: core, vlans: [1]}}"),
  ],
  ["bad-fault", happens("at: 10, do: crash, host: lb1"), happens("at: 9, do: crash, host: lb1")],
  [
    "bad-fault",
    happens("at: 1, do: sysctl, host: web1, value: 1"),
    happens("at: 1, do: sysctl, host: web1, name: eth0.arp_ignore, value: 1"),
  ],
  [
    "bad-fault",
    happens("at: 1, do: sysctl, host: web1, name: eth0.arp_ignore"),
    happens("at: 1, do: sysctl, host: web1, name: eth0.arp_ignore, value: 0"),
  ],
  ...(
    [
      ["web1", "eth0.arp_ingore", "eth0.arp_ignore"],
      ["web1", "eth7.arp_ignore", "lo.arp_ignore"],
      ["lb1", "eth1.arp_ignore", "all.arp_ignore"],
      ["router", "ens3.arp_ignore", "eth1.arp_ignore"],
      ["web1", "net.ipv4.ip_forward", "ip_forward"],
    ] as const
  ).map(
    ([host, name, right]) =>
      [
        "bad-fault",
        happens(`at: 1, do: sysctl, host: ${host}, name: ${name}, value: 1`),
        happens(`at: 1, do: sysctl, host: ${host}, name: ${right}, value: 1`),
      ] as const,
  ),
  ["bad-fault", happens("at: 1, do: loss, host: web1"), happens("at: 1, do: loss, host: web1, value: 0")],
  ["bad-fault", happens("at: 1, do: loss, host: web1, value: 101"), happens("at: 1, do: loss, host: web1, value: 100")],
  ["bad-fault", happens("at: 1, do: mtu, host: web1, value: 67"), happens("at: 1, do: mtu, host: web1, value: 68")],
  ["bad-fault", happens("at: 1, do: crash, host: web1, value: 1"), happens("at: 1, do: crash, host: web1")],
  ["bad-fault", happens("at: 1, do: flush, host: web1, name: eth0"), happens("at: 1, do: flush, host: web1")],
  ["bad-fault", happens("at: 1, do: take-over, host: web1"), happens("at: 1, do: take-over, host: lb1")],
  ["bad-fault", happens("at: 1, do: release, host: router"), happens("at: 1, do: release, host: lb1")],
  ...(
    [
      ["do: answers, host: web1, value: 503", {}],
      ["do: answers, host: lb1, value: 503", asking],
      ["do: answers, host: web1, value: 99", asking],
      ["do: answers, host: web1, value: 600", asking],
      ["do: answers, host: web1, value: 503.5", asking],
      ["do: answers, host: web1, value: 0", asking],
      ["do: answers, host: web1, value: 503, name: http", asking],
    ] as const
  ).map(
    ([fault, more]) =>
      [
        "bad-fault",
        { ...happens(`at: 1, ${fault}`), ...more },
        { ...happens("at: 1, do: answers, host: web1, value: 503}, {at: 2, do: answers, host: web1"), ...asking },
      ] as const,
  ),
  ["bad-fault", happens("at: 1, do: apply, host: lb1"), happens("at: 1, do: apply, host: web1")],
  [
    "bad-fault",
    two("core: {}, edge: core", undefined, ", scenario: {seconds: 9, faults: [{at: 1, do: crash, host: edge}]}"),
    two("core: {}, edge: core", undefined, ", scenario: {seconds: 9, faults: [{at: 1, do: cut, host: edge}]}"),
  ],
  ["unknown-switch", two("core: {}, edge: cor"), two("core: {}, edge: core")],
  ["unknown-switch", two("core: {}, edge: core", "web1: egde, web2: edge"), two("core: {}, edge: core")],
  ["unknown-switch", lab("links: {web1: {switch: edge}}"), lab("links: {web1: {delayMs: 1}}")],
  ["switch-loop", two("core: edge, edge: core"), two("core: {}, edge: core")],
  ["switch-loop", two("core: {}, edge: edge"), two("core: {}, edge: core")],
  ["switch-loop", two("core: edge, edge: attic, attic: core"), two("core: edge, edge: attic, attic: {}")],
  ["host-without-link", two("core: {}, edge: core", "web1: edge"), two("core: {}, edge: core")],
  ["host-without-link", lab("switches: {core: {}, edge: core}"), lab("switches: {core: {}}")],
  ["host-without-link", two("core: {}, edge: core", "web1: edge, web2: {delayMs: 1}"), two("core: {}, edge: core")],
  ["link-unreachable", two("core: {}, edge: {}"), two("core: {}, edge: core")],
  ["link-unreachable", lab("links: {web1: {vlan: 7}}"), lab("links: {web1: {vlan: 1}}")],
  [
    "link-unreachable",
    two("core: {}, edge: core", "web1: edge, web2: {switch: edge, vlan: 20}", ", vlans: {lan: 10}"),
    two("core: {}, edge: core", "web1: edge, web2: {switch: edge, vlan: 10}", ", vlans: {lan: 10}"),
  ],
  [
    "link-unreachable",
    two("core: {}, edge: {uplink: {to: core, vlans: [20]}}", undefined, ", vlans: {lan: 10}"),
    two("core: {}, edge: {uplink: {to: core, vlans: [20, 10]}}", undefined, ", vlans: {lan: 10}"),
  ],
  [
    "duplicate-port",
    lab("links: {web1: {port: 3}, web2: {port: 3}}"),
    lab("links: {web1: {port: 3}, web2: {port: 4}}"),
  ],
  [
    "duplicate-port",
    lab("links: {router: [{network: lan}, {network: lan}]}"),
    lab("links: {router: [{network: lan}]}"),
  ],
  [
    "vlan-shared",
    { ...farServer, ...lab("switches: {core: {}}, vlans: {lan: 5, far: 5}") },
    { ...farServer, ...lab("switches: {core: {}}, vlans: {lan: 5, far: 6}") },
  ],
  ["sctp-left-out", two80("sctp"), two80("udp")],
  ["only-sctp", service("port: 80, protocol: sctp"), two80("sctp")],
  ["unknown-network", lab("vlans: {lon: 5}"), lab("vlans: {lan: 5}")],
  ["unknown-network", lab("links: {web1: [{network: lon}]}"), lab("links: {web1: [{network: lan}]}")],
  ["wrong-network", lab("links: {web1: [{network: far}]}"), lab("links: {web1: [{network: lan}]}")],
  ["duplicate-name", lab("switches: {web1: {}}"), lab("switches: {web9: {}}")],
  ["vip-without-instance", instances("{name: a, id: 1, vips: [web]}"), instances("{name: a, id: 1, vips: [web, two]}")],
];

const textOf = (change: Change): string => change.raw ?? written(change);
function problemsOf(text: string): readonly Problem[] {
  const result = parseCluster(text, { forLab: true });
  return result.ok ? result.warnings : result.problems;
}

for (const [i, [code, fault, twin]] of cases.entries()) {
  test(`${code} (${i}): said where it is, and not of the near miss`, () => {
    const text = textOf(fault);
    const found = problemsOf(text).find((p) => p.code === code);
    assert.ok(
      found,
      `${text}\ngave ${problemsOf(text)
        .map((p) => `${p.code}: ${p.message}`)
        .join("\n")}`,
    );
    assert.equal(found.severity, codes[code].severity);
    assert.ok(found.line >= 1 && found.line <= text.split("\n").length && found.column >= 1 && found.remedy !== "");
    assert.match(formatProblem(found, "c.yaml", text), new RegExp(`^c\\.yaml:${found.line}:${found.column}: `));
    const wrong = problemsOf(textOf(twin)).filter((p) => p.code === code);
    assert.deepEqual(wrong, [], `the near miss is told ${code}: ${textOf(twin)}`);
    // A twin made of sections is a whole, sound file.
    if (twin.raw === undefined)
      assert.ok(parseCluster(textOf(twin)).ok, JSON.stringify(problemsOf(textOf(twin)), null, 1));
  });
}

test("a network that is full: no matter to who runs the cluster, and the remedy for who asks for clients works", () => {
  const narrow = (servers: number, clients?: string): string =>
    textOf({
      networks: "{lan: {prefix: 10.10.0.0/29, router: 10.10.0.1}}",
      realServers: `{${["web1: 10.10.0.3", "web2: 10.10.0.4", "web3: 10.10.0.5"].slice(0, servers).join()}}`,
      vips: "{web: 10.10.0.6}",
      ...(clients === undefined ? {} : { lab: `{${clients}}` }),
    });
  assert.deepEqual(problemsOf(narrow(3)), []);
  for (const [servers, remedy, followed] of [
    [3, "take `clients` away", ""],
    [1, "write at most 2", "clients: 2"],
  ] as const) {
    const [found, ...more] = problemsOf(narrow(servers, "clients: 3"));
    assert.deepEqual(more, []);
    assert.deepEqual([found?.code, found?.path, found?.remedy], ["number-range", "lab.clients", remedy]);
    assert.deepEqual(problemsOf(narrow(servers, followed)), []);
  }
});

test("sctp: of no concern to who runs the cluster; to a lab each such service is named at its protocol", () => {
  const text = textOf({
    services:
      "[{vip: web, port: 80}, {vip: web, port: 5060, name: a, protocol: sctp}, {vip: two, port: 9, protocol: sctp}]",
  });
  const plain = parseCluster(text);
  assert.deepEqual(plain.ok && plain.warnings, []);
  const found = problemsOf(text);
  assert.deepEqual(
    found.map((p) => `${p.path} ${p.severity}`),
    ["services[1].protocol warning", "services[2].protocol warning"],
  );
  const row = text.split("\n")[(found[0]?.line ?? 0) - 1] ?? "";
  assert.equal(row.slice((found[0]?.column ?? 0) - 1).slice(0, 4), "sctp");
  assert.match(found[0]?.message ?? "", /service a is by sctp/);
});

test("every code has a case", () => {
  const covered = new Set<string>(cases.map(([code]) => code));
  covered.add("file-too-large").add("cluster-too-large"); // below: their texts are long
  assert.deepEqual(
    Object.keys(codes).filter((code) => !covered.has(code)),
    [],
  );
});

test("a file of 4 MiB is read, one octet more is refused before it is parsed", () => {
  assert.equal(refuseSize(sizeLimitOctets), undefined);
  assert.equal(refuseSize(sizeLimitOctets + 1)?.code, "file-too-large");
  assert.equal(problemsOf(" ".repeat(sizeLimitOctets + 1))[0]?.code, "file-too-large");
  assert.equal(problemsOf(" ".repeat(1000))[0]?.code, "empty-file");
});

test("services with more than a million destinations are refused", () => {
  const servers = Array.from({ length: 1200 }, (_, i) => `w${i}: 10.10.${1 + (i >> 8)}.${i & 255}`).join(", ");
  const services = (count: number) =>
    Array.from(
      { length: count },
      (_, i) => `{port: ${i + 1}, forwarding: tun, tunnel: {type: gue, port: ${i + 1}}}`,
    ).join(", ");
  const text = (count: number) =>
    written({
      networks: "{lan: 10.10.0.0/16}",
      realServers: `{${servers}}`,
      vips: "{web: 10.10.200.1}",
      services: `[${services(count)}]`,
    });
  assert.deepEqual(new Set(problemsOf(text(900)).map((p) => p.code)), new Set(["cluster-too-large"]));
  assert.ok(parseCluster(text(10)).ok);
});

test("several problems come at once, in the order of the file, each with its place", () => {
  const text = written({
    realServers: "{web1: {rip: 10.10.0.11, weight: 70000}}",
    vips: "{web: 10.10.0.11}",
    services: "[{vip: wbe, port: 80, schedular: rr}]",
  });
  assert.deepEqual(
    problemsOf(text).map((p) => [p.code, p.line, p.path]),
    [
      ["weight-range", 5, "realServers.web1.weight"],
      ["vip-is-host-address", 6, "vips.web.address"],
      ["unknown-vip", 7, "services[0].vip"],
      ["unknown-key", 7, "services[0].schedular"],
    ],
  );
});

test("a problem is shown with its line, a caret under the fault, and the remedy", () => {
  const text = written(service("port: 80, scheduler: wlcc"));
  const [problem] = problemsOf(text);
  assert.ok(problem);
  assert.equal(
    formatProblem(problem, "cluster.yaml", text),
    [
      'cluster.yaml:7:45: error: `scheduler` is "wlcc", which is not one of rr, wrr, lc, wlc, lblc, lblcr, dh, sh, mh, sed, nq, fo, ovf [unknown-scheduler]',
      "  7 | services: [{vip: web, port: 80, scheduler: wlcc}]",
      `    | ${" ".repeat(44)}^`,
      "    = remedy: did you mean wlc? (services[0].scheduler)",
    ]
      .join("\n")
      .replace("7:45", `7:${problem.column}`)
      .replace(" ".repeat(44), " ".repeat(problem.column - 1)),
  );
  assert.equal(text.split("\n")[6]?.slice(problem.column - 1, problem.column + 3), "wlcc");
});

test("terminal escapes from the file do not reach the terminal", () => {
  const text = written({ policy: '"\u001b[31mred"', name: '"\u202eevil"' });
  const shown = problemsOf(text)
    .map((p) => formatProblem(p, "\u001bfile", text))
    .join("\n");
  assert.ok(shown.includes("red"));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  assert.doesNotMatch(shown, /[\u001b\u202e]/);
});

test("a fault's value that is far out is said once, not also as missing", () => {
  const problems = problemsOf(written(happens("at: 1, do: delay, host: web1, value: 1e12")));
  assert.deepEqual(
    problems.map((p) => p.message),
    ["`value` is 1000000000000, and must be from 0 to 60000 (milliseconds)"],
  );
});
