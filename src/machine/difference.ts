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

/** What counts of a service besides its servers, each as text to compare. */
const settingTexts: Readonly<Record<string, (s: TableSettings) => string>> = {
  scheduler: (s) => s.scheduler,
  flags: (s) => [...(s.schedulerFlags ?? [])].sort().join(),
  persistence: (s) =>
    s.persistence === undefined ? "" : `${s.persistence.timeoutSeconds}/${s.persistence.netmaskLength}`,
  onePacket: (s) => String(s.onePacket === true),
};
const serverTexts: Readonly<Record<string, (s: TableRealServer) => string>> = {
  forwarding: (s) => s.forwarding,
  upperThreshold: (s) => String(s.upperThreshold ?? 0),
  lowerThreshold: (s) => String(s.lowerThreshold ?? 0),
  tunnel(s) {
    if (s.forwarding !== "tun") return "";
    const { type = "ipip", port = 0, checksum = "off" } = s.tunnel ?? {};
    return type === "ipip" ? type : `${type} ${type === "gue" ? port : 0} ${checksum}`;
  },
};
const differing = <T>(texts: Readonly<Record<string, (value: T) => string>>, a: T, b: T): string[] =>
  Object.entries(texts).flatMap(([name, text]) => (text(a) === text(b) ? [] : [name]));

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
  const standing = new Map(actual.map((server) => [serverKeyOf(server), server]));
  for (const server of wanted) {
    const before = standing.get(serverKeyOf(server));
    standing.delete(serverKeyOf(server));
    if (before === undefined) {
      more.push({ kind: "addServer", service: key, server });
      continue;
    }
    const weight = server.unsure === true ? before.weight : server.weight;
    const what = [...(weight === before.weight ? [] : ["weight"]), ...differing(serverTexts, server, before)];
    if (what.length === 0) continue;
    const change: TableChange = { kind: "editServer", service: key, server: { ...server, weight }, what };
    (weight < before.weight ? less : more).push(change);
  }
  for (const server of standing.values()) less.push({ kind: "removeServer", service: key, server });
  return { more, less };
}

/** Pure; cost grows with the size of the two tables. */
export function difference(
  wanted: readonly TableService[],
  actual: readonly TableService[],
  { owned, maximumDeleteSharePercent, force }: DifferenceOptions,
): Difference {
  const standing = new Map(actual.map((service) => [keyOf(service), service]));
  const fresh: TableChange[] = [];
  const edits: TableChange[] = [];
  const more: TableChange[] = [];
  const less: TableChange[] = [];
  const seen = new Set<string>();
  for (const { realServers, ...service } of wanted) {
    const text = keyOf(service);
    if (seen.has(text)) throw new RangeError(`the wish has ${text} twice`);
    seen.add(text);
    const key = bareKey(service);
    const before = standing.get(text);
    if (before === undefined) {
      fresh.push({ kind: "addService", service });
      for (const server of realServers) fresh.push({ kind: "addServer", service: key, server });
      continue;
    }
    const what = differing(settingTexts, service, before);
    if (what.length > 0) edits.push({ kind: "editService", service, what });
    const changes = serverChanges(key, realServers, before.realServers);
    more.push(...changes.more);
    less.push(...changes.less);
  }
  const extra = actual.filter((service) => !seen.has(keyOf(service)));
  const removed = extra.filter((service) => owned.has(keyOf(service))).map(bareKey);
  const foreign = extra.filter((service) => !owned.has(keyOf(service))).map(bareKey);
  const ours = actual.length - foreign.length;
  const share = ours === 0 ? 0 : (removed.length * 100) / ours;
  if (share > maximumDeleteSharePercent && !force)
    return {
      ok: false,
      why: `${removed.length} of ${ours} services would be removed, more than ${maximumDeleteSharePercent} %`,
      remedy: "look at what the file no longer names; if that is meant, reload with --force",
      removed,
    };
  const gone = removed.map((service): TableChange => ({ kind: "removeService", service }));
  return { ok: true, changes: [...more, ...edits, ...fresh, ...less, ...gone], foreign };
}

/** What the table is after these changes, for proofs and for the simulator. Throws RangeError where a kernel would refuse. */
export function applyChanges(actual: readonly TableService[], changes: readonly TableChange[]): TableService[] {
  const table = new Map(actual.map((service) => [keyOf(service), service]));
  const at = (key: TableKey): TableService => {
    const service = table.get(keyOf(key));
    if (service === undefined) throw new RangeError(`there is no service ${keyOf(key)}`);
    return service;
  };
  for (const change of changes) {
    const key = keyOf(change.service);
    if (change.kind === "addService") {
      if (table.has(key)) throw new RangeError(`the service ${key} is there already`);
      table.set(key, { ...change.service, realServers: [] });
      continue;
    }
    const service = at(change.service);
    if (change.kind === "editService") table.set(key, { ...change.service, realServers: service.realServers });
    else if (change.kind === "removeService") table.delete(key);
    else {
      const text = serverKeyOf(change.server);
      const place = service.realServers.findIndex((s) => serverKeyOf(s) === text);
      if (place < 0 === (change.kind !== "addServer")) throw new RangeError(`${change.kind} ${text} in ${key}`);
      const realServers = [...service.realServers];
      if (change.kind === "addServer") realServers.push(change.server);
      else if (change.kind === "editServer") realServers[place] = change.server;
      else realServers.splice(place, 1);
      table.set(key, { ...service, realServers });
    }
  }
  return [...table.values()];
}
