/**
 * The IPVS table of one namespace over generic netlink: every command the family has, one at a time or in batches.
 *
 * The kernel has no transactions here: each change stands for itself, in the order given. Errors: NetlinkError with
 * the service or real server it is about; ipvs/absent where the kernel has no IPVS.
 */
import { formatIpv4 } from "../base/ipv4.ts";
import {
  type Destination,
  type DestinationKey,
  type DestinationWish,
  decodeDaemon,
  decodeDestination,
  decodeInfo,
  decodeService,
  decodeTimeouts,
  encodeIpvs,
  IPVS_CMD,
  type IpAddress,
  type IpvsInfo,
  type IpvsTimeouts,
  type Service,
  type ServiceKey,
  type ServiceWish,
  type SyncDaemon,
} from "../wire/ipvsMessages.ts";
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
  NLM_F,
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
} from "../wire/ipvsMessages.ts";

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

export type IpvsRequests = ReturnType<typeof ipvsRequests>;

/** All changes as requests, for single calls and batches; `family` is what familyId gave for "IPVS". */
export function ipvsRequests(family: number) {
  const ask = (operation: string, object: string, payload: Uint8Array, meanings = general): NetlinkRequest => ({
    type: family,
    flags: 0,
    payload,
    operation,
    object,
    meanings,
  });
  const server = (service: ServiceKey, key: DestinationKey): string =>
    `${formatDestination(key)} of ${formatService(service)}`;
  return {
    addService: (wish: ServiceWish): NetlinkRequest => {
      const payload = encodeIpvs.service(IPVS_CMD.NEW_SERVICE, wish);
      return ask("add service", formatService(wish), payload, forService(wish));
    },
    editService: (wish: ServiceWish): NetlinkRequest => {
      const payload = encodeIpvs.service(IPVS_CMD.SET_SERVICE, wish);
      return ask("edit service", formatService(wish), payload, forService(wish));
    },
    removeService: (key: ServiceKey): NetlinkRequest =>
      ask("remove service", formatService(key), encodeIpvs.serviceKey(IPVS_CMD.DEL_SERVICE, key)),
    addDestination: (service: ServiceKey, wish: DestinationWish): NetlinkRequest => {
      const payload = encodeIpvs.destination(IPVS_CMD.NEW_DEST, service, wish);
      return ask("add real server", server(service, wish), payload, forDestination);
    },
    editDestination: (service: ServiceKey, wish: DestinationWish): NetlinkRequest => {
      const payload = encodeIpvs.destination(IPVS_CMD.SET_DEST, service, wish);
      return ask("edit real server", server(service, wish), payload, forDestination);
    },
    removeDestination: (service: ServiceKey, key: DestinationKey): NetlinkRequest => {
      const payload = encodeIpvs.destinationKey(IPVS_CMD.DEL_DEST, service, key);
      return ask("remove real server", server(service, key), payload, forDestination);
    },
    /** Counters of one service with its real servers, or of all. */
    zero: (key?: ServiceKey): NetlinkRequest =>
      key === undefined
        ? ask("zero counters of", "all services", encodeIpvs.bare(IPVS_CMD.ZERO))
        : ask("zero counters of", formatService(key), encodeIpvs.serviceKey(IPVS_CMD.ZERO, key)),
    flush: (): NetlinkRequest => ask("remove", "all services", encodeIpvs.bare(IPVS_CMD.FLUSH)),
    setTimeouts: (timeouts: Partial<IpvsTimeouts>): NetlinkRequest =>
      ask("set", "IPVS timeouts", encodeIpvs.timeouts(timeouts)),
    startDaemon: (daemon: SyncDaemon): NetlinkRequest =>
      ask("start sync daemon", `${daemon.role} on ${daemon.link}`, encodeIpvs.startDaemon(daemon), forDaemon),
    stopDaemon: (role: SyncDaemon["role"]): NetlinkRequest =>
      ask("stop sync daemon", role, encodeIpvs.stopDaemon(role), forDaemon),
    get: (command: (typeof IPVS_CMD)[keyof typeof IPVS_CMD], what: string, key?: ServiceKey): NetlinkRequest =>
      ask("read", what, key === undefined ? encodeIpvs.bare(command) : encodeIpvs.serviceKey(command, key)),
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
    return decodeInfo(this.#answer(this.ask.get(IPVS_CMD.GET_INFO, "IPVS version")));
  }
  timeouts(): IpvsTimeouts {
    return decodeTimeouts(this.#answer(this.ask.get(IPVS_CMD.GET_CONFIG, "IPVS timeouts")));
  }
  services(): Service[] {
    return all(this.#dump(this.ask.get(IPVS_CMD.GET_SERVICE, "services")), decodeService);
  }
  /** Undefined when there is none. */
  service(key: ServiceKey): Service | undefined {
    try {
      return decodeService(this.#answer(this.ask.get(IPVS_CMD.GET_SERVICE, formatService(key), key)));
    } catch (error) {
      if (error instanceof HostError && error.code === "netlink/ESRCH") return undefined;
      throw error;
    }
  }
  /** Errors: netlink/ESRCH when there is no such service; the kernel itself would list nothing and say nothing. */
  destinations(key: ServiceKey): Destination[] {
    const object = `real servers of ${formatService(key)}`;
    const found = all(this.#dump(this.ask.get(IPVS_CMD.GET_DEST, object, key)), decodeDestination);
    if (found.length === 0) this.#answer(this.ask.get(IPVS_CMD.GET_SERVICE, object, key));
    return found;
  }
  /** Undefined when the service has no such real server. Errors: netlink/ESRCH when there is no such service. */
  destination(service: ServiceKey, key: DestinationKey): Destination | undefined {
    const name = formatDestination(key);
    return this.destinations(service).find((d) => formatDestination(d) === name);
  }
  daemons(): SyncDaemon[] {
    return all(this.#dump(this.ask.get(IPVS_CMD.GET_DAEMON, "sync daemons")), decodeDaemon);
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

  #answer(request: NetlinkRequest): Uint8Array {
    const [answer] = this.#socket.call(request);
    if (answer !== undefined) return answer.payload;
    throw new HostError("ipvs/silent", `${request.operation} ${request.object}: the kernel gave no answer`, {
      remedy: "report this with the kernel's version: it should not happen",
    });
  }
  #dump(request: NetlinkRequest): NetlinkMessage[] {
    return this.#socket.dump({ ...request, flags: NLM_F.DUMP });
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
