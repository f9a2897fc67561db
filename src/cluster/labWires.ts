/** Reads how the lab's hosts are plugged together, and says what of it cannot be. */
import type { Networks } from "./addresses.ts";
import type { LabLinkGiven, LabSwitch, LabWires } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput } from "./schema.ts";
import { carries, isFor, islandOf, loopsOf, type Plug, plugOf, switchesOf } from "./wires.ts";

type LabInput = NonNullable<ClusterInput["lab"]>;

/** Every cable that a lab needs: a host's, in a network. */
export type Places = readonly { readonly host: string; readonly network: string }[];

type LinkGiven = LabLinkGiven & { readonly path: Path };

export function readWires(
  context: Context,
  networks: Networks,
  input: LabInput,
  places: Places,
  hosts: readonly string[],
): LabWires {
  const switches = readSwitches(context, input, hosts);
  const links = readLinks(context, networks, input, switches, places, hosts);
  const vlans = readVlans(context, networks, input, switches.length > 0);
  const wires: LabWires = { switches, vlans, links: links.map(({ path: _, ...link }) => link) };
  const loops = loopsOf(new Map(switches.map((s) => [s.name, s])));
  for (const name of loops)
    context.add(
      "switch-loop",
      ["lab", "switches", name],
      `the uplinks of ${name} lead back to it: a broadcast would go round for ever`,
    );
  sayMissingLinks(context, wires, places);
  sayDuplicatePorts(context, wires, links, places);
  if (loops.length === 0) sayUnreachable(context, wires, links, places);
  return wires;
}

function readSwitches(context: Context, input: LabInput, hosts: readonly string[]): LabSwitch[] {
  const given = Object.entries(input.switches ?? {});
  const names = given.map(([name]) => name);
  return given.map(([name, value]): LabSwitch => {
    const path = ["lab", "switches", name];
    if (hosts.includes(name)) context.add("duplicate-name", path, `a host is called ${name}, too`, undefined, "key");
    const { uplink, ageingSeconds = defaults.switchAgeingSeconds } =
      typeof value === "string" ? { uplink: value } : value;
    if (uplink === undefined) return { name, ageingSeconds, uplink };
    const { to, vlans, ...cable } = typeof uplink === "string" ? { to: uplink, vlans: undefined } : uplink;
    const known = names.includes(to);
    if (!known) context.unknown("unknown-switch", [...path, "uplink", "to"], "switch", to, names);
    return { name, ageingSeconds, uplink: known ? { to, vlans, cable } : undefined };
  });
}

function readVlans(context: Context, networks: Networks, input: LabInput, shared: boolean): Record<string, number> {
  const given = input.vlans ?? {};
  for (const name of Object.keys(given))
    if (!networks.byName.has(name))
      context.unknown("unknown-network", ["lab", "vlans", name], "network", name, networks.byName.keys());
  return Object.fromEntries(networks.list.map(({ name }, i) => [name, given[name] ?? (shared ? i + 1 : 1)]));
}

function readLinks(
  context: Context,
  networks: Networks,
  input: LabInput,
  switches: readonly LabSwitch[],
  places: Places,
  hosts: readonly string[],
): LinkGiven[] {
  const names = switches.map((s) => s.name);
  const links: LinkGiven[] = [];
  for (const [host, value] of Object.entries(input.links ?? {})) {
    const base = ["lab", "links", host];
    if (!hosts.includes(host)) {
      context.unknown("unknown-host", base, "host", host, hosts);
      continue;
    }
    const own = places.filter((p) => p.host === host).map((p) => p.network);
    for (const [i, item] of (Array.isArray(value) ? value : [value]).entries()) {
      const path = Array.isArray(value) ? [...base, i] : base;
      const { network, switch: into, vlan, port, ...cable } = open(item);
      if (into !== undefined && !names.includes(into)) {
        const at = typeof value === "string" ? path : [...path, "switch"];
        context.unknown("unknown-switch", at, "switch", into, names);
        continue;
      }
      if (network !== undefined && !networks.byName.has(network))
        context.unknown("unknown-network", [...path, "network"], "network", network, networks.byName.keys());
      else if (network !== undefined && !own.includes(network))
        context.add("wrong-network", [...path, "network"], `${host} is not in ${network}, but in ${own.join(", ")}`);
      else links.push({ host, network, switch: into, vlan, port, cable, path });
    }
  }
  return links;
}

const open = (
  item: string | Partial<LabLinkGiven & LabLinkGiven["cable"]>,
): Partial<LabLinkGiven> & LabLinkGiven["cable"] => (typeof item === "string" ? { switch: item } : item);

/** With several switches nobody can guess where a host stands. */
function sayMissingLinks(context: Context, { switches, links }: LabWires, places: Places): void {
  if (switches.length < 2) return;
  const missing = places.filter((p) => links.find((l) => isFor(l, p.host, p.network))?.switch === undefined);
  if (missing.length === 0) return;
  const several = (host: string): boolean => places.filter((p) => p.host === host).length > 1;
  const names = missing.map(({ host, network }) => (several(host) ? `${host} (in ${network})` : host));
  const shown = names.length > 5 ? `${names.slice(0, 4).join(", ")} and ${names.length - 4} more` : names.join(", ");
  const [first] = missing;
  context.add(
    "host-without-link",
    ["lab", "links"],
    `${shown}: plugged into no switch, and there are ${switches.length}`,
    `say where under \`lab.links\`, such as \`${first?.host}: ${switches[0]?.name}\``,
    "key",
  );
}

function sayDuplicatePorts(context: Context, wires: LabWires, links: readonly LinkGiven[], places: Places): void {
  const networks = new Map<string, LinkGiven>();
  for (const link of links) {
    const { host, network, path } = link;
    const same = networks.get(`${host} ${network}`);
    if (same !== undefined)
      context.add(
        "duplicate-port",
        path,
        `two links of ${host} are for ${network} (line ${context.lineOf(same.path)})`,
      );
    networks.set(`${host} ${network}`, link);
  }
  const ports = new Map<string, string>();
  for (const { host, network } of places) {
    const { switch: into, port } = plugOf(wires, host, network);
    if (port === undefined) continue;
    const same = ports.get(`${into} ${port}`);
    const path = links.find((l) => isFor(l, host, network))?.path ?? [];
    if (same !== undefined)
      context.add("duplicate-port", [...path, "port"], `port ${port} of the switch ${into} is ${same}'s already`);
    else ports.set(`${into} ${port}`, host);
  }
}

/** Every cable of a network must end where the others do: in one VLAN, on switches that carry it to each other. */
function sayUnreachable(context: Context, wires: LabWires, links: readonly LinkGiven[], places: Places): void {
  const networks = [...new Set(places.map((p) => p.network))];
  const switches = new Map(switchesOf(wires, networks).map((s) => [s.name, s]));
  const island = ({ switch: into, vlan }: Plug): string =>
    `${vlan} ${islandOf(switches, into, (s) => carries(s.uplink, vlan))}`;
  const taken = new Map<string, string>();
  for (const network of networks) {
    const plugs = places
      .filter((p) => p.network === network)
      .map(({ host }) => ({ host, plug: plugOf(wires, host, network) }));
    const [first] = plugs;
    if (first === undefined) continue;
    const home = island(first.plug);
    const other = taken.get(home);
    if (other !== undefined)
      context.add(
        "vlan-shared",
        ["lab", "vlans", network],
        `${network} and ${other} are both VLAN ${first.plug.vlan} of ${first.plug.switch}`,
      );
    taken.set(home, network);
    for (const { host, plug } of plugs) {
      if (island(plug) === home) continue;
      const given = links.find((l) => isFor(l, host, network));
      const wrongVlan = plug.vlan !== first.plug.vlan;
      context.add(
        "link-unreachable",
        given === undefined ? ["lab", "links"] : [...given.path, wrongVlan ? "vlan" : "switch"],
        wrongVlan
          ? `${host} is in VLAN ${plug.vlan}, and ${first.host}, as the rest of ${network}, in VLAN ${first.plug.vlan}`
          : `nothing carries VLAN ${plug.vlan} from ${plug.switch}, where ${host} is, to ${first.plug.switch}, where ${first.host} is`,
        wrongVlan
          ? `give both the same VLAN, or leave \`vlan\` out and say \`lab: {vlans: {${network}: ${first.plug.vlan}}}\``
          : `give one of the switches an \`uplink\` towards the other that carries VLAN ${plug.vlan}`,
      );
    }
  }
}
