import { few } from "../base/few.ts";
import { type Ipv4, ipv4, isMulticast, parseIpv4 } from "../base/ipv4.ts";
import { unicast } from "./addresses.ts";
import { readUser } from "./checks.ts";
import type { ConnectionSync, Failover, Service, Track, Vip, VrrpInstance, VrrpMember } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Hosts } from "./hosts.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput, TrackInput, VrrpInput } from "./schema.ts";

type FailoverInput = NonNullable<ClusterInput["failover"]>;
type InstanceInput = NonNullable<FailoverInput["instances"]>[number];

/** VRRP instances, their groups and connection sync. Checked also for a single director, who then has no instances. */
export function readFailover(
  context: Context,
  input: FailoverInput | undefined,
  hosts: Hosts,
  services: readonly Service[],
): Failover {
  const path: Path = ["failover"];
  const vrrp = input?.vrrp ?? {};
  const vrrpPath = [...path, "vrrp"];
  const several = hosts.directors.length > 1;
  let instances: VrrpInstance[];
  if (input?.instances === undefined || input.instances.length === 0) {
    if (several && vrrp.id === undefined)
      context.add(
        "vrid-defaulted",
        input?.vrrp === undefined ? ["directors"] : vrrpPath,
        "several directors, and no VRRP id is given",
      );
    const main = { name: "main", id: vrrp.id ?? defaults.vrrpId };
    instances = [readInstance(context, main, vrrp, vrrpPath, hosts, services, hosts.vips)];
  } else {
    if (vrrp.intervalMs !== undefined)
      sayIfBadInterval(context, vrrp.version ?? defaults.vrrpVersion, vrrp.intervalMs, vrrpPath);
    instances = input.instances.map((own, i) => {
      const ownPath = [...path, "instances", i];
      const vips = referredVips(context, own.vips, [...ownPath, "vips"], hosts);
      const garp = { ...vrrp.garp, ...own.garp };
      return readInstance(context, own, { ...vrrp, ...own, garp }, ownPath, hosts, services, vips);
    });
    sayInstanceFaults(context, input.instances, instances, hosts);
  }
  const known = new Set(instances.map((i) => i.name));
  const groupNames = new Set<string>();
  const syncGroups = (input?.syncGroups ?? []).map((group, i) => {
    const groupPath = [...path, "syncGroups", i];
    if (groupNames.has(group.name))
      context.add("duplicate-name", [...groupPath, "name"], `two groups are called ${group.name}`);
    groupNames.add(group.name);
    for (const [j, name] of group.instances.entries())
      if (!known.has(name))
        context.unknown("unknown-instance", [...groupPath, "instances", j], "VRRP instance", name, known);
    return { name: group.name, instances: group.instances };
  });
  const connectionSync = readSync(context, input?.connectionSync ?? {}, [...path, "connectionSync"]);
  return { instances: several ? instances : [], syncGroups: several ? syncGroups : [], connectionSync };
}

function referredVips(context: Context, names: readonly string[], path: Path, hosts: Hosts): Vip[] {
  const vips: Vip[] = [];
  for (const [i, name] of names.entries()) {
    const vip = hosts.vipNames.get(name);
    if (vip !== undefined) vips.push(vip);
    else if (!hosts.vipNames.has(name))
      context.unknown("unknown-vip", [...path, i], "VIP", name, hosts.vipNames.keys());
  }
  return vips;
}

/** RFC 9568 5.2.7: 12 bits of centiseconds; RFC 3768 5.3.7: 8 bits of seconds. */
function sayIfBadInterval(context: Context, version: 2 | 3, intervalMs: number, path: Path): void {
  const [step, most] = version === 3 ? [10, 40_950] : [1000, 255_000];
  const where = [...path, "intervalMs"];
  if (intervalMs < step || intervalMs > most)
    context.add(
      "interval-range",
      where,
      `VRRP version ${version} has intervals from ${step} to ${most} ms, not ${intervalMs}`,
    );
  else if (intervalMs % step !== 0) {
    const down = Math.floor(intervalMs / step) * step;
    context.add(
      "interval-step",
      where,
      `VRRP version ${version} cannot write ${intervalMs} ms`,
      `write ${down} or ${down + step}`,
    );
  }
}

function readInstance(
  context: Context,
  own: { name: string; id: number; interface?: string | undefined; priorities?: InstanceInput["priorities"] },
  vrrp: VrrpInput,
  path: Path,
  hosts: Hosts,
  services: readonly Service[],
  vips: readonly Vip[],
): VrrpInstance {
  const version = vrrp.version ?? defaults.vrrpVersion;
  const intervalMs = vrrp.intervalMs ?? defaults.vrrpIntervalMs;
  sayIfBadInterval(context, version, intervalMs, path);
  for (const name of Object.keys(own.priorities ?? {}))
    if (!hosts.directorNames.has(name))
      context.unknown("unknown-director", [...path, "priorities", name], "director", name, hosts.directorNames.keys());
  const peers = readPeers(context, vrrp.unicast ?? defaults.vrrpUnicast, [...path, "unicast"], hosts);
  const members = hosts.directors.map((director): VrrpMember => {
    const mine = new Set(director.addresses.map((a) => a.address));
    return {
      director,
      interface: own.interface ?? director.interface,
      priority: own.priorities?.[director.name] ?? director.priority,
      unicastPeers: peers?.filter((peer) => !mine.has(peer)),
    };
  });
  return {
    name: own.name,
    id: own.id,
    vips,
    members,
    version,
    intervalMs,
    preempt: vrrp.preempt ?? defaults.vrrpPreempt,
    preemptDelayMs: vrrp.preemptDelayMs ?? defaults.vrrpPreemptDelayMs,
    accept: vrrp.accept ?? defaults.vrrpAccept,
    downAdverts: vrrp.downAdverts ?? defaults.vrrpDownAdverts,
    checksum: vrrp.checksum ?? defaults.vrrpChecksum,
    garp: {
      count: vrrp.garp?.count ?? defaults.garpCount,
      intervalMs: vrrp.garp?.intervalMs ?? defaults.garpIntervalMs,
      refreshMs: vrrp.garp?.refreshMs ?? defaults.garpRefreshMs,
      form: vrrp.garp?.form ?? defaults.garpForm,
    },
    track: readTracks(context, vrrp.track ?? [], [...path, "track"], services),
  };
}

function readPeers(
  context: Context,
  unicastInput: boolean | readonly string[],
  path: Path,
  hosts: Hosts,
): Ipv4[] | undefined {
  if (unicastInput === false) return undefined;
  if (unicastInput === true) return hosts.directors.map((d) => d.dip);
  return unicastInput.flatMap((text, i) => unicast(context, text, [...path, i], "peer") ?? []);
}

function readTracks(context: Context, input: readonly TrackInput[], path: Path, services: readonly Service[]): Track[] {
  return input.map((track, i): Track => {
    const weight = track.weight ?? 0;
    if (track.type === "interface") return { type: "interface", interface: track.interface, weight };
    if (track.type === "quorum") {
      const names = services.map((s) => s.name);
      if (!names.includes(track.service))
        context.unknown("unknown-service", [...path, i, "service"], "service", track.service, names);
      return { type: "quorum", service: track.service, weight };
    }
    return {
      type: "script",
      weight,
      command: track.command,
      user: readUser(context, track.user, [...path, i]),
      intervalMs: track.intervalMs ?? defaults.healthIntervalMs,
      timeoutMs: track.timeoutMs ?? defaults.healthTimeoutMs,
      rise: track.rise ?? defaults.healthRise,
      fall: track.fall ?? defaults.healthFall,
    };
  });
}

function sayInstanceFaults(
  context: Context,
  inputs: readonly InstanceInput[],
  instances: readonly VrrpInstance[],
  hosts: Hosts,
): void {
  const names = new Set<string>();
  const ids = new Map<string, string>();
  const owners = new Map<Vip, string>();
  for (const [i, instance] of instances.entries()) {
    const path: Path = ["failover", "instances", i];
    if (names.has(instance.name))
      context.add("duplicate-name", [...path, "name"], `two instances are called ${instance.name}`);
    names.add(instance.name);
    const shared = instance.members
      .map((m) => ids.get(`${m.director.name} ${m.interface} ${instance.id}`))
      .find((n) => n !== undefined);
    if (shared !== undefined)
      context.add("vrid-shared", [...path, "id"], `${shared} has the id ${instance.id} on the same interface`);
    for (const m of instance.members) ids.set(`${m.director.name} ${m.interface} ${instance.id}`, instance.name);
    for (const [j, text] of (inputs[i]?.vips ?? []).entries()) {
      const vip = hosts.vipNames.get(text);
      const owner = vip === undefined ? undefined : owners.get(vip);
      if (owner !== undefined)
        context.add("vip-in-two-instances", [...path, "vips", j], `the VIP ${text} is in ${owner} already`);
      if (vip !== undefined) owners.set(vip, instance.name);
    }
  }
  const without = hosts.vips.filter((vip) => !owners.has(vip));
  if (without.length === 0) return;
  const some = few(
    without.map((vip) => vip.name),
    3,
  );
  context.add("vip-without-instance", ["failover", "instances"], `no instance has ${some}`, undefined, "key");
}

function readSync(context: Context, input: NonNullable<FailoverInput["connectionSync"]>, path: Path): ConnectionSync {
  const group = parseIpv4(input.group ?? defaults.syncGroup);
  if (group === undefined || !isMulticast(group))
    context.add(
      "bad-address",
      [...path, "group"],
      `${input.group} is not a multicast address`,
      "use an address of 224.0.0.0/4",
    );
  return {
    enabled: input.enabled ?? defaults.syncEnabled,
    interface: input.interface,
    id: input.id ?? defaults.syncId,
    group: group ?? ipv4(defaults.syncGroup),
    port: input.port ?? defaults.syncPort,
    ttl: input.ttl ?? defaults.syncTtl,
  };
}
