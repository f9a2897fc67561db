/** Random changes of one service's servers with new connections in between, for a simulated director and a kernel. */
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import type { TableChange } from "../machine/difference.ts";
import type { TableRealServer, TableSettings } from "../machine/table.ts";
import { Dice } from "../sim/dice.ts";
import { udpPacket } from "../sim/frame.ts";
import { SimHost } from "../sim/host.ts";
import { Ipvs } from "../sim/ipvs.ts";
import { Lan } from "../sim/lan.ts";
import { addressFacts, sketchFacts } from "./modelHosts.ts";

export const vip = ipv4("10.0.0.100");
export const clients: readonly Ipv4[] = [201, 202, 203, 204].map((last) => ipv4(`10.0.0.${last}`));
/** A datagram that opens a connection, from a port that no other has. */
export interface Ask {
  readonly kind: "ask";
  readonly source: Ipv4;
  readonly sourcePort: number;
}
export type Step = TableChange | Ask;

/** Begins with the service's birth. The dice say all. */
export function* story(scheduler: string, port: number, dice: Dice): Generator<Step> {
  const key = { vip, protocol: 17, port } as const;
  const weightOf = new Map<number, number>();
  const server = (last: number): TableRealServer => ({
    ...{ name: `web${last}`, rip: ipv4(`10.0.0.${last}`), port, forwarding: "dr" as const },
    weight: weightOf.get(last) ?? 0,
  });
  const set = (last: number): TableRealServer => {
    weightOf.set(last, dice.below(6));
    return server(last);
  };
  let settings: TableSettings = { scheduler, schedulerFlags: [] };
  const edits: Readonly<Record<string, () => TableChange | undefined>> = {
    addServer: () => {
      const free = [1, 2, 3, 4, 5].filter((last) => !weightOf.has(last));
      return free.length === 0 ? undefined : { kind: "addServer", service: key, server: set(dice.pick(free)) };
    },
    editServer: () => ({
      kind: "editServer",
      service: key,
      server: set(dice.pick([...weightOf.keys()])),
      what: ["weight"],
    }),
    removeServer: () => {
      if (weightOf.size < 2) return undefined;
      const change = { kind: "removeServer" as const, service: key, server: server(dice.pick([...weightOf.keys()])) };
      weightOf.delete(Number(change.server.name.slice(3)));
      return change;
    },
    editService: () => {
      settings =
        scheduler === "sh" || scheduler === "mh"
          ? { scheduler, schedulerFlags: dice.pick([[], [1], [2], [1, 2]] as const) }
          : {
              scheduler: settings.scheduler === scheduler && dice.chance(300_000) ? "dh" : scheduler,
              schedulerFlags: [],
            };
      return { kind: "editService", service: { ...key, ...settings }, what: ["scheduler", "flags"] };
    },
  };
  yield { kind: "addService", service: { ...key, ...settings } };
  for (const last of [1, 2, 3]) yield { kind: "addServer", service: key, server: set(last) };
  const kinds = ["editServer", "editServer", "addServer", "removeServer", "editService"];
  for (let i = 0; i < 60; i++) {
    const change = dice.chance(250_000) ? edits[dice.pick(kinds)]?.() : undefined;
    yield change ?? { kind: "ask", source: dice.pick(clients), sourcePort: 20_000 + i };
  }
}

/** What the simulated director makes of a story: the real server of each question, undefined where there is none. */
export function told(steps: readonly Step[], port: number): (Ipv4 | undefined)[] {
  const lan = new Lan({ seed: 1 });
  const own = mac("02:00:00:00:00:02");
  const facts = sketchFacts({ eth0: ["10.0.0.254/24"], addresses: [addressFacts("eth0", "10.0.0.100/32")] });
  const host = new SimHost(lan, { ...facts, hostname: "lb" });
  host.wire("eth0", lan.plug(host.id, 0, own, lan.addSwitch("switch")));
  const ipvs = new Ipvs(host);
  let sentTo: Ipv4 | undefined;
  host.output = (_, nextHop) => {
    sentTo = nextHop;
    return undefined;
  };
  return steps.flatMap((step) => {
    if (step.kind !== "ask") {
      const [failure] = ipvs.apply([step]);
      if (failure !== undefined) throw new Error(failure.why);
      return [];
    }
    sentTo = undefined;
    ipvs.take(udpPacket({ source: step.source, destination: vip, id: 0 }, step.sourcePort, port, new Uint8Array(1)));
    return [sentTo];
  });
}

export const diceFor = (scheduler: string, round: number): Dice =>
  new Dice([...scheduler].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), round));
