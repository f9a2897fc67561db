/**
 * The IPVS table of one namespace over generic netlink: every command the family has, one at a time or in batches.
 *
 * The kernel has no transactions here: each change stands for itself, in the order given. Errors: NetlinkError with
 * the service or real server it is about; ipvs/absent where the kernel has no IPVS.
 */
import { formatIpv4 } from "../base/ipv4.ts";
import * as wire from "../wire/ipvs.ts";
import {
  type Destination,
  type DestinationKey,
  type DestinationWish,
  decodeDaemon,
  decodeDestination,
  decodeInfo,
  decodeService,
  decodeTimeouts,
  type IpAddress,
  type IpvsInfo,
  type IpvsTimeouts,
  type Service,
  type ServiceKey,
  type ServiceWish,
  type SyncDaemon,
  wireDaemon,
  wireDestination,
  wireDestinationKey,
  wireKey,
  wireSettings,
  wireTimeouts,
} from "../wire/ipvsValues.ts";
import { HostError, type Meaning } from "./errors.ts";
import { familyId } from "./genericNetlink.ts";
import { moduleState } from "./modules.ts";
import type { Namespace } from "./namespace.ts";
import {
  type BatchFailure,
  NETLINK_GENERIC,
  type NetlinkMessage,
  type NetlinkRequest,
  type NetlinkSocket,
  openNetlink,
} from "./netlink.ts";

export type {
  Destination,
  DestinationKey,
  DestinationWish,
  ForwardingMethod,
  IpAddress,
  IpvsInfo,
  IpvsProtocol,
  IpvsStatistics,
  IpvsTimeouts,
  Service,
  ServiceKey,
  ServiceSettings,
  ServiceWish,
  SyncDaemon,
  TunnelSettings,
} from "../wire/ipvsValues.ts";

const formatAddress = (address: IpAddress): string =>
  typeof address === "number" ? formatIpv4(address) : `[${address}]`;

/** "tcp 10.0.0.100:80", "mark 7 (ipv4)": also a key for maps. */
export const formatService = (key: ServiceKey): string =>
  "fwmark" in key ? `mark ${key.fwmark} (${key.family})` : `${key.protocol} ${formatAddress(key.address)}:${key.port}`;

/** "10.0.0.1:80": also a key for maps, within one service. */
export const formatDestination = (key: DestinationKey): string => `${formatAddress(key.address)}:${key.port}`;

const NO_RIGHT: Meaning = {
  why: "not permitted",
  remedy: "run as root on the host: IPVS takes nothing from inside a user namespace, whatever its rights",
};
const NO_SERVICE: Meaning = {
  why: "there is no such virtual service",
  remedy: "list the services with `vipward` or `ipvsadm -Ln`; add the service first",
};
const NO_DESTINATION: Meaning = {
  why: "the service has no such real server",
  remedy: "list them with `ipvsadm -Ln`",
};
const general: Readonly<Record<string, Meaning>> = { EPERM: NO_RIGHT, ESRCH: NO_SERVICE };

const forService = (wish: ServiceWish): Readonly<Record<string, Meaning>> => ({
  ...general,
  ENOENT: {
    why: `this kernel has no scheduler ${wish.scheduler}${wish.persistenceEngine === undefined ? "" : `, or no persistence engine ${wish.persistenceEngine}`}`,
    remedy: `load it: modprobe ip_vs_${wish.scheduler}; or choose one of rr, wrr, lc, wlc, sh, mh, sed, nq`,
  },
  EEXIST: { why: "the service is there already", remedy: "edit it instead of adding it" },
  EINVAL: {
    why: "the kernel refuses this combination",
    remedy: "port 0 needs persistence, one-packet scheduling needs UDP, and a prefix of clients must fit the family",
  },
});

const forDestination: Readonly<Record<string, Meaning>> = {
  ...general,
  ENOENT: NO_DESTINATION,
  EEXIST: { why: "the service has this real server already", remedy: "edit it instead of adding it" },
  EINVAL: {
    why: "the kernel refuses this real server",
    remedy:
      "its address must be a unicast one that some route leads to; another family than the service's needs `tun` and no running sync daemon",
  },
  ERANGE: {
    why: "the weight or a threshold is out of range",
    remedy: "weight 0 to 2147483647; the lower threshold must not be above the upper one",
  },
};

const forDaemon: Readonly<Record<string, Meaning>> = {
  EPERM: NO_RIGHT,
  EEXIST: { why: "a daemon of this role runs already", remedy: "stop it first" },
  ESRCH: { why: "no daemon of this role runs", remedy: "nothing to stop" },
  EINVAL: {
    why: "the kernel refuses these settings",
    remedy: "sync id 0 to 255, a multicast group, and no real servers of another family than their service",
  },
};

const NETLINK_HEADER_OCTETS = 16;

export type IpvsRequests = ReturnType<typeof ipvsRequests>;

/** All changes as requests, for single calls and batches; `family` is what familyId gave for "IPVS". */
export function ipvsRequests(family: number) {
  /** `message` is whole; its netlink header goes, because the socket writes its own. */
  const ask = (
    operation: string,
    object: string | (() => string),
    message: Uint8Array,
    meanings = general,
  ): NetlinkRequest => ({
    type: family,
    flags: 0,
    payload: message.subarray(NETLINK_HEADER_OCTETS),
    operation,
    // Only a refusal is told in words, and batches are long.
    get object() {
      return typeof object === "string" ? object : object();
    },
    meanings,
  });
  const to = { type: family, sequence: 0 } as const;
  const server = (service: ServiceKey, key: DestinationKey) => (): string =>
    `${formatDestination(key)} of ${formatService(service)}`;
  return {
    addService: (wish: ServiceWish): NetlinkRequest => {
      const payload = wire.ipvs.newService(to, wireKey(wish), wireSettings(wish));
      return ask("add service", formatService(wish), payload, forService(wish));
    },
    editService: (wish: ServiceWish): NetlinkRequest => {
      const payload = wire.ipvs.setService(to, wireKey(wish), wireSettings(wish));
      return ask("edit service", formatService(wish), payload, forService(wish));
    },
    removeService: (key: ServiceKey): NetlinkRequest =>
      ask("remove service", formatService(key), wire.ipvs.delService(to, wireKey(key))),
    addDestination: (service: ServiceKey, wish: DestinationWish): NetlinkRequest => {
      const payload = wire.ipvs.newDestination(to, wireKey(service), wireDestinationKey(wish), wireDestination(wish));
      return ask("add real server", server(service, wish), payload, forDestination);
    },
    editDestination: (service: ServiceKey, wish: DestinationWish): NetlinkRequest => {
      const payload = wire.ipvs.setDestination(to, wireKey(service), wireDestinationKey(wish), wireDestination(wish));
      return ask("edit real server", server(service, wish), payload, forDestination);
    },
    removeDestination: (service: ServiceKey, key: DestinationKey): NetlinkRequest => {
      const payload = wire.ipvs.delDestination(to, wireKey(service), wireDestinationKey(key));
      return ask("remove real server", server(service, key), payload, forDestination);
    },
    /** Counters of one service with its real servers, or of all. */
    zero: (key?: ServiceKey): NetlinkRequest =>
      key === undefined
        ? ask("zero counters of", "all services", wire.ipvs.zero(to))
        : ask("zero counters of", formatService(key), wire.ipvs.zero(to, wireKey(key))),
    flush: (): NetlinkRequest => ask("remove", "all services", wire.ipvs.flush(to)),
    setTimeouts: (timeouts: Partial<IpvsTimeouts>): NetlinkRequest =>
      ask("set", "IPVS timeouts", wire.ipvs.setConfig(to, wireTimeouts(timeouts))),
    startDaemon: (daemon: SyncDaemon): NetlinkRequest =>
      ask(
        "start sync daemon",
        `${daemon.role} on ${daemon.link}`,
        wire.ipvs.newDaemon(to, wireDaemon(daemon)),
        forDaemon,
      ),
    stopDaemon: (role: SyncDaemon["role"]): NetlinkRequest =>
      ask("stop sync daemon", role, wire.ipvs.delDaemon(to, wireDaemon({ role })), forDaemon),
    getInfo: (): NetlinkRequest => ask("read", "IPVS version", wire.ipvs.getInfo(to)),
    getTimeouts: (): NetlinkRequest => ask("read", "IPVS timeouts", wire.ipvs.getConfig(to)),
    getService: (key: ServiceKey): NetlinkRequest =>
      ask("read", formatService(key), wire.ipvs.getService(to, wireKey(key))),
    listServices: (): NetlinkRequest => ask("list", "services", wire.ipvs.dumpServices(to)),
    listDestinations: (key: ServiceKey): NetlinkRequest =>
      ask("list", `real servers of ${formatService(key)}`, wire.ipvs.dumpDestinations(to, wireKey(key))),
    listDaemons: (): NetlinkRequest => ask("list", "sync daemons", wire.ipvs.dumpDaemons(to)),
  } as const;
}

export interface ServiceWithDestinations {
  readonly service: Service;
  readonly destinations: readonly Destination[];
}

/** A table that changes under our feet is read again at most so often. */
const TABLE_ATTEMPTS = 8;

/** What of a service or real server is wish, not counter: for comparing two readings. */
const shapeOf = (table: readonly ServiceWithDestinations[]): string =>
  JSON.stringify(
    table.map(({ service, destinations }) => [
      { ...service, statistics: undefined },
      destinations.map((d) => ({
        ...d,
        statistics: undefined,
        activeConnections: undefined,
        inactiveConnections: undefined,
        persistentConnections: undefined,
      })),
    ]),
  );

function all<T>(messages: readonly NetlinkMessage[], decode: (payload: Uint8Array) => T | undefined): T[] {
  return messages.map((m) => decode(m.payload)).filter((value) => value !== undefined);
}

export class Ipvs {
  readonly #socket: NetlinkSocket;
  /** Requests for batch(). */
  readonly ask: IpvsRequests;
  constructor(socket: NetlinkSocket, family: number) {
    this.#socket = socket;
    this.ask = ipvsRequests(family);
  }
  close(): void {
    this.#socket.close();
  }

  /** Many changes in order, each for itself; gives the refused ones. A removal that must precede stands before. */
  batch(requests: readonly NetlinkRequest[]): BatchFailure[] {
    return this.#socket.batch(requests);
  }

  // What is there

  info(): IpvsInfo {
    return this.#answer(this.ask.getInfo(), decodeInfo);
  }
  timeouts(): IpvsTimeouts {
    return this.#answer(this.ask.getTimeouts(), decodeTimeouts);
  }
  services(): Service[] {
    return all(this.#socket.dump(this.ask.listServices()), decodeService);
  }
  /** Undefined when there is none. */
  service(key: ServiceKey): Service | undefined {
    try {
      return this.#answer(this.ask.getService(key), decodeService);
    } catch (error) {
      if (error instanceof HostError && error.code === "netlink/ESRCH") return undefined;
      throw error;
    }
  }
  /** Errors: netlink/ESRCH when there is no such service; the kernel itself would list nothing and say nothing. */
  destinations(key: ServiceKey): Destination[] {
    const found = all(this.#socket.dump(this.ask.listDestinations(key)), decodeDestination);
    if (found.length === 0) this.#answer(this.ask.getService(key), decodeService);
    return found;
  }
  /** Undefined when the service has no such real server. Errors: netlink/ESRCH when there is no such service. */
  destination(service: ServiceKey, key: DestinationKey): Destination | undefined {
    const name = formatDestination(key);
    return this.destinations(service).find((d) => formatDestination(d) === name);
  }
  daemons(): SyncDaemon[] {
    return all(this.#socket.dump(this.ask.listDaemons()), decodeDaemon);
  }
  /**
   * Services with their real servers, as they stood at one time: the kernel does not say when a dump was interrupted
   * here, so it is read until two readings agree. Errors: ipvs/changing.
   */
  table(): ServiceWithDestinations[] {
    let before: string | undefined;
    for (let attempt = 0; attempt < TABLE_ATTEMPTS; attempt++) {
      const table = this.#readTable();
      const shape = table === undefined ? undefined : shapeOf(table);
      if (table !== undefined && shape === before) return table;
      before = shape;
    }
    throw new HostError("ipvs/changing", `the IPVS table changed during each of ${TABLE_ATTEMPTS} readings`, {
      remedy: "find the other program that changes it (keepalived, ldirectord, kube-proxy), and stop one of the two",
    });
  }
  /** The same by one reading: a table that others change at this moment may come in halves. */
  read(only?: readonly ServiceKey[]): ServiceWithDestinations[] {
    const services = only === undefined ? this.services() : only.flatMap((key) => this.service(key) ?? []);
    return services.map((service) => ({
      service,
      destinations: all(this.#socket.dump(this.ask.listDestinations(service)), decodeDestination),
    }));
  }
  /** Undefined when a service went away in between. */
  #readTable(): ServiceWithDestinations[] | undefined {
    try {
      return this.services().map((service) => ({ service, destinations: this.destinations(service) }));
    } catch (error) {
      if (error instanceof HostError && error.code === "netlink/ESRCH") return undefined;
      throw error;
    }
  }

  // Changes

  addService(wish: ServiceWish): void {
    this.#socket.call(this.ask.addService(wish));
  }
  /** All settings become those given: what is left out goes back to its default. */
  editService(wish: ServiceWish): void {
    this.#socket.call(this.ask.editService(wish));
  }
  removeService(key: ServiceKey): void {
    this.#socket.call(this.ask.removeService(key));
  }
  addDestination(service: ServiceKey, wish: DestinationWish): void {
    this.#socket.call(this.ask.addDestination(service, wish));
  }
  /** All settings become those given: what is left out goes back to its default. */
  editDestination(service: ServiceKey, wish: DestinationWish): void {
    this.#socket.call(this.ask.editDestination(service, wish));
  }
  /** Live connections to it stay until they end, or break at once with the sysctl expire_nodest_conn. */
  removeDestination(service: ServiceKey, key: DestinationKey): void {
    this.#socket.call(this.ask.removeDestination(service, key));
  }
  zero(key?: ServiceKey): void {
    this.#socket.call(this.ask.zero(key));
  }
  flush(): void {
    this.#socket.call(this.ask.flush());
  }
  /** What is left out stays. */
  setTimeouts(timeouts: Partial<IpvsTimeouts>): void {
    this.#socket.call(this.ask.setTimeouts(timeouts));
  }
  startDaemon(daemon: SyncDaemon): void {
    this.#socket.call(this.ask.startDaemon(daemon));
  }
  stopDaemon(role: SyncDaemon["role"]): void {
    this.#socket.call(this.ask.stopDaemon(role));
  }

  #answer<T>(request: NetlinkRequest, decode: (payload: Uint8Array) => T | undefined): T {
    const [answer] = this.#socket.call(request);
    const value = answer && decode(answer.payload);
    if (value !== undefined) return value;
    throw new HostError("ipvs/answer", `${request.operation} ${request.object}: the kernel's answer makes no sense`, {
      remedy: "report this with the kernel's version: it should not happen",
    });
  }
}

/**
 * Opened inside `namespace`, or the calling thread's own: each namespace has its own table.
 * Errors: ipvs/absent where this kernel has no IPVS, or it is not loaded and the kernel could not load it.
 */
export function openIpvs(namespace?: Namespace): Ipvs {
  const socket = openNetlink({ protocol: NETLINK_GENERIC, ...(namespace === undefined ? {} : { namespace }) });
  try {
    const family = familyId(socket, "IPVS");
    if (family === undefined) throw absent();
    return new Ipvs(socket, family);
  } catch (error) {
    socket.close();
    throw error;
  }
}

function absent(): HostError {
  const available = moduleState("ip_vs") === "available";
  return new HostError("ipvs/absent", `IPVS is not in the kernel${available ? ": its module is not loaded" : ""}`, {
    remedy: available
      ? "load it: modprobe ip_vs"
      : "load it with modprobe ip_vs on a kernel that has the module (Debian: linux-image-amd64 or linux-image-cloud-amd64); without IPVS the nft engine forwards by direct routing",
  });
}
