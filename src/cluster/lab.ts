/** The `lab` part of the file: hosts that only a lab has, how they are plugged together, and the scenario. */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { lastOf, networkOf } from "../base/prefix.ts";
import { sysctlNameProblem } from "../model/sysctlNames.ts";
import { type AddressBook, type Networks, unicast } from "./addresses.ts";
import { httpChecksOf, type Lab, type LabFault, type LabScenario, type Network, type Service } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Hosts } from "./hosts.ts";
import { type Places, readWires } from "./labWires.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput } from "./schema.ts";
import { type FaultAction, faultValues, faultVictims, isCableFault } from "./words.ts";

type LabInput = NonNullable<ClusterInput["lab"]>;
type FaultInput = NonNullable<NonNullable<LabInput["scenario"]>["faults"]>[number];

export function readLab(
  context: Context,
  networks: Networks,
  book: AddressBook,
  hosts: Hosts,
  services: readonly Service[],
  { lab: input = {} }: ClusterInput,
): Lab {
  const names = new Set([...hosts.directorNames.keys(), ...hosts.realServerNames.keys()]);
  const routers = networks.list.flatMap((network) =>
    network.router === undefined ? [] : [{ address: network.router, network }],
  );
  const router = input.router ?? defaults.labRouterName;
  // The name nobody wrote gives way; a client's or a real server's stays.
  if (input.router !== undefined && names.has(router)) sayTaken(context, router, ["lab", "router"]);
  const routerName = input.router === undefined && names.has(router) ? `lab-${router}` : router;
  names.add(routerName);
  const clients = readClients(context, networks, book, hosts, names, input.clients);
  const known = [...names, ...clients.map((c) => c.name)];
  for (const [name] of Object.entries(input.kernels ?? {}))
    if (!known.includes(name)) context.unknown("unknown-host", ["lab", "kernels", name], "host", name, known);
  const wires = readWires(context, networks, input, placesOf(hosts, routerName, clients, input.clients), known);
  const uplinked = new Set(wires.switches.filter((s) => s.uplink !== undefined).map((s) => s.name));
  return {
    clients,
    router: { name: routerName, addresses: routers },
    kernels: input.kernels ?? {},
    ignoresGratuitous: input.ignoresGratuitous ?? false,
    redirectPort: input.redirectPort,
    wires,
    scenario: readScenario(context, { hosts, services, known, uplinked }, input.scenario),
  };
}

const sayTaken = (context: Context, name: string, path: Path): void =>
  context.add("duplicate-name", path, `another host is called ${name}`);

function readClients(
  context: Context,
  networks: Networks,
  book: AddressBook,
  hosts: Hosts,
  names: Set<string>,
  given: LabInput["clients"],
): Lab["clients"] {
  const list: Lab["clients"][number][] = [];
  const clients = given ?? defaults.labClients;
  if (typeof clients === "number") {
    const network = hosts.directors[0]?.network;
    if (network === undefined) return list;
    for (const address of freeAddresses(network, book, clients)) {
      const name = clients === 1 ? "client" : `client${list.length + 1}`;
      list.push({ name: names.has(name) ? `lab-${name}` : name, address, network });
    }
    // Who asked for none is not refused for want of room: a lab that needs one says so.
    if (given !== undefined && list.length < clients)
      context.add(
        "number-range",
        ["lab", "clients"],
        `${network.name} has room for ${list.length === 0 ? "none" : `only ${list.length}`} of ${clients} clients`,
        list.length > 0 ? `write at most ${list.length}` : "take `clients` away",
      );
    return list;
  }
  for (const [name, text] of Object.entries(clients)) {
    const path = ["lab", "clients", name];
    if (names.has(name)) sayTaken(context, name, path);
    names.add(name);
    const address = unicast(context, text, path, "client's address");
    const network = address === undefined ? undefined : networks.place(context, address, path, "client's address");
    if (address === undefined || network === undefined) continue;
    book.claim(address, name, path);
    list.push({ name, address, network });
  }
  return list;
}

/** Who has a cable in which network. Of clients that are only counted a lab uses the first. */
function placesOf(hosts: Hosts, router: string, clients: Lab["clients"], given: LabInput["clients"]): Places {
  const used = typeof given === "object" ? clients : clients.slice(0, 1);
  const own = [...hosts.directors, ...hosts.realServers.filter((r) => !r.isDirector), ...used].map(
    ({ name, network }) => ({ host: name, network: network.name }),
  );
  const all = [...new Set(own.map((p) => p.network))].map((network) => ({ host: router, network }));
  return [...own, ...all];
}

/** Whom a fault may name. */
interface Victims {
  readonly hosts: Hosts;
  readonly services: readonly Service[];
  readonly known: readonly string[];
  /** Switches with an uplink. */
  readonly uplinked: ReadonlySet<string>;
}

function readScenario(context: Context, victims: Victims, scenario: LabInput["scenario"]): LabScenario | undefined {
  if (scenario === undefined) return undefined;
  const { hosts, known, uplinked } = victims;
  const answers = scenario.faults?.some((f) => f.do === "answers") === true;
  const asked = new Set(answers ? httpChecksOf(victims.services).keys() : []);
  const faults = (scenario.faults ?? []).map((given, i): LabFault => {
    const path = ["lab", "scenario", "faults", i];
    if (!known.includes(given.host) && !uplinked.has(given.host))
      context.unknown("unknown-host", [...path, "host"], "host", given.host, [...known, ...uplinked]);
    else sayWhoCannot(context, victims, asked, given, path);
    sayWhatIsMissing(context, given, path);
    saySysctl(context, hosts, given, path);
    if (given.at > scenario.seconds)
      context.add(
        "bad-fault",
        [...path, "at"],
        `${given.do} at ${given.at} s, and the scenario ends after ${scenario.seconds} s`,
        "let it happen earlier, or make `seconds` larger",
      );
    return {
      atMs: Math.round(given.at * 1000),
      action: given.do,
      host: given.host,
      name: given.name ?? "",
      value: given.value ?? 0,
    };
  });
  return {
    durationMs: scenario.seconds * 1000,
    faults,
    seed: scenario.seed,
    connectEveryMs: scenario.connectEveryMs,
    longLived: scenario.longLived ?? defaults.scenarioLongLived,
    askEveryMs: scenario.askEveryMs,
    guard: scenario.guard,
  };
}

function sayWhoCannot(
  context: Context,
  { hosts, uplinked }: Victims,
  asked: ReadonlySet<string>,
  { do: action, host }: FaultInput,
  path: Path,
): void {
  const say = (what: string, remedy?: string): void =>
    context.add("bad-fault", [...path, "host"], `${host} is ${what} and cannot ${action}`, remedy);
  if (uplinked.has(host)) {
    if (!isCableFault(action)) say("a switch", "name a host; of a switch only its uplink can be broken");
    return;
  }
  const who = faultVictims[action];
  if (who === "director" && !hosts.directorNames.has(host)) say("no director", "name a director");
  if (who === "real server" && (!hosts.realServerNames.has(host) || hosts.directorNames.has(host)))
    say("no real server of its own", "name a real server that is no director");
  else if (action === "answers" && !asked.has(host))
    context.add(
      "bad-fault",
      [...path, "host"],
      `no http or https check asks ${host}, so nobody would see what it answers`,
      "give one of its services `health: http`, or name a real server that has such a check",
    );
}

function sayWhatIsMissing(context: Context, { do: action, name, value }: FaultInput, path: Path): void {
  const say = (key: "name" | "value", message: string, remedy: string): void =>
    context.add("bad-fault", value === undefined || key === "name" ? path : [...path, key], message, remedy);
  if (action === "sysctl" && name === undefined)
    say("name", "a sysctl fault that names no sysctl", 'add its name, such as `name: "eth0.arp_announce"`');
  if (action !== "sysctl" && name !== undefined)
    say("name", `\`name\` has no meaning for ${action}`, "take `name` away");
  const takes = faultValues[action];
  if (takes === undefined) {
    if (value !== undefined) say("value", `\`value\` has no meaning for ${action}`, "take `value` away");
  } else if (value === undefined) {
    if (takes.optional !== true)
      say("value", `${action} without \`value\` (${takes.what})`, `add it, such as \`value: ${example(action)}\``);
  } else if (value < takes.from || value > takes.to)
    say(
      "value",
      `\`value\` is ${value}, and must be from ${takes.from} to ${takes.to} (${takes.what})`,
      "use a number within the limits",
    );
  else if (takes.whole === true && !Number.isInteger(value))
    say("value", `\`value\` is ${value}, and must be whole (${takes.what})`, `take ${Math.round(value)}`);
}

/** Carriers, which a host may have, and the cards of clients and of the router, which the lab names. */
const anyLink = /^(lo|dummy0|tunl0)$/;
const labCard = /^eth\d{1,2}$/;

/** A sysctl that no host has would be set without a word, and nothing would come of it. */
function saySysctl(context: Context, hosts: Hosts, { do: action, host, name }: FaultInput, path: Path): void {
  if (action !== "sysctl" || name === undefined) return;
  const card = [...hosts.directors, ...hosts.realServers].find((h) => h.name === host)?.interface;
  const isLink = (link: string): boolean =>
    anyLink.test(link) || (card === undefined ? labCard.test(link) : link === card);
  const problem = sysctlNameProblem(name, isLink);
  if (problem === undefined) return;
  const remedy = card === undefined ? "correct the name" : `correct the name; the card of ${host} is ${card}`;
  context.add("bad-fault", [...path, "name"], `${name}: ${problem}`, remedy);
}

const examples: Readonly<Partial<Record<FaultAction, number>>> = { mtu: 1400, sysctl: 0, drift: 200 };
const example = (action: FaultAction): number => examples[action] ?? 10;

/** From the top of the network down, where people seldom put hosts. */
function* freeAddresses(network: Network, book: AddressBook, count: number): Generator<Ipv4> {
  const edge = network.prefix.length > 30 ? 0 : 1;
  let found = 0;
  for (let n = lastOf(network.prefix) - edge; n >= networkOf(network.prefix) + edge && found < count; n--) {
    const address = ipv4FromNumber(n);
    if (book.has(address)) continue;
    found++;
    yield address;
  }
}
