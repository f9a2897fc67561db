/**
 * From what stands in the kernel's table to what should, in as few changes as there are differences. IPVS has no
 * transactions, so the order is what keeps connections: more capacity before less, new places before old ones go, and
 * nothing is taken out and put back that can be edited.
 */
import {
  keyOf,
  serverKeyOf,
  type TableKey,
  type TableRealServer,
  type TableService,
  type TableSettings,
} from "./table.ts";

export type TableChange =
  | { readonly kind: "addService"; readonly service: TableKey & TableSettings }
  | { readonly kind: "editService"; readonly service: TableKey & TableSettings; readonly what: readonly string[] }
  | { readonly kind: "removeService"; readonly service: TableKey }
  | { readonly kind: "addServer"; readonly service: TableKey; readonly server: TableRealServer }
  | {
      readonly kind: "editServer";
      readonly service: TableKey;
      readonly server: TableRealServer;
      readonly what: readonly string[];
    }
  | { readonly kind: "removeServer"; readonly service: TableKey; readonly server: TableRealServer };

export interface DifferenceOptions {
  /** keyOf services that this program put there, now or before a restart; others are left alone. */
  readonly owned: ReadonlySet<string>;
  readonly maximumDeleteSharePercent: number;
  readonly force: boolean;
}
export type Difference =
  | {
      readonly ok: true;
      readonly changes: readonly TableChange[];
      /** In the kernel, not in the file, and not ours: left and reported. */
      readonly foreign: readonly TableKey[];
    }
  | { readonly ok: false; readonly why: string; readonly remedy: string; readonly removed: readonly TableKey[] };

const bareKey = (s: TableKey): TableKey =>
  "fwmark" in s ? { fwmark: s.fwmark } : { vip: s.vip, protocol: s.protocol, port: s.port };

type Same<T> = readonly { readonly name: string; readonly same: (a: T, b: T) => boolean }[];

const sameFlags = (a: readonly number[] = [], b: readonly number[] = []): boolean =>
  a.length === b.length && a.every((flag) => b.includes(flag));

/** What counts of a service besides its servers. */
const settings: Same<TableSettings> = [
  { name: "scheduler", same: (a, b) => a.scheduler === b.scheduler },
  { name: "flags", same: (a, b) => sameFlags(a.schedulerFlags, b.schedulerFlags) },
  {
    name: "persistence",
    same: ({ persistence: a }, { persistence: b }) =>
      a?.timeoutSeconds === b?.timeoutSeconds && a?.netmaskLength === b?.netmaskLength,
  },
  { name: "onePacket", same: (a, b) => (a.onePacket === true) === (b.onePacket === true) },
];

function sameTunnel(a: TableRealServer, b: TableRealServer): boolean {
  if (a.forwarding !== "tun" || b.forwarding !== "tun") return true; // the forwarding says it already
  const { type = "ipip", port = 0, checksum = "off" } = a.tunnel ?? {};
  const { type: otherType = "ipip", port: otherPort = 0, checksum: otherChecksum = "off" } = b.tunnel ?? {};
  if (type !== otherType) return false;
  return type === "ipip" || ((type !== "gue" || port === otherPort) && checksum === otherChecksum);
}
/** Of a server that is this host itself the kernel shows no way: whatever was asked for, it is that. */
const isHere = (a: TableRealServer, b: TableRealServer): boolean => a.local === true || b.local === true;
const serverSettings: Same<TableRealServer> = [
  { name: "forwarding", same: (a, b) => a.forwarding === b.forwarding || isHere(a, b) },
  { name: "upperThreshold", same: (a, b) => (a.upperThreshold ?? 0) === (b.upperThreshold ?? 0) },
  { name: "lowerThreshold", same: (a, b) => (a.lowerThreshold ?? 0) === (b.lowerThreshold ?? 0) },
  { name: "tunnel", same: (a, b) => sameTunnel(a, b) || isHere(a, b) },
];
const nothing: readonly string[] = [];
function differing<T>(compared: Same<T>, a: T, b: T): readonly string[] {
  let found: string[] | undefined;
  for (const { name, same } of compared)
    if (!same(a, b)) {
      found ??= [];
      found.push(name);
    }
  return found ?? nothing;
}

/** serverKeyOf as a number: tables have tens of thousands of servers, and each is looked up at each change. */
const numberOf = ({ rip, port }: TableRealServer): number => rip * 65_536 + port;

/** Nearly all servers, seen at a glance; the table above has the last word on the others. */
const isSame = (a: TableRealServer, b: TableRealServer): boolean =>
  a.weight === b.weight &&
  a.forwarding === b.forwarding &&
  a.forwarding !== "tun" &&
  a.upperThreshold === b.upperThreshold &&
  a.lowerThreshold === b.lowerThreshold;

/** Changes of one service's servers, by what they do to its capacity. */
interface ServerChanges {
  readonly more: TableChange[];
  readonly less: TableChange[];
}

function serverChanges(
  key: TableKey,
  wanted: readonly TableRealServer[],
  actual: readonly TableRealServer[],
): ServerChanges {
  const more: TableChange[] = [];
  const less: TableChange[] = [];
  const compare = (server: TableRealServer, before: TableRealServer): void => {
    if (isSame(server, before)) return;
    const weight = server.unsure === true ? before.weight : server.weight;
    const others = differing(serverSettings, server, before);
    if (others.length === 0 && weight === before.weight) return;
    const what = weight === before.weight ? others : ["weight", ...others];
    const change: TableChange = { kind: "editServer", service: key, server: { ...server, weight }, what };
    (weight < before.weight ? less : more).push(change);
  };
  // Nearly always the same servers in the same order: those need no map to be found in.
  let first = 0;
  for (; first < wanted.length && first < actual.length; first++) {
    const [server, before] = [wanted[first] as TableRealServer, actual[first] as TableRealServer];
    if (numberOf(server) !== numberOf(before)) break;
    compare(server, before);
  }
  if (first === wanted.length && first === actual.length) return { more, less };
  const standing = new Map<number, TableRealServer>();
  for (const server of actual.slice(first)) standing.set(numberOf(server), server);
  for (const server of wanted.slice(first)) {
    const before = standing.get(numberOf(server));
    if (before === undefined) {
      if (server.onlyIfThere !== true) more.push({ kind: "addServer", service: key, server });
      continue;
    }
    standing.delete(numberOf(server));
    compare(server, before);
  }
  for (const server of standing.values()) less.push({ kind: "removeServer", service: key, server });
  return { more, less };
}

export interface Removals {
  /** Why not, when they are too many. */
  readonly refused?: { readonly why: string; readonly remedy: string };
  readonly removed: readonly TableKey[];
  readonly foreign: readonly TableKey[];
}

/** What would go if just these keys stayed, and whether that is too much. */
export function removals(
  wanted: ReadonlySet<string>,
  actual: readonly TableService[],
  { owned, maximumDeleteSharePercent, force }: DifferenceOptions,
): Removals {
  const removed: TableKey[] = [];
  const foreign: TableKey[] = [];
  for (const service of actual) {
    const key = keyOf(service);
    if (!wanted.has(key)) (owned.has(key) ? removed : foreign).push(bareKey(service));
  }
  const ours = actual.length - foreign.length;
  const share = ours === 0 ? 0 : (removed.length * 100) / ours;
  if (share <= maximumDeleteSharePercent || force) return { removed, foreign };
  const why = `${removed.length} of ${ours} services would be removed, more than ${maximumDeleteSharePercent} %`;
  const remedy = "look at what the file no longer names; if that is meant, reload with --force";
  return { refused: { why, remedy }, removed, foreign };
}

/** Pure; cost grows with the size of the two tables. */
export function difference(
  wanted: readonly TableService[],
  actual: readonly TableService[],
  options: DifferenceOptions,
): Difference {
  const standing = new Map(actual.map((service) => [keyOf(service), service]));
  const fresh: TableChange[] = [];
  const edits: TableChange[] = [];
  const more: TableChange[] = [];
  const less: TableChange[] = [];
  const seen = new Set<string>();
  for (const wish of wanted) {
    const text = keyOf(wish);
    if (seen.has(text)) throw new RangeError(`the wish has ${text} twice`);
    seen.add(text);
    const key = bareKey(wish);
    const before = standing.get(text);
    if (before === undefined) {
      const { realServers, ...service } = wish;
      fresh.push({ kind: "addService", service });
      for (const server of realServers)
        if (server.onlyIfThere !== true) fresh.push({ kind: "addServer", service: key, server });
      continue;
    }
    const what = differing(settings, wish, before);
    if (what.length > 0) {
      const { realServers: _, ...service } = wish;
      edits.push({ kind: "editService", service, what });
    }
    const changes = serverChanges(key, wish.realServers, before.realServers);
    more.push(...changes.more);
    less.push(...changes.less);
  }
  const { refused, removed, foreign } = removals(seen, actual, options);
  if (refused !== undefined) return { ok: false, ...refused, removed };
  const gone = removed.map((service): TableChange => ({ kind: "removeService", service }));
  return { ok: true, changes: [...more, ...edits, ...fresh, ...less, ...gone], foreign };
}

/** What the table is after these changes, for proofs and for the simulator. Throws RangeError where a kernel would refuse. */
export function applyChanges(
  actual: readonly TableService[],
  changes: readonly TableChange[],
): readonly TableService[] {
  if (changes.length === 0) return actual;
  const table = new Map(actual.map((service) => [keyOf(service), service]));
  /** Of services that are touched alone: in order, and found at once. */
  const servers = new Map<string, Map<number, TableRealServer>>();
  const serversAt = (key: string): Map<number, TableRealServer> => {
    let found = servers.get(key);
    if (found === undefined) {
      found = new Map(table.get(key)?.realServers.map((server) => [numberOf(server), server]));
      servers.set(key, found);
    }
    return found;
  };
  for (const change of changes) {
    const key = keyOf(change.service);
    const service = table.get(key);
    if (change.kind === "addService") {
      if (service !== undefined) throw new RangeError(`the service ${key} is there already`);
      table.set(key, { ...change.service, realServers: [] });
      continue;
    }
    if (service === undefined) throw new RangeError(`there is no service ${key}`);
    if (change.kind === "editService") table.set(key, { ...change.service, realServers: service.realServers });
    else if (change.kind === "removeService") {
      table.delete(key);
      servers.delete(key);
    } else {
      const list = serversAt(key);
      const number = numberOf(change.server);
      if (list.has(number) === (change.kind === "addServer"))
        throw new RangeError(`${change.kind} ${serverKeyOf(change.server)} in ${key}`);
      if (change.kind === "removeServer") list.delete(number);
      else list.set(number, change.server);
    }
  }
  for (const [key, list] of servers) {
    const service = table.get(key);
    if (service !== undefined) table.set(key, { ...service, realServers: [...list.values()] });
  }
  return [...table.values()];
}
