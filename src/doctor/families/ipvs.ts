import { formatIpv4, parseIpv4 } from "../../base/ipv4.ts";
import type { IpvsServiceFacts } from "../../model/facts.ts";
import { compareReleases, parseRelease, releaseOf } from "../../model/generation.ts";
import { fibLookup, flowOf } from "../../model/routes.ts";
import { deviceOf } from "../../model/routingTable.ts";
import type { Context } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import { list } from "../text.ts";

/** The director's IPVS table, its settings and what it needs. `vs.NAME` in the facts is net.ipv4.vs.NAME. */

const services = (context: Context): readonly IpvsServiceFacts[] =>
  context.director ? (context.facts.ipvs?.services ?? []) : [];
const label = (s: IpvsServiceFacts): string =>
  s.fwmark !== undefined ? `fwmark ${s.fwmark}` : `${s.protocol ?? "tcp"} ${s.vip ?? "?"}:${s.port ?? 0}`;

/** undefined where the facts hold no net.ipv4.vs at all: then nothing is said about it. */
function vs(context: Context, name: string, byDefault: number): number | undefined {
  const { sysctls } = context.facts;
  const known = Object.keys(sysctls).some((k) => k.startsWith("vs."));
  return known ? (sysctls[`vs.${name}`] ?? byDefault) : undefined;
}
const setVs = (name: string, value: number): string => `sysctl -w net.ipv4.vs.${name}=${value}`;
const vsEvidence = (context: Context, name: string) => context.evidence(`vs.${name}`);

const destinationsByVip = (
  context: Context,
  fits: (s: IpvsServiceFacts, d: IpvsServiceFacts["destinations"][number]) => boolean,
) =>
  services(context).flatMap((s, i) =>
    s.destinations.flatMap((d, j) => (fits(s, d) ? [{ s, d, path: `ipvs.services[${i}].destinations[${j}]` }] : [])),
  );

const isOwn = (context: Context, ip: string): boolean => {
  const parsed = parseIpv4(ip);
  return parsed !== undefined && context.host.ownAddresses.has(parsed);
};

export const ipvs: readonly Entry[] = [
  {
    id: "director-and-rs-same-host-loop",
    title: "a standby director that is a real server schedules packets again",
    severity: "critical",
    roles: ["director", "real server"],
    notice: "Packets bounce between the two boxes and fill their CPUs, or only one scheduler happens to work.",
    why: "The active director hands a packet for the VIP to this host as a real server. The VIP is local here, and IPVS has a service on it, so the packet is scheduled once more, perhaps back.",
    cure: "The table on the active node only, or backup_only=1 with the backup sync daemon running, or services by a mark that depends on the sender's MAC.",
    rules: ["C-DIR-06", "C-DIR-01"],
    detect: (context) => {
      if (!context.realServer) return [];
      const backupOnly = vs(context, "backup_only", 0);
      const spared = backupOnly === 1 && (context.facts.ipvs?.sync ?? []).includes("backup");
      if (spared) return [];
      const looping = services(context).filter((s) => {
        const vip = context.vips4.find((v) => v.text === s.vip);
        return (
          vip &&
          context.held(vip).length > 0 &&
          !context.heldOnLan(vip) &&
          s.destinations.some((d) => !isOwn(context, d.rip))
        );
      });
      if (looping.length === 0) return [];
      return [
        {
          vips: [...new Set(looping.flatMap((s) => s.vip ?? []))],
          wrong: `This standby has IPVS services for ${list(looping.map(label))} and is a real server for them: what the active director sends here is scheduled again${backupOnly === undefined ? ", unless net.ipv4.vs.backup_only is 1, which these facts do not tell" : ""}.`,
          ...(backupOnly === undefined ? { severity: "medium" as const } : {}),
          shell: [
            ...looping
              .slice(0, 8)
              .map((s) => `ipvsadm -D ${s.protocol === "udp" ? "-u" : "-t"} ${s.vip}:${s.port ?? 0}`),
            `# or ${setVs("backup_only", 1)} with the sync daemon as backup`,
          ],
          vipward: "vipward run",
          evidence: [
            { path: "ipvs.services", value: looping.length },
            { path: "ipvs.sync", value: (context.facts.ipvs?.sync ?? []).join(" ") || undefined },
            ...vsEvidence(context, "backup_only"),
          ],
        },
      ];
    },
  },
  {
    id: "tun-loop-on-rs-director",
    title: "tunnelled packets are scheduled again",
    severity: "high",
    roles: ["director", "real server"],
    notice: "Packets bounce between two boxes that are both director and real server, inside tunnels.",
    why: "A packet that was tunnelled here is for the VIP once it is unpacked, and IPVS schedules it again unless ignore_tunneled says not to.",
    cure: "ignore_tunneled=1.",
    rules: ["C-DIR-06"],
    detect: (context) => {
      if (!context.realServer || vs(context, "ignore_tunneled", 0) !== 0) return [];
      const tunnelled = destinationsByVip(context, (_, d) => d.method === "tun");
      if (tunnelled.length === 0) return [];
      return [
        {
          vips: [...new Set(tunnelled.flatMap(({ s }) => s.vip ?? []))],
          wrong: `This host tunnels to ${list(tunnelled.map(({ d }) => d.rip))} and is itself a real server, and net.ipv4.vs.ignore_tunneled is 0.`,
          shell: [setVs("ignore_tunneled", 1)],
          evidence: vsEvidence(context, "ignore_tunneled"),
        },
      ];
    },
  },
  {
    id: "localnode-service-not-on-vip",
    title: "the director's own share is refused",
    severity: "high",
    roles: ["director"],
    notice: "One connection in so many is refused: those that the director keeps for itself.",
    why: "For a real server that is the director itself the packet stays addressed to the VIP. A daemon that listens on the host's own address only does not see it.",
    cure: "Listen on the VIP or the wildcard.",
    rules: ["C-DIR-05"],
    detect: (context) => {
      const { sockets } = context.facts;
      if (!sockets) return [];
      return destinationsByVip(
        context,
        (s, d) =>
          s.vip !== undefined &&
          d.weight > 0 &&
          (d.method === "local" || isOwn(context, d.rip)) &&
          !sockets.some(
            (k) =>
              k.protocol === (s.protocol ?? "tcp") &&
              k.port === s.port &&
              (k.ip === s.vip || k.ip === "0.0.0.0" || k.ip === "::"),
          ),
      ).map(({ s, d, path }) => ({
        vips: s.vip === undefined ? [] : [s.vip],
        wrong: `${label(s)} has this host (${d.rip}) as a destination, and nothing listens on ${s.vip}:${s.port ?? 0} here.`,
        shell: [`# let the service listen on 0.0.0.0:${s.port ?? 0} or ${s.vip}:${s.port ?? 0}`],
        evidence: [{ path, value: `${d.rip}:${d.port} ${d.method}` }],
      }));
    },
  },
  {
    id: "port-remap-in-dr",
    title: "the destination's port differs from the service's",
    severity: "high",
    roles: ["director"],
    notice: "The service never works, or ipvsadm shows a changed port.",
    why: "Direct routing and tunnelling do not touch the packet: it arrives at the service's port, whatever the destination's says.",
    cure: "The same port on the real server, a local redirect there, or nat for this service.",
    rules: ["C-DIR-02"],
    detect: (context) =>
      destinationsByVip(
        context,
        (s, d) =>
          (d.method === "dr" || d.method === "tun") &&
          s.fwmark === undefined &&
          (s.port ?? 0) !== 0 &&
          d.port !== s.port,
      ).map(({ s, d, path }) => ({
        vips: s.vip === undefined ? [] : [s.vip],
        wrong: `${label(s)} sends to ${d.rip}:${d.port} by ${d.method}, which cannot change the port: it arrives at ${s.port}.`,
        shell: [
          `ipvsadm -d ${s.protocol === "udp" ? "-u" : "-t"} ${s.vip}:${s.port} -r ${d.rip}:${d.port}`,
          `ipvsadm -a ${s.protocol === "udp" ? "-u" : "-t"} ${s.vip}:${s.port} -r ${d.rip}:${s.port} ${d.method === "dr" ? "-g" : "-i"} -w ${d.weight}`,
        ],
        evidence: [{ path, value: `${d.rip}:${d.port} ${d.method}` }],
      })),
  },
  {
    id: "rs-not-on-same-l2",
    title: "a real server for direct routing is not on the director's wire",
    severity: "high",
    roles: ["director"],
    notice: "That real server gets nothing, or its packets come back from the router.",
    why: "Direct routing puts the unchanged packet into a frame for the real server's MAC. A router in between would route it by its destination, the VIP, back to the director.",
    cure: "Tunnelling for that real server; methods may be mixed in one service.",
    rules: ["C-DIR-02", "C-ALL-01"],
    detect: (context) => {
      const seen = new Set<string>();
      return destinationsByVip(context, (_, d) => d.method === "dr").flatMap(({ s, d, path }): Hit[] => {
        const rip = parseIpv4(d.rip);
        if (rip === undefined || context.host.ownAddresses.has(rip) || seen.has(d.rip)) return [];
        seen.add(d.rip);
        const route = fibLookup(context.host, flowOf({ destination: rip }));
        const via = route?.hops[0]?.via;
        const out = route && deviceOf(route);
        const failed = context.facts.neighbours.find((n) => n.ip === d.rip && n.state === "FAILED" && !n.proxy);
        if (via === undefined && out && !failed) return [];
        const wrong = !out
          ? `there is no route to ${d.rip}`
          : via !== undefined
            ? `the route to ${d.rip} goes by a gateway on ${out.name}`
            : `nobody on ${out.name} answers for ${d.rip}: its neighbour entry is FAILED`;
        return [
          {
            vips: s.vip === undefined ? [] : [s.vip],
            links: out ? [out.name] : [],
            wrong: `${label(s)} sends to ${d.rip} by direct routing, and ${wrong}.`,
            shell: failed
              ? [`# is ${d.rip} up and on ${out?.name}? arping -I ${out?.name} ${d.rip}`]
              : [
                  `ipvsadm -e ${s.protocol === "udp" ? "-u" : "-t"} ${s.vip}:${s.port} -r ${d.rip}:${d.port} -i -w ${d.weight}`,
                ],
            evidence: [{ path, value: `${d.rip}:${d.port} ${d.method}` }],
          },
        ];
      });
    },
  },
  {
    id: "dead-rs-keeps-connections",
    title: "connections to a removed real server hang",
    severity: "high",
    roles: ["director"],
    notice: "After a real server leaves, its clients hang for up to 15 minutes.",
    why: "With expire_nodest_conn 0 the connection entry stays and its packets are silently dropped.",
    cure: "expire_nodest_conn=1.",
    rules: ["C-DIR-01"],
    detect: (context) =>
      services(context).length > 0 && vs(context, "expire_nodest_conn", 0) === 0
        ? [
            {
              wrong:
                "net.ipv4.vs.expire_nodest_conn is 0: clients of a removed real server hang until their connection expires.",
              shell: [setVs("expire_nodest_conn", 1)],
              evidence: vsEvidence(context, "expire_nodest_conn"),
            },
          ]
        : [],
  },
  {
    id: "persistence-sends-to-quiesced-rs",
    title: "known clients keep coming to a drained real server",
    severity: "medium",
    roles: ["director"],
    notice: "The weight is 0, and yet new connections of known clients arrive there.",
    why: "A persistent service keeps a template for each client, and with expire_quiescent_template 0 the template outlives the weight.",
    cure: "expire_quiescent_template=1.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      if (vs(context, "expire_quiescent_template", 0) !== 0) return [];
      const drained = services(context).filter(
        (s) => (s.persistentS ?? 0) > 0 && s.destinations.some((d) => d.weight === 0),
      );
      if (drained.length === 0) return [];
      return [
        {
          vips: [...new Set(drained.flatMap((s) => s.vip ?? []))],
          wrong: `${list(drained.map(label))} is persistent and has a real server of weight 0, and net.ipv4.vs.expire_quiescent_template is 0.`,
          shell: [setVs("expire_quiescent_template", 1)],
          evidence: vsEvidence(context, "expire_quiescent_template"),
        },
      ];
    },
  },
  {
    id: "port-reuse-one-second-stall",
    title: "a reused client port costs one second",
    severity: "medium",
    roles: ["director"],
    notice: "Exactly one second of delay now and then, under load from one client or proxy.",
    why: "With connection tracking for IPVS and conn_reuse_mode not 0, kernels before 5.9 drop the first SYN of a client port that comes again soon.",
    cure: "conntrack=0, which direct routing does not need; or a newer kernel.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const fixed = parseRelease("5.9") ?? [];
      if (compareReleases(releaseOf(context.facts.kernel.generation, context.facts.kernel.release), fixed) >= 0)
        return [];
      if (
        services(context).length === 0 ||
        vs(context, "conntrack", 0) !== 1 ||
        vs(context, "conn_reuse_mode", 1) === 0
      )
        return [];
      return [
        {
          wrong: `net.ipv4.vs.conntrack is 1 and conn_reuse_mode ${vs(context, "conn_reuse_mode", 1)} on kernel ${context.facts.kernel.release}.`,
          shell: [setVs("conntrack", 0)],
          evidence: [...vsEvidence(context, "conntrack"), ...vsEvidence(context, "conn_reuse_mode")],
        },
      ];
    },
  },
  {
    id: "sync-daemon-silent",
    title: "connection sync is wanted and no sync daemon runs",
    severity: "medium",
    roles: ["director"],
    notice: "A failover cuts all sessions; the backup's connection list is empty.",
    why: "The cluster file asks for connection sync between its directors, and IPVS runs no sync daemon here.",
    cure: "Start it: vipward run does, as master on the active director and as backup on the others.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const { cluster, facts } = context;
      if (!context.director || !cluster?.failover.connectionSync.enabled || cluster.directors.length < 2) return [];
      if (cluster.engine === "nft" || !facts.ipvs || facts.ipvs.sync === undefined || facts.ipvs.sync.length > 0)
        return [];
      if (facts.ipvs.services.length === 0) return [];
      const sync = cluster.failover.connectionSync;
      const dev = sync.interface ?? context.facing?.name ?? "eth0";
      return [
        {
          links: [dev],
          wrong: `No IPVS sync daemon runs on this director, and the cluster has ${cluster.directors.length} that should share their connections.`,
          shell: [
            `# on the active director: ipvsadm --start-daemon master --mcast-interface ${dev} --syncid ${sync.id}`,
            `# on the others: ipvsadm --start-daemon backup --mcast-interface ${dev} --syncid ${sync.id}`,
          ],
          vipward: "vipward run",
          evidence: [{ path: "ipvs.sync", value: "" }],
        },
      ];
    },
  },
  {
    id: "ipvs-table-drift",
    title: "the kernel's IPVS table is not what the cluster file says",
    severity: "high",
    roles: ["director"],
    notice: "A service is missing, or a machine that nobody knows gets a share of the clients.",
    why: "Something else changed the table, and a daemon that compares with its own memory does not notice.",
    cure: "Reconcile from the kernel's table.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const { cluster, facts } = context;
      if (!context.director || !cluster || cluster.engine === "nft" || !facts.ipvs) return [];
      const { missing, foreign } = drift(context);
      if (missing.length + foreign.length === 0) return [];
      return [
        {
          wrong: `The IPVS table differs from the cluster file: ${[
            missing.length > 0 ? `${list(missing)} ${missing.length > 1 ? "are" : "is"} not in it` : "",
            foreign.length > 0 ? `${list(foreign)} ${foreign.length > 1 ? "are" : "is"} in it and not in the file` : "",
          ]
            .filter((t) => t !== "")
            .join("; ")}.`,
          shell: ["# ipvsadm -Ln shows the table"],
          vipward: "vipward run",
          evidence: [{ path: "ipvs.services", value: facts.ipvs.services.length }],
        },
      ];
    },
  },
  {
    id: "ip-vs-module-missing",
    title: "the kernel has no IPVS",
    severity: "high",
    roles: ["director"],
    notice: '"Can\'t initialize ipvs"; the daemon restarts in a loop.',
    why: "The module ip_vs is not loaded, and a container cannot load it.",
    cure: "Load it on the host at boot; or the nft engine, which needs no module.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const { modules, environment } = context.facts;
      if (!context.director || context.facts.ipvs || !modules || context.cluster?.engine === "nft") return [];
      if (modules.includes("ip_vs")) return [];
      const where =
        environment?.container === undefined ? [] : [`# on the host: this is a ${environment.container} container`];
      return [
        {
          wrong: "This director's kernel has no ip_vs: neither loaded nor built in.",
          shell: [...where, "modprobe ip_vs", "# and for every boot: a line ip_vs in /etc/modules-load.d/vipward.conf"],
          evidence: [{ path: "modules", value: `${modules.length} names, no ip_vs` }],
        },
      ];
    },
  },
];

/** Services the file has and the table lacks; destinations of the file's VIPs that the file does not have. */
function drift(context: Context): { missing: string[]; foreign: string[] } {
  const wanted = new Map<string, Set<string>>();
  const ranges = new Set<string>(); // one service of a range may be programmed port by port or by mark
  for (const service of context.cluster?.services ?? []) {
    if (service.engine === "nft" || service.match.kind !== "ports") continue;
    const rips = new Set(service.destinations.map((d) => formatIpv4(d.realServer.rip)));
    if (service.sorryServer) rips.add(formatIpv4(service.sorryServer.address));
    for (const vip of service.vips)
      for (const range of service.match.ports) {
        if (range.first !== range.last) ranges.add(formatIpv4(vip.address));
        else wanted.set(`${service.match.protocol} ${formatIpv4(vip.address)}:${range.first}`, rips);
      }
  }
  const there = new Map((context.facts.ipvs?.services ?? []).map((s) => [label(s), s]));
  // A standby may keep its table empty; the one that holds the VIP may not.
  const active = new Set(context.vips4.filter((v) => context.heldOnLan(v)).map((v) => v.text));
  const missing = [...wanted.keys()].filter((key) => !there.has(key) && active.has(key.split(/[ :]/)[1] ?? ""));
  const foreign: string[] = [];
  for (const [key, service] of there) {
    const rips = wanted.get(key);
    if (!rips) {
      if (service.vip !== undefined && context.vips.includes(service.vip) && !ranges.has(service.vip))
        foreign.push(key);
      continue;
    }
    for (const d of service.destinations) if (!rips.has(d.rip)) foreign.push(`${d.rip} at ${key}`);
  }
  return { missing, foreign };
}
