import { formatIpv4, parseIpv4 } from "../base/ipv4.ts";
import { repeatedNames } from "../base/jsonKeys.ts";
import { parseMac } from "../base/mac.ts";
import { networkOf, parsePrefix } from "../base/prefix.ts";
import {
  choiceOf,
  exactly,
  flag,
  listOf,
  numberFrom,
  objectOf,
  oneOf,
  optional,
  orNull,
  pairOf,
  pathText,
  problemsOf,
  recordOf,
  type Shape,
  type ShapeProblem,
  text,
  textOf,
  textOrFlag,
  textThat,
  whole,
} from "../base/shape.ts";
import { FACTS_VERSION, generations, type HostFacts, neighbourStates, routeTypes } from "./facts.ts";
import { generationOf, parseRelease } from "./generation.ts";
import { parseIpv6 } from "./ipv6.ts";
import { isProtocol } from "./protocols.ts";
import { switchProblems } from "./switches.ts";
import { sysctlNameProblem } from "./sysctlNames.ts";

/**
 * The facts file's shape, once for the check and once for schema/facts.schema.json, and the checks that a shape
 * cannot say: two places of the file that contradict each other.
 */

const ipv4Pattern = "^\\d{1,3}(\\.\\d{1,3}){3}$";
const ipv4 = textThat((t) => parseIpv4(t) !== undefined, "an IPv4 address", { pattern: ipv4Pattern });
const ipv6 = textThat((t) => parseIpv6(t) !== undefined, "an IPv6 address", { maxLength: 45 });
const eitherIp = textThat((t) => parseIpv4(t) !== undefined || parseIpv6(t) !== undefined, "an IP address", {
  maxLength: 45,
});
const prefix = textThat(
  (t) => t.length <= 18 && (t === "default" || parsePrefix(t) !== undefined),
  'an IPv4 prefix such as "10.0.0.0/24"',
  { maxLength: 18 },
);
const mac = textThat((t) => parseMac(t) !== undefined, 'a MAC address such as "02:00:00:00:00:01"');
const linkName = textOf(1, 64);
const uint32 = whole(0, 0xffffffff);
const port = whole(0, 65535);
const linkFlag = oneOf(["UP", "NOARP", "LOOPBACK", "BROADCAST", "MULTICAST", "POINTOPOINT", "PROMISC", "LOWER_UP"]);
const isAddressMatch = (t: string): boolean =>
  parsePrefix(t) !== undefined || t.split("-").every((end) => parseIpv4(end) !== undefined);

const addressMatch = objectOf({
  any: listOf(textThat(isAddressMatch, "an address, prefix or range")),
  not: optional(flag),
});
const protocol = textThat(isProtocol, 'an IP protocol: "tcp", "ipip", or a number such as "47"');
const nameMatch = objectOf({ any: listOf(text), not: optional(flag) });
const numberMatch = objectOf({ any: listOf(pairOf(whole())), not: optional(flag) });

const plainVerdicts = ["accept", "drop", "reject", "return", "continue"] as const;
const otherVerdicts = ["mangle", "redirect", "dnat", "tproxy", "mark"] as const;
/** Says of an unknown kind what there is; the others follow in the order of `otherVerdicts`. */
const verdictShapes = [
  objectOf({ kind: oneOf([...plainVerdicts, ...otherVerdicts]) }),
  objectOf({
    kind: exactly("mangle"),
    senderIp: optional(ipv4),
    senderMac: optional(mac),
    targetIp: optional(ipv4),
    targetMac: optional(mac),
    next: oneOf(["accept", "drop", "continue"]),
  }),
  objectOf({ kind: exactly("redirect"), port: optional(port) }),
  objectOf({ kind: exactly("dnat"), to: ipv4, port: optional(port) }),
  objectOf({ kind: exactly("tproxy"), to: optional(ipv4), port: optional(port), mark: optional(uint32) }),
  objectOf({ kind: exactly("mark"), value: uint32, mask: optional(uint32) }),
];
const byKind = choiceOf("oneOf", verdictShapes, (v) => 1 + (otherVerdicts as readonly unknown[]).indexOf(v.kind));
const verdict: Shape = {
  check: byKind.check,
  schema: { oneOf: [objectOf({ kind: oneOf(plainVerdicts) }), ...verdictShapes.slice(1)].map((s) => s.schema) },
};

const filterRule = objectOf({
  match: objectOf({
    in: optional(nameMatch),
    out: optional(nameMatch),
    source: optional(addressMatch),
    target: optional(addressMatch),
    sourceMac: optional(nameMatch),
    targetMac: optional(nameMatch),
    arpOperation: optional(numberMatch),
    protocol: optional(objectOf({ any: listOf(protocol), not: optional(flag) })),
    sourcePort: optional(numberMatch),
    targetPort: optional(numberMatch),
    mark: optional(objectOf({ value: uint32, mask: optional(uint32), not: optional(flag) })),
  }),
  verdict,
  text: optional(text),
});
const notUnderstood = objectOf({ notUnderstood: text });

const shape = objectOf({
  factsVersion: exactly(FACTS_VERSION),
  hostname: optional(text),
  takenAt: optional(text),
  kernel: objectOf({
    release: text,
    generation: oneOf(generations),
    switches: optional(recordOf(textOrFlag)),
    patches: optional(
      listOf(objectOf({ name: oneOf(["hidden", "arp_invisible", "fullarpfix"]), how: oneOf(["found", "told"]) })),
    ),
    hadCustomRules: optional(flag),
    hadCustomLocalRoutes: optional(flag),
  }),
  links: listOf(
    objectOf({
      ifindex: whole(1, 0x7fffffff),
      name: linkName,
      kind: optional(text),
      flags: listOf(linkFlag),
      carrier: optional(flag),
      mac: orNull(mac),
      mtu: optional(whole(0, 0x7fffffff)),
      master: optional(linkName),
      parent: optional(linkName),
      vlanId: optional(whole(0, 4095)),
      mode: optional(text),
      vrfTable: optional(uint32),
      tunnel: optional(objectOf({ local: optional(ipv4), remote: optional(ipv4) })),
      ipv4State: optional(flag),
      aliasFlags: optional(recordOf(listOf(linkFlag))),
      segment: optional(text),
    }),
  ),
  addresses: listOf(
    objectOf({
      link: linkName,
      ip: ipv4,
      prefixLength: whole(0, 32),
      peer: optional(ipv4),
      scope: whole(0, 255),
      label: optional(text),
      secondary: optional(flag),
      broadcast: optional(ipv4),
      noPrefixRoute: optional(flag),
    }),
  ),
  addresses6: optional(
    listOf(
      objectOf({
        link: linkName,
        ip: ipv6,
        prefixLength: whole(0, 128),
        scope: whole(0, 255),
        tentative: optional(flag),
        optimistic: optional(flag),
        dadFailed: optional(flag),
        deprecated: optional(flag),
        anycast: optional(flag),
        proxy: optional(flag),
      }),
    ),
  ),
  routesGiven: oneOf(["all", "added"]),
  routes: listOf(
    objectOf({
      dst: prefix,
      type: optional(oneOf(routeTypes)),
      table: optional(uint32),
      via: optional(ipv4),
      dev: optional(linkName),
      nexthops: optional(
        listOf(objectOf({ via: optional(ipv4), dev: optional(linkName), weight: optional(whole(0, 65536)) })),
      ),
      scope: optional(whole(0, 255)),
      prefsrc: optional(ipv4),
      metric: optional(uint32),
      tos: optional(whole(0, 255)),
      protocol: optional(text),
      onlink: optional(flag),
      advmss: optional(uint32),
    }),
  ),
  rules: listOf(
    objectOf({
      priority: uint32,
      from: optional(prefix),
      to: optional(prefix),
      iif: optional(linkName),
      oif: optional(linkName),
      fwmark: optional(uint32),
      fwmask: optional(uint32),
      tos: optional(whole(0, 255)),
      protocol: optional(protocol),
      sourcePorts: optional(pairOf(port)),
      destinationPorts: optional(pairOf(port)),
      not: optional(flag),
      l3mdev: optional(flag),
      table: optional(uint32),
      action: optional(oneOf(["lookup", "blackhole", "unreachable", "prohibit", "goto", "nop"])),
      goto: optional(uint32),
      suppressPrefixLength: optional(whole(0, 32)),
    }),
  ),
  sysctls: recordOf(whole()),
  neighbours: listOf(
    objectOf({
      link: text,
      ip: ipv4,
      mac: optional(mac),
      state: oneOf(neighbourStates),
      proxy: optional(flag),
      prefixLength: optional(whole(0, 32)),
      ageMs: optional(numberFrom(0)),
    }),
  ),
  filters: listOf(
    objectOf({
      tool: oneOf(["nft", "iptables", "arptables", "ipchains", "ipfwadm"]),
      family: oneOf(["arp", "ip", "inet", "bridge", "netdev"]),
      table: optional(text),
      chain: optional(text),
      type: optional(oneOf(["filter", "nat", "route"])),
      hook: oneOf(["ingress", "prerouting", "input", "forward", "output", "postrouting"]),
      priority: optional(whole()),
      policy: optional(oneOf(["accept", "drop"])),
      rules: listOf(choiceOf("anyOf", [filterRule, notUnderstood], (r) => ("notUnderstood" in r ? 1 : 0))),
    }),
  ),
  ipvs: optional(
    objectOf({
      services: listOf(
        objectOf({
          protocol: optional(oneOf(["tcp", "udp", "sctp"])),
          vip: optional(eitherIp),
          port: optional(port),
          fwmark: optional(uint32),
          scheduler: text,
          persistentS: optional(whole(0, 0xffffffff)),
          destinations: listOf(
            objectOf({
              rip: eitherIp,
              port,
              method: oneOf(["dr", "tun", "nat", "local"]),
              weight: whole(0, 0x7fffffff),
            }),
          ),
        }),
      ),
      sync: optional(listOf(text)),
    }),
  ),
  sockets: optional(
    listOf(
      objectOf({
        protocol: oneOf(["tcp", "udp"]),
        ip: eitherIp,
        port,
        transparent: optional(flag),
        program: optional(text),
      }),
    ),
  ),
  modules: optional(listOf(text)),
  environment: optional(objectOf({ virtualisation: optional(text), container: optional(text) })),
  unread: listOf(objectOf({ what: text, why: text })),
});

export type FactsProblem = ShapeProblem;

export type FactsResult =
  | { readonly ok: true; readonly value: HostFacts }
  | { readonly ok: false; readonly problems: readonly FactsProblem[] };

/** Reads a facts file. Every problem is reported, not only the first; nothing is guessed. */
export function parseFacts(text: string): FactsResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    // Whatever the parser missed, it missed it where the text ends.
    const at = /position (\d+)/.exec(why)?.[1];
    const cut = text.trim() === "" || at === undefined ? /end of (JSON )?input/i.test(why) : Number(at) >= text.length;
    const message = cut ? `the file is not complete JSON, it seems to be cut short (${why})` : `not JSON: ${why}`;
    return { ok: false, problems: [{ path: "", message }] };
  }
  const repeated = repeatedNames(text);
  if (repeated.length > 0) {
    const message = "stands twice in its object, and only one of them can be meant";
    return { ok: false, problems: repeated.map((path) => ({ path: pathText(path), message })) };
  }
  return checkFacts(value);
}

/** The same for a value that is already parsed. */
export function checkFacts(value: unknown): FactsResult {
  const version = versionProblem(value);
  if (version) return { ok: false, problems: [version] };
  const faults = problemsOf(shape, value);
  if (faults.length > 0) return { ok: false, problems: faults };
  const facts = value as HostFacts;
  const problems = contradictions(facts);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, value: facts };
}

/** Another version is the only thing worth saying about a file of another version. */
function versionProblem(value: unknown): FactsProblem | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { path: "", message: "a facts file is a JSON object" };
  if (!("factsVersion" in value))
    return { path: "factsVersion", message: "missing: this does not look like a facts file" };
  const given = value.factsVersion;
  if (given === FACTS_VERSION) return undefined;
  const newer = typeof given === "number" && given > FACTS_VERSION ? "; it was made by a newer vipward" : "";
  return { path: "factsVersion", message: `is ${JSON.stringify(given)}, this vipward reads ${FACTS_VERSION}${newer}` };
}

/** What each part says of links must be true of the list of links. */
function contradictions(facts: HostFacts): FactsProblem[] {
  const problems: FactsProblem[] = [];
  const names = new Set<string>();
  const indexes = new Set<number>();
  const say = (path: string, message: string): void => {
    problems.push({ path, message });
  };
  for (const [name, what] of switchProblems(facts.kernel)) say(`kernel.switches.${name}`, what);
  const kernelProblem = releaseProblem(facts);
  if (kernelProblem) say(kernelProblem.path, kernelProblem.message);
  facts.links.forEach((link, i) => {
    if (names.has(link.name)) say(`links[${i}].name`, `a second link is named ${link.name}`);
    if (indexes.has(link.ifindex)) say(`links[${i}].ifindex`, `a second link has the index ${link.ifindex}`);
    names.add(link.name);
    indexes.add(link.ifindex);
  });
  const mustExist = (path: string, name: string | undefined): void => {
    if (name !== undefined && !names.has(name)) say(path, `there is no link ${name}`);
  };
  facts.links.forEach((link, i) => {
    for (const relation of ["master", "parent"] as const) {
      mustExist(`links[${i}].${relation}`, link[relation]);
      const circle = circleOf(facts, link.name, relation);
      if (circle !== undefined) say(`links[${i}].${relation}`, `${link.name} is its own ${relation}${circle}`);
    }
  });
  for (const key of Object.keys(facts.sysctls)) {
    const problem = sysctlNameProblem(key, (name) => names.has(name));
    if (problem) say(pathText(["sysctls", key]), problem);
  }
  const seen = new Set<string>();
  facts.addresses.forEach((address, i) => {
    mustExist(`addresses[${i}].link`, address.link);
    const key = `${address.link} ${address.ip}/${address.prefixLength} ${address.peer ?? ""}`;
    if (seen.has(key)) say(`addresses[${i}]`, `${address.ip}/${address.prefixLength} is on ${address.link} twice`);
    seen.add(key);
  });
  facts.addresses6?.forEach((address, i) => {
    mustExist(`addresses6[${i}].link`, address.link);
  });
  facts.routes.forEach((route, i) => {
    mustExist(`routes[${i}].dev`, route.dev);
    const problem = routeProblem(route);
    if (problem) say(`routes[${i}]${problem.path}`, problem.message);
    if (route.nexthops && (route.dev !== undefined || route.via !== undefined))
      say(`routes[${i}].nexthops`, "a route has either nexthops or dev and via");
    route.nexthops?.forEach((hop, j) => {
      mustExist(`routes[${i}].nexthops[${j}].dev`, hop.dev);
    });
  });
  facts.neighbours.forEach((neighbour, i) => {
    if (neighbour.link !== "*") mustExist(`neighbours[${i}].link`, neighbour.link);
  });
  return problems;
}

/** Switches follow the release, messages name the generation: they must be of one kind, with or without a patch. */
function releaseProblem({ kernel }: HostFacts): FactsProblem | undefined {
  const release = parseRelease(kernel.release);
  if (!release)
    return { path: "kernel.release", message: `${JSON.stringify(kernel.release)} is no release such as 6.1.0` };
  const patches = [[], ["hidden"], ["arp_invisible"], ["fullarpfix"]];
  const possible = patches.map((names) => generationOf(release, names));
  // One generation of modern kernels is another's name for it: what decides is the release.
  if (possible.includes(kernel.generation)) return undefined;
  return {
    path: "kernel.generation",
    message: `is ${kernel.generation}, and release ${kernel.release} is of ${[...new Set(possible)].join(" or ")}`,
  };
}

/** " by way of X" where following the relation leads back; undefined where it ends. */
function circleOf(facts: HostFacts, start: string, relation: "master" | "parent"): string | undefined {
  const passed: string[] = [];
  let at = facts.links.find((l) => l.name === start)?.[relation];
  while (at !== undefined && passed.length <= facts.links.length) {
    if (at === start) return passed.length === 0 ? "" : ` by way of ${passed.join(", ")}`;
    if (passed.includes(at)) return undefined; // a circle that others are in
    passed.push(at);
    const here = at;
    at = facts.links.find((l) => l.name === here)?.[relation];
  }
  return undefined;
}

type RouteOfFacts = HostFacts["routes"][number];

/** What the kernel itself would refuse. */
function routeProblem(route: RouteOfFacts): FactsProblem | undefined {
  const type = route.type ?? "unicast";
  const destination = route.dst === "default" ? undefined : parsePrefix(route.dst);
  if (destination && networkOf(destination) !== destination.address) {
    const right = `${formatIpv4(networkOf(destination))}/${destination.length}`;
    return { path: ".dst", message: `${route.dst} is an address in a prefix; the prefix is ${right}` };
  }
  const leads = route.dev !== undefined || route.via !== undefined || (route.nexthops?.length ?? 0) > 0;
  if (type === "unicast" && !leads) return { path: "", message: "a unicast route needs dev, via or nexthops" };
  const hopless = route.nexthops?.findIndex((hop) => hop.dev === undefined && hop.via === undefined) ?? -1;
  return hopless >= 0 ? { path: `.nexthops[${hopless}]`, message: "needs dev or via" } : undefined;
}

/** The content of schema/facts.schema.json. */
export function factsJsonSchema(): unknown {
  return {
    $id: "https://vipward.example/schema/facts.schema.json",
    title: "vipward facts: one host's network state",
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...shape.schema,
  };
}
