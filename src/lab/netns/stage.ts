/** The story's machines as namespaces on this kernel. */
import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import { covers } from "../../base/prefix.ts";
import { DISCARD_PORT, echo, sendDatagram } from "../../host/echo.ts";
import { HostError } from "../../host/errors.ts";
import { ipv4Conf, readSysctl, writeSysctl } from "../../host/sysctl.ts";
import { whoHas } from "../../host/whoHas.ts";
import type { Engine } from "../../ports/engine.ts";
import type { Plot } from "../plot.ts";
import type { CureChange, LabMachine } from "../report.ts";
import type { Answers, Stage, StageOptions } from "../stage.ts";
import { addressOn, type LabHost, type LabLink } from "../topology.ts";
import type { TrafficPlan } from "../traffic.ts";
import { type BuiltMachine, buildNetwork } from "./build.ts";
import { giveVips } from "./carriers.ts";
import type { ClientWorkerData, ClientWorkerReply } from "./clientWorker.ts";
import { openTap } from "./tap.ts";
import type { WebWorkerData, WebWorkerReply, WebWorkerRequest } from "./webWorker.ts";
import { LabWorker } from "./workers.ts";

export type EngineMaker = (director: BuiltMachine, link: LabLink, macOf: (rip: Ipv4) => Mac) => Engine;

const askIntervalMs = 60;
const webWorker = new URL("./webWorker.js", import.meta.url);
const clientWorker = new URL("./clientWorker.js", import.meta.url);

function describe(host: LabHost, namespace: string, vips: readonly Ipv4[]): LabMachine {
  return {
    name: host.name,
    role: host.role === "realServer" ? "real server" : host.role,
    addresses: [
      ...host.links.map((l) => formatIpv4(l.addresses[0]?.address ?? (0 as Ipv4))),
      ...vips.map((v) => `VIP ${formatIpv4(v)}`),
    ],
    macs: host.links.map((l) => l.mac),
    namespace,
    wires: host.links.map((l) => l.wire),
  };
}

/** Builds the plot's machines and starts their programs; whatever was made before a failure is removed again. */
export async function netnsStage(plot: Plot, makeEngine: EngineMaker, options: StageOptions): Promise<Stage> {
  options.progress(`building ${plot.topology.hosts.length} machines on ${plot.topology.switches.length} switch(es)`);
  const network = buildNetwork(plot.topology, options.prefix);
  const closers: (() => void | Promise<void>)[] = [];
  const machine = (name: string): BuiltMachine => {
    const found = network.machines.get(name);
    if (found === undefined) throw new RangeError(`no machine ${name}`);
    return found;
  };
  const removeAll = async (keep: boolean): Promise<void> => {
    try {
      // one that fails must not keep the others, nor the namespaces, standing
      const ends = await Promise.allSettled(closers.splice(0).map(async (close) => close()));
      for (const end of ends) if (end.status === "rejected") throw end.reason;
    } finally {
      network.remove({ keep });
    }
  };
  try {
    const holders = giveVips(plot, machine, options.bareRealServers === true ? [] : plot.realServers);
    const director = machine(plot.director.name);
    const directorLink = plot.director.links[0];
    if (directorLink === undefined) throw new RangeError("the director has no link");
    const macByAddress = new Map(
      plot.topology.hosts.flatMap((h) => h.links.flatMap((l) => l.addresses.map((a) => [a.address, l.mac] as const))),
    );
    const engine = makeEngine(director, directorLink, (rip) => {
      const mac = macByAddress.get(rip);
      if (mac === undefined) throw new RangeError(`no machine has ${formatIpv4(rip)}`);
      return mac;
    });
    closers.push(() => engine.close());
    const refused = plot.services.flatMap(({ service }) => engine.refusals(service));
    if (refused[0] !== undefined)
      throw new HostError("engine/unavailable", refused[0], { remedy: "choose --backend vm, or another --forwarding" });

    const ports = [...new Set(plot.services.map(({ service }) => service.port))];
    options.progress("starting the web servers and the client");
    const web = new LabWorker<WebWorkerRequest, WebWorkerReply>(webWorker, {
      servers: plot.realServers.flatMap(({ host }) =>
        ports.map((port) => ({ host: host.name, namespace: machine(host.name).namespace.name, port })),
      ),
    } satisfies WebWorkerData);
    closers.push(() => web.end());
    const client = new LabWorker<TrafficPlan, ClientWorkerReply>(clientWorker, {
      namespace: machine(plot.client.name).namespace.name,
    } satisfies ClientWorkerData);
    closers.push(() => client.end());
    const tap = openTap(plot.cast, network.switches);
    closers.push(() => tap.close());
    await Promise.all([web.next(), client.next()]);

    const forget = (name: string): void => {
      const { netlink, host } = machine(name);
      for (const link of host.links) netlink.flushNeighbours(link.name);
    };

    return {
      backend: "netns",
      kernel: release(),
      engine: engine.name,
      countsLagMs: engine.countsLagMs,
      machines: plot.topology.hosts.map((h) => describe(h, machine(h.name).namespace.name, holders.get(h.name) ?? [])),
      async whoHas(from, targets, times) {
        return repeatedly(network.stir, askIntervalMs, () => ask(machine(from), targets, times));
      },
      async traffic(plan, refreshMs) {
        const names = plot.topology.hosts.map((h) => h.name);
        return repeatedly(
          () => {
            names.forEach(forget);
            network.stir();
          },
          refreshMs,
          async () => {
            const reply = await client.ask(plan);
            if (reply.kind !== "done") throw new Error(`the client answered ${reply.kind}`);
            return reply.result;
          },
        );
      },
      observe: async () => tap.restart(),
      observed: async () => tap.report(),
      lostFrames: async () => tap.lostFrames(),
      setSysctls(name, values) {
        return machine(name).namespace.run(() =>
          values.flatMap(({ link, name: sysctl, value }): CureChange[] => {
            const path = ipv4Conf(link, sysctl);
            const before = readSysctl(path) ?? "";
            if (before === value) return [];
            writeSysctl(path, value);
            return [{ machine: name, what: path.join("."), before, after: readSysctl(path) ?? "" }];
          }),
        );
      },
      forgetNeighbours: forget,
      neighbour(name, address) {
        return machine(name)
          .netlink.neighbours()
          .find((n) => n.address === address)?.mac;
      },
      speak(name, from, to) {
        machine(name).namespace.run(() => sendDatagram(from, to, DISCARD_PORT, new TextEncoder().encode("vipward")));
      },
      address(name, action, addresses) {
        const { netlink, host } = machine(name);
        const names = new Map(netlink.links().map((l) => [l.index, l.name]));
        for (const a of netlink.addresses())
          if (addresses.includes(a.address))
            netlink.removeAddress(names.get(a.linkIndex) ?? "lo", { address: a.address, length: a.prefixLength });
        if (action === "remove") return;
        const [link] = host.links;
        for (const address of addresses)
          if (link !== undefined) netlink.addAddress(link.name, { prefix: { address, length: 32 } });
      },
      plug(name, plugged) {
        for (const { netlink, machineOfPort } of network.switches)
          for (const [port, owner] of machineOfPort) if (owner === name) netlink.setLink(port, { up: plugged });
      },
      ping: (name, from, to, patienceMs) =>
        machine(name).namespace.run(() => [echo(from, to, patienceMs)])[0] ?? Promise.resolve(false),
      program: (services) => engine.program(services),
      counts: () => engine.counts(),
      pause: (ms) => sleep(ms, undefined, { signal: options.signal }),
      remove: ({ keep }) => removeAll(keep),
    };
  } catch (error) {
    await removeAll(false);
    throw error;
  }
}

/** Does `step` again and again while `work` is under way. A step that fails, fails the work: a timer has no caller. */
export function repeatedly<T>(step: () => void, everyMs: number, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      try {
        step();
      } catch (error) {
        reject(error);
      }
    }, everyMs);
    work()
      .then(resolve, reject)
      .finally(() => clearInterval(timer));
  });
}

/** Asks from the interface that is on the targets' wire, in the name of its own address there. */
async function ask(from: BuiltMachine, targets: readonly Ipv4[], times: number): Promise<Answers[]> {
  const [target] = targets;
  const link = from.host.links.find((l) => l.addresses.some((a) => target !== undefined && covers(a, target)));
  if (link === undefined) throw new RangeError(`${from.host.name} is not on the wire of what it asks for`);
  const report = await whoHas({
    namespace: from.namespace,
    interface: link.name,
    vips: targets,
    source: { address: addressOn(from.host, link.wire) },
    count: times,
    intervalMs: askIntervalMs,
    decoys: 0,
  });
  return report.links.flatMap(({ vips }) =>
    vips.map(({ vip, owners }) => ({
      target: vip,
      asked: times,
      by: owners.map((o) => ({ mac: o.mac, answers: o.answers.own + o.duplicates, first: o.firstAnswers })),
    })),
  );
}
