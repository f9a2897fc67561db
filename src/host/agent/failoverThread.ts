/** The other side of failoverWorker.ts: a thread that nothing else delays. Started as a worker, never imported. */

import { parentPort, workerData } from "node:worker_threads";
import { Failover, rehearse } from "../../agent/failover.ts";
import type { FailoverConfig } from "../../agent/failoverConfig.ts";
import { linksOf, withMac } from "../../agent/failoverConfig.ts";
import type { Ipv4 } from "../../base/ipv4.ts";
import type { FailoverEvent, FailoverPorts } from "../../ports/failover.ts";
import { decodeArp } from "../../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../../wire/ethernet.ts";
import { filterProgram, isArp } from "../../wire/packetFilter.ts";
import type { Link as NetlinkLink } from "../../wire/rtnetlinkValues.ts";
import { gateTable, relaySet } from "../engine/gate.ts";
import { HostError, NetlinkError } from "../errors.ts";
import { setRealtime } from "../libc.ts";
import { softLimit } from "../limits.ts";
import type { NetlinkRequest } from "../netlink.ts";
import { type Monitor, watchChanges } from "../netlinkMonitor.ts";
import { NftSets } from "../nftSet.ts";
import { openPacketSocket, type PacketSocket } from "../packetSocket.ts";
import { openRtnetlink, type Rtnetlink } from "../rtnetlink.ts";
import { ask } from "../rtnetlinkRequests.ts";
import type { FromFailover, ToFailover } from "./failoverMessages.ts";
import { TrafficWatch } from "./trafficWatch.ts";
import { VrrpSocket } from "./vrrpSocket.ts";
import { YieldedVips } from "./yieldedVips.ts";

const port = parentPort;
if (port === null) throw new Error("failoverThread is started by failoverWorker only");
const post = (message: FromFailover): void => port.postMessage(message);
const nowMs = (): number => performance.now();

interface Link {
  readonly name: string;
  readonly index: number;
  readonly vrrp: VrrpSocket | undefined;
  readonly arp: PacketSocket;
  readonly traffic: TrafficWatch;
}

/** Those of `config` that are there. */
const links = new Map<string, Link>();
/** Every link of the host, by its index: a renamed one is told of under its new name alone. */
const names = new Map<number, string>();
let config = workerData as FailoverConfig;
const netlink: Rtnetlink = openRtnetlink();
const yielded = new YieldedVips(netlink);
let relays: NftSets | undefined;
let monitor: Monitor | undefined;
let timer: NodeJS.Timeout | undefined;
let latestMs = 0;
let ended = false;
/** One fault is told once a minute: a full queue at 10 ms adverts must not fill the journal. */
const told = new Map<string, number>();

/** Told when everything that others wait for is done: a message to another thread takes longer than an announcement. */
const toTell: FailoverEvent[] = [];
function report(event: FailoverEvent): void {
  toTell.push(event);
}
function tell(): void {
  for (const event of toTell.splice(0)) post({ kind: "event", event });
}
function fault(code: string, reason: string, remedy: string): void {
  const before = told.get(code);
  if (before !== undefined && nowMs() - before < 60_000) return;
  told.set(code, nowMs());
  report({ kind: "fault", code, reason, remedy });
}
function hostFault(error: unknown): void {
  if (error instanceof HostError) fault(error.code, error.message, error.remedy);
  else throw error;
}

function attempt(action: () => void): void {
  try {
    action();
  } catch (error) {
    hostFault(error);
  }
}
function removeAddresses(link: string, vips: readonly Ipv4[]): void {
  const from = links.get(link)?.index ?? link; // it may have another name by now
  for (const address of vips)
    try {
      netlink.removeAddress(from, { address, length: 32 });
    } catch (error) {
      if (!(error instanceof NetlinkError && ["EADDRNOTAVAIL", "ENODEV"].includes(error.errnoName))) hostFault(error);
    }
}

/** Made once, kept: one less thing to do when clients wait. */
const addRequests = new Map<string, NetlinkRequest>();
function addRequest(index: number, address: Ipv4, link: string): NetlinkRequest {
  const key = `${index} ${address}`;
  const made = addRequests.get(key) ?? ask.addAddress(index, { prefix: { address, length: 32 } }, link);
  addRequests.set(key, made);
  return made;
}

const ports: FailoverPorts = {
  sendAdvert(link, packet, to) {
    const why = links.get(link)?.vrrp?.send(packet, to);
    if (why !== undefined) fault("vrrp/send", `an advert could not be sent: ${why}`, "see the link's state: ip link");
  },
  addVips(link, vips) {
    attempt(() => {
      const index = links.get(link)?.index ?? netlink.indexOf(link);
      for (const { error } of netlink.batch(vips.map((vip) => addRequest(index, vip, link))))
        if (error.errnoName !== "EEXIST") hostFault(error);
    });
    attempt(() => yielded.drop(vips));
  },
  yieldVips(link, vips) {
    attempt(() => yielded.take(vips));
    removeAddresses(link, vips);
  },
  removeVips(link, vips) {
    removeAddresses(link, vips);
    attempt(() => yielded.drop(vips));
  },
  relay(vips, to, forMs) {
    attempt(() => {
      relays ??= new NftSets();
      relays.add(gateTable, relaySet(to), vips, forMs);
    });
  },
  endRelay(vips, to) {
    attempt(() => relays?.remove(gateTable, relaySet(to), vips));
  },
  sendFrame(link, frame) {
    try {
      if (links.get(link)?.arp.send([frame]) === 0)
        fault("arp/send", `an ARP frame could not be sent on ${link}: the queue is full`, "see tc -s qdisc");
    } catch (error) {
      hostFault(error);
    }
  },
  report,
};
const failover = new Failover(ports);

function arm(): void {
  if (ended) return;
  if (timer !== undefined) clearTimeout(timer);
  const deadlineMs = failover.deadlineMs;
  if (deadlineMs === Number.POSITIVE_INFINITY) return;
  const waitMs = deadlineMs - nowMs();
  // Timers count whole milliseconds. Before a take-over the rest of one is waited out awake.
  const whole = deadlineMs === failover.takeOverAtMs ? Math.floor(waitMs) - 1 : Math.ceil(waitMs);
  timer = setTimeout(wake, Math.min(Math.max(0, whole), 60_000));
}
/** No longer than this is waited awake. */
const awakeMs = 3;
/** What the sockets hold comes first: a late tick must not outrun an advert that arrived in time. */
function wake(): void {
  const dueAtMs = failover.takeOverAtMs;
  if (dueAtMs - nowMs() < awakeMs) while (nowMs() < dueAtMs);
  latestMs = Math.max(latestMs, nowMs() - failover.deadlineMs);
  guarded(() => {
    for (const link of links.values()) readVrrp(link);
    failover.tick(nowMs());
  });
}
function readVrrp(link: Link): void {
  link.vrrp?.receive((packet) => failover.heardVrrp(link.name, packet, nowMs()));
}
function readArp(link: Link): void {
  link.arp.receive((frame) => {
    const outer = decodeEthernet(frame.octets);
    if (!outer.ok || outer.value.etherType !== ETHERTYPE.arp || outer.value.vlan !== undefined) return;
    const read = decodeArp(frame.octets, outer.value.payloadOffset);
    if (read.ok) failover.heardArp(link.name, read.value, nowMs());
  }, 512);
}
function guarded(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof HostError)) {
      fail(error);
      return;
    }
    hostFault(error);
  }
  tell();
  if (failover.stopped) {
    end();
    return;
  }
  const { awaited } = failover;
  for (const { name, traffic } of links.values()) attempt(() => traffic.watch(awaited.get(name) ?? []));
  arm();
}
function fail(error: unknown): void {
  tell();
  const known = error instanceof HostError;
  post({
    kind: "failed",
    code: known ? error.code : "failover/defect",
    message: error instanceof Error ? (known ? error.message : (error.stack ?? error.message)) : String(error),
    remedy: known ? error.remedy : "please report it with this text; systemd starts the agent again",
  });
  close();
}
function close(): void {
  ended = true;
  if (timer !== undefined) clearTimeout(timer);
  monitor?.close();
  for (const link of links.values()) closeLink(link);
  links.clear();
  netlink.close();
  relays?.close();
  port?.close();
}
function end(): void {
  if (ended) return;
  post({ kind: "stopped" });
  close();
}

function closeLink({ vrrp, arp, traffic }: Link): void {
  vrrp?.close();
  arp.close();
  traffic.close();
}
function openLink(name: string): void {
  const before = links.get(name);
  if (before !== undefined) closeLink(before);
  links.delete(name);
  const local = config.groups.flat().find((i) => i.link === name)?.vrrp.address;
  const options = { interface: name, filter: filterProgram(isArp), longestFrameOctets: 128, timestamps: false };
  const index = netlink.indexOf(name);
  const arp = openPacketSocket(options);
  let vrrp: VrrpSocket | undefined;
  try {
    vrrp = local === undefined ? undefined : new VrrpSocket(name, local);
  } catch (error) {
    arp.close();
    throw error;
  }
  const traffic = new TrafficWatch(name, (vip) => guarded(() => failover.heardTraffic(name, vip, nowMs())));
  const link: Link = { name, index, arp, vrrp, traffic };
  links.set(name, link);
  arp.onReadable(() => guarded(() => readArp(link)));
  vrrp?.onReadable(() => guarded(() => readVrrp(link)));
}
function linksToOpen(): string[] {
  const speaking = new Set(config.groups.flat().map((i) => i.link));
  return linksOf(config).filter((name) => {
    const link = links.get(name);
    return link === undefined || (link.vrrp === undefined && speaking.has(name));
  });
}
function reload(next: FailoverConfig): void {
  config = next;
  // One that is not there at the moment is opened when it comes.
  for (const name of linksToOpen()) attempt(() => openLink(name));
  const up = linksUp();
  for (const name of linksOf(config)) failover.linkChanged(name, up.get(name) === true && links.has(name), nowMs());
  failover.reload(config, addressesNow, nowMs());
  closeOthers(); // not before: what leaves says so on its link
}
function closeOthers(): void {
  const wanted = linksOf(config);
  for (const [name, link] of links)
    if (!wanted.includes(name)) {
      closeLink(link);
      links.delete(name);
    }
}

/** What the kernel says of a link now. Sockets belong to an index: a link that is made again needs new ones. */
function linkIs(link: NetlinkLink): void {
  const { name, index, mac } = link;
  if (!linksOf(config).includes(name)) return;
  if (links.get(name)?.index !== index) {
    failover.linkChanged(name, false, nowMs());
    if (!isUp(link)) return;
    openLink(name);
    if (mac !== undefined) {
      config = withMac(config, name, mac);
      failover.reload(config, addressesNow, nowMs());
    }
  }
  failover.linkChanged(name, isUp(link), nowMs());
}
/** Deleted, or renamed: then VIPs would stay on it, and be answered for. */
function linkGone(name: string): void {
  failover.linkChanged(name, false, nowMs());
  removeAddresses(
    name,
    config.sole.flatMap((s) => (s.link === name ? s.vips : [])),
  );
  const link = links.get(name);
  if (link !== undefined) closeLink(link);
  links.delete(name);
}
function addressesNow(): Map<string, Set<Ipv4>> {
  const byIndex = new Map([...links.values()].map((l) => [l.index, l.name]));
  const found = new Map<string, Set<Ipv4>>([...links.keys()].map((name) => [name, new Set()]));
  for (const a of netlink.addresses()) {
    const name = byIndex.get(a.linkIndex);
    if (name !== undefined) found.get(name)?.add(a.address);
  }
  return found;
}
/** Every link of the host: what is tracked need not be one that VRRP speaks on. */
const linksUp = (now: readonly NetlinkLink[] = netlink.links()): Map<string, boolean> =>
  new Map(now.map((l) => [l.name, isUp(l)]));
/** All of them, and those that are there no more. */
function postLinks(now: readonly NetlinkLink[]): void {
  const up = linksUp(now);
  post({ kind: "links", up: [...[...names.values()].map((name) => [name, up.get(name) === true] as const), ...up] });
  names.clear();
  for (const { name, index } of now) names.set(index, name);
}
const isUp = ({ up, lowerUp }: NetlinkLink): boolean => up && lowerUp;

function heardLink(link: NetlinkLink, isSet: boolean): void {
  const { name, index } = link;
  const before = [...links.values()].find((l) => l.index === index)?.name ?? names.get(index);
  if (isSet) names.set(index, name);
  else names.delete(index);
  if (before !== undefined && before !== name) {
    post({ kind: "links", up: [[before, false]] });
    if (links.get(before)?.index === index) linkGone(before);
  }
  // News of its predecessor, and another of that name is there already.
  if (!isSet && (links.get(name)?.index ?? index) !== index) return;
  post({ kind: "links", up: [[name, isSet && isUp(link)]] });
  if (isSet) linkIs(link);
  else linkGone(name);
}

/** After news were lost: everything is read, and what it says is taken as if it had just happened. */
function resync(): void {
  guarded(() => {
    const why = "changes of links and addresses came faster than they were read: all of them were read anew";
    fault("netlink/lost", why, "find what changes them so often: ip monitor");
    const now = netlink.links();
    postLinks(now);
    for (const { name, index } of links.values())
      if (!now.some((l) => l.name === name && l.index === index)) linkGone(name);
    for (const link of now) linkIs(link);
    for (const [name, there] of addressesNow()) failover.addressesAre(name, there, nowMs());
  });
}

/** Adverts wait for nobody, where the unit's LimitRTPRIO lets them: this thread alone, not checks nor what they start. */
function takePriority(): void {
  const limit = softLimit("Max realtime priority") ?? 0;
  if (limit > 0) attempt(() => setRealtime(Math.min(limit, 10)));
}

function begin(): void {
  takePriority();
  rehearse(config);
  for (const name of linksToOpen()) openLink(name);
  attempt(() => yielded.clear());
  monitor = watchChanges({
    groups: ["link", "address"],
    onChange(change) {
      guarded(() => {
        if (change.kind === "link") heardLink(change.link, change.action === "set");
        else if (change.kind === "address" && change.action === "removed") {
          const link = [...links.values()].find((l) => l.index === change.address.linkIndex);
          if (link !== undefined) failover.addressRemoved(link.name, change.address.address, nowMs());
        }
      });
    },
    onResync: resync,
    onError: fail,
  });
  const now = netlink.links();
  postLinks(now);
  failover.start(config, { addresses: addressesNow(), up: linksUp(now) }, nowMs());
  tell();
  post({ kind: "ready" });
}

function answer(id: number, action: () => Extract<FromFailover, { kind: "answer" }>["value"]): void {
  try {
    post({ kind: "answer", id, value: action() });
  } catch (error) {
    post({ kind: "refused", id, why: error instanceof Error ? error.message : String(error) });
  }
}

port.on("message", (message: ToFailover) =>
  guarded(() => {
    switch (message.kind) {
      case "reload":
        reload(message.config);
        return;
      case "track":
        failover.track(message.instance, message.priorityDelta, message.fault, nowMs());
        return;
      case "switchOver":
        answer(message.id, () => failover.switchOver(message.instance, nowMs()));
        return;
      case "release":
        answer(message.id, () => failover.release(nowMs()));
        return;
      case "status":
        answer(message.id, () => ({ instances: failover.status(nowMs()), strays: failover.strays, latestMs }));
        return;
      case "stop":
        failover.stop(nowMs());
        return;
    }
  }),
);

try {
  begin();
  arm();
} catch (error) {
  fail(error);
}
