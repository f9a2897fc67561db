/**
 * The kernel's own director, programmed over generic netlink. Two faces: the lab says what is to stand and asks for
 * counts, the agent reads the table and hands over changes. Both change by difference, in batches.
 */
import { readFileSync } from "node:fs";
import { difference, type TableChange } from "../../machine/difference.ts";
import { fromKernel, keyOf, serverKeyOf, type TableKey, toKernelServer, toKernelService } from "../../machine/table.ts";
import type {
  Engine,
  EngineCount,
  EngineService,
  ServerTraffic,
  SyncDaemonWish,
  TableEngine,
  TableFailure,
  TableReading,
} from "../../ports/engine.ts";
import { HostError } from "../errors.ts";
import {
  type Destination,
  type Ipvs,
  type IpvsProtocol,
  openIpvs,
  type ServiceKey,
  type ServiceWithDestinations,
} from "../ipvs.ts";
import { interfaceIndex } from "../libc.ts";
import { type Namespace, runIn } from "../namespace.ts";
import type { NetlinkRequest } from "../netlink.ts";
import { type ConnectionTeller, tellConnections } from "./connections.ts";
import { ownRules } from "./ownRules.ts";

const protocols: Readonly<Record<number, IpvsProtocol>> = { 6: "tcp", 17: "udp", 132: "sctp" };

function kernelKey(key: TableKey): ServiceKey {
  if ("fwmark" in key) return { fwmark: key.fwmark, family: "ipv4" };
  const protocol = protocols[key.protocol];
  if (protocol === undefined) throw new RangeError(`IPVS has no protocol ${key.protocol}`);
  return { protocol, address: key.vip, port: key.port };
}

function requestOf({ ask }: Ipvs, change: TableChange): NetlinkRequest {
  switch (change.kind) {
    case "addService":
      return ask.addService(toKernelService(change.service));
    case "editService":
      return ask.editService(toKernelService(change.service));
    case "removeService":
      return ask.removeService(kernelKey(change.service));
    case "addServer":
      return ask.addDestination(kernelKey(change.service), toKernelServer(change.server));
    case "editServer":
      return ask.editDestination(kernelKey(change.service), toKernelServer(change.server));
    case "removeServer":
      return ask.removeDestination(kernelKey(change.service), { address: change.server.rip, port: change.server.port });
  }
}

const trafficOf = ({ statistics: s, activeConnections, inactiveConnections }: Destination): ServerTraffic => ({
  activeConnections,
  inactiveConnections,
  connections: Number(s.connections),
  packets: Number(s.packetsIn),
  octets: Number(s.octetsIn),
  connectionRate: Number(s.connectionsPerSecond),
  packetRate: Number(s.packetsInPerSecond),
  octetRate: Number(s.octetsInPerSecond),
});

function readingOf(table: readonly ServiceWithDestinations[]): TableReading {
  const known = table.flatMap(({ service, destinations }) => {
    const found = fromKernel(service, destinations);
    return found === undefined ? [] : [{ service: found, destinations }];
  });
  let traffic: TableReading["traffic"] | undefined;
  return {
    services: known.map(({ service }) => service),
    get traffic() {
      traffic ??= new Map(known.map(({ service, destinations }) => [keyOf(service), trafficByServer(destinations)]));
      return traffic;
    },
  };
}
function trafficByServer(destinations: readonly Destination[]): Map<string, ServerTraffic> {
  const servers = new Map<string, ServerTraffic>();
  for (const d of destinations)
    if (typeof d.address === "number") servers.set(serverKeyOf({ rip: d.address, port: d.port }), trafficOf(d));
  return servers;
}

function applyTo(ipvs: Ipvs, changes: readonly TableChange[]): TableFailure[] {
  if (changes.length === 0) return [];
  return ipvs.batch(changes.map((change) => requestOf(ipvs, change))).map(({ index, error }) => ({
    change: changes[index] as TableChange,
    why: error.message,
    remedy: error.remedy,
  }));
}

type RunningDaemon = ReturnType<Ipvs["daemons"]>[number];
const sameDaemon = (a: SyncDaemonWish, b: RunningDaemon): boolean =>
  a.role === b.role &&
  a.interface === b.link &&
  a.id === b.syncId &&
  a.group === b.group &&
  a.port === b.port &&
  a.ttl === b.ttl;

/** `indexOf`: of the link that has this name now; 0: there is none. */
function synchroniser(ipvs: Ipvs, indexOf: (link: string) => number): TableEngine["synchronise"] {
  /**
   * The kernel binds a daemon to the index that its link has when it begins, and tells the name alone. One that ran
   * before us is taken to be where its name is.
   */
  const bound = new Map<SyncDaemonWish["role"], number>();
  const isDeaf = ({ role, link }: RunningDaemon): boolean => {
    const index = indexOf(link);
    return index !== 0 && (bound.get(role) ?? index) !== index;
  };
  return (wanted) => synchronise(ipvs, wanted, { bound, indexOf, isDeaf });
}

interface Bindings {
  readonly bound: Map<SyncDaemonWish["role"], number>;
  readonly indexOf: (link: string) => number;
  /** Its link was made again, and it is bound to the one that was. */
  readonly isDeaf: (daemon: RunningDaemon) => boolean;
}
function synchronise(ipvs: Ipvs, wanted: readonly SyncDaemonWish[], { bound, indexOf, isDeaf }: Bindings): string[] {
  const refused: string[] = [];
  const attempt = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      refused.push(`${error.message}; ${error.remedy}`);
    }
  };
  const isKept = (daemon: RunningDaemon): boolean => wanted.some((w) => sameDaemon(w, daemon)) && !isDeaf(daemon);
  const running = ipvs.daemons();
  const kept = running.filter(isKept);
  for (const { role, link } of kept) if (!bound.has(role)) bound.set(role, indexOf(link));
  for (const daemon of running) if (!kept.includes(daemon)) attempt(() => ipvs.stopDaemon(daemon.role));
  for (const wish of wanted) {
    if (kept.some((daemon) => sameDaemon(wish, daemon))) continue;
    const { interface: link, id: syncId, ...rest } = wish;
    attempt(() => {
      const index = indexOf(link);
      ipvs.startDaemon({ ...rest, link, syncId });
      bound.set(wish.role, index);
    });
  }
  return refused;
}

const programAttempts = 2;

/** Of net.ipv4.vs; undefined where IPVS is not loaded. */
function readSetting(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/ipv4/vs/${name}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** `namespace`: the calling thread's own when absent. Errors: ipvs/absent when the kernel has none. */
export function ipvsEngine(namespace?: Namespace): Engine & TableEngine {
  const setting = (name: string): string | undefined => runIn(namespace, () => readSetting(name));
  const ipvs = openIpvs(namespace);
  let standing: readonly EngineService[] = [];
  let teller: ConnectionTeller | undefined;
  const program = (services: readonly EngineService[]): void => {
    const owned = new Set([...standing, ...services].map(keyOf));
    standing = services;
    for (let attempt = 1; ; attempt++) {
      const options = { owned, maximumDeleteSharePercent: 100, force: true };
      const wish = difference(services, readingOf(ipvs.read()).services, options);
      if (!wish.ok) throw new Error(wish.why);
      const [failure] = ipvs.batch(wish.changes.map((change) => requestOf(ipvs, change)));
      if (failure === undefined) return;
      // Somebody else may have changed what was read: once more, from what stands now.
      if (attempt === programAttempts) throw failure.error;
    }
  };
  return {
    name: "ipvs",
    countsLagMs: 2500, // the estimator reads the per-CPU counters every two seconds
    refusals: (service) =>
      protocols[service.protocol] === undefined ? [`IPVS has no protocol ${service.protocol}`] : [],
    program,
    counts: () =>
      standing.flatMap((service): EngineCount[] =>
        ipvs.destinations(kernelKey(service)).flatMap((d) =>
          typeof d.address !== "number"
            ? []
            : [
                {
                  service: { vip: service.vip, protocol: service.protocol, port: service.port },
                  realServer: d.address,
                  connections: Number(d.statistics.connections),
                  packets: Number(d.statistics.packetsIn),
                  octets: Number(d.statistics.octetsIn),
                },
              ],
        ),
      ),
    clear: () => program([]),
    read: (only) => readingOf(ipvs.read(only?.map(kernelKey))),
    apply: (changes) => applyTo(ipvs, changes),
    ...ownRules(namespace),
    tellConnections(way, onFault) {
      teller?.end();
      teller = way === undefined ? undefined : tellConnections(way, onFault);
    },
    get backupOnly() {
      return setting("backup_only") === "1";
    },
    get expiresQuiescent() {
      return setting("expire_quiescent_template") === "1";
    },
    synchronise: synchroniser(ipvs, (link) => runIn(namespace, () => interfaceIndex(link))),
    close: () => {
      teller?.end();
      ipvs.close();
    },
  };
}
