import { z } from "zod";
import { parseIpv4 } from "../base/ipv4.ts";
import { parseMac } from "../base/mac.ts";
import { parsePrefix } from "../base/prefix.ts";
import { FACTS_VERSION, generations, type HostFacts, neighbourStates, routeTypes } from "./facts.ts";
import { parseIpv6 } from "./ipv6.ts";
import { switchProblems } from "./switches.ts";

/**
 * The facts file's shape, once for the check and once for schema/facts.schema.json, and the checks that a shape
 * cannot say: two places of the file that contradict each other.
 */

const ipv4 = z
  .string()
  .regex(/^\d{1,3}(\.\d{1,3}){3}$/, { error: "not an IPv4 address", abort: true })
  .refine((t) => parseIpv4(t) !== undefined, "not an IPv4 address");
const ipv6 = z
  .string()
  .max(45)
  .refine((t) => parseIpv6(t) !== undefined, "not an IPv6 address");
const prefix = z
  .string()
  .max(18)
  .refine((t) => t === "default" || parsePrefix(t) !== undefined, 'not an IPv4 prefix such as "10.0.0.0/24"');
const mac = z.string().refine((t) => parseMac(t) !== undefined, 'not a MAC address such as "02:00:00:00:00:01"');
const linkName = z.string().min(1).max(64);
const whole = (low: number, high: number) => z.int().min(low).max(high);
const uint32 = whole(0, 0xffffffff);
const port = whole(0, 65535);
const flag = z.enum(["UP", "NOARP", "LOOPBACK", "BROADCAST", "MULTICAST", "POINTOPOINT", "PROMISC", "LOWER_UP"]);

const addressMatch = z.strictObject({
  any: z.array(
    z
      .string()
      .refine(
        (t) => parsePrefix(t) !== undefined || t.split("-").every((end) => parseIpv4(end) !== undefined),
        "not an address, prefix or range",
      ),
  ),
  not: z.boolean().optional(),
});
const nameMatch = z.strictObject({ any: z.array(z.string()), not: z.boolean().optional() });
const numberMatch = z.strictObject({ any: z.array(z.tuple([z.int(), z.int()])), not: z.boolean().optional() });

const filterRule = z.strictObject({
  match: z.strictObject({
    in: nameMatch.optional(),
    out: nameMatch.optional(),
    source: addressMatch.optional(),
    target: addressMatch.optional(),
    sourceMac: nameMatch.optional(),
    targetMac: nameMatch.optional(),
    arpOperation: numberMatch.optional(),
    protocol: nameMatch.optional(),
    sourcePort: numberMatch.optional(),
    targetPort: numberMatch.optional(),
    mark: z.strictObject({ value: uint32, mask: uint32.optional(), not: z.boolean().optional() }).optional(),
  }),
  verdict: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.enum(["accept", "drop", "reject", "return", "continue"]) }),
    z.strictObject({
      kind: z.literal("mangle"),
      senderIp: ipv4.optional(),
      senderMac: mac.optional(),
      targetIp: ipv4.optional(),
      targetMac: mac.optional(),
      next: z.enum(["accept", "drop", "continue"]),
    }),
    z.strictObject({ kind: z.literal("redirect"), port: port.optional() }),
    z.strictObject({ kind: z.literal("dnat"), to: ipv4, port: port.optional() }),
    z.strictObject({
      kind: z.literal("tproxy"),
      to: ipv4.optional(),
      port: port.optional(),
      mark: uint32.optional(),
    }),
    z.strictObject({ kind: z.literal("mark"), value: uint32, mask: uint32.optional() }),
  ]),
  text: z.string().optional(),
});

const shape = z.strictObject({
  factsVersion: z.literal(FACTS_VERSION),
  hostname: z.string().optional(),
  takenAt: z.string().optional(),
  kernel: z.strictObject({
    release: z.string(),
    generation: z.enum(generations),
    switches: z.record(z.string(), z.union([z.string(), z.boolean()])).optional(),
    patches: z
      .array(
        z.strictObject({ name: z.enum(["hidden", "arp_invisible", "fullarpfix"]), how: z.enum(["found", "told"]) }),
      )
      .optional(),
    hadCustomRules: z.boolean().optional(),
    hadCustomLocalRoutes: z.boolean().optional(),
  }),
  links: z.array(
    z.strictObject({
      ifindex: whole(1, 0x7fffffff),
      name: linkName,
      kind: z.string().optional(),
      flags: z.array(flag),
      carrier: z.boolean().optional(),
      mac: mac.nullable(),
      mtu: whole(0, 0x7fffffff).optional(),
      master: linkName.optional(),
      parent: linkName.optional(),
      vlanId: whole(0, 4095).optional(),
      mode: z.string().optional(),
      vrfTable: uint32.optional(),
      tunnel: z.strictObject({ local: ipv4.optional(), remote: ipv4.optional() }).optional(),
      ipv4State: z.boolean().optional(),
      aliasFlags: z.record(z.string(), z.array(flag)).optional(),
      segment: z.string().optional(),
    }),
  ),
  addresses: z.array(
    z.strictObject({
      link: linkName,
      ip: ipv4,
      prefixLength: whole(0, 32),
      peer: ipv4.optional(),
      scope: whole(0, 255),
      label: z.string().optional(),
      secondary: z.boolean().optional(),
      broadcast: ipv4.optional(),
      noPrefixRoute: z.boolean().optional(),
    }),
  ),
  addresses6: z
    .array(
      z.strictObject({
        link: linkName,
        ip: ipv6,
        prefixLength: whole(0, 128),
        scope: whole(0, 255),
        tentative: z.boolean().optional(),
        optimistic: z.boolean().optional(),
        dadFailed: z.boolean().optional(),
        deprecated: z.boolean().optional(),
        anycast: z.boolean().optional(),
        proxy: z.boolean().optional(),
      }),
    )
    .optional(),
  routesGiven: z.enum(["all", "added"]),
  routes: z.array(
    z.strictObject({
      dst: prefix,
      type: z.enum(routeTypes).optional(),
      table: uint32.optional(),
      via: ipv4.optional(),
      dev: linkName.optional(),
      nexthops: z
        .array(z.strictObject({ via: ipv4.optional(), dev: linkName.optional(), weight: whole(0, 65536).optional() }))
        .optional(),
      scope: whole(0, 255).optional(),
      prefsrc: ipv4.optional(),
      metric: uint32.optional(),
      tos: whole(0, 255).optional(),
      protocol: z.string().optional(),
      onlink: z.boolean().optional(),
      advmss: uint32.optional(),
    }),
  ),
  rules: z.array(
    z.strictObject({
      priority: uint32,
      from: prefix.optional(),
      to: prefix.optional(),
      iif: linkName.optional(),
      oif: linkName.optional(),
      fwmark: uint32.optional(),
      fwmask: uint32.optional(),
      tos: whole(0, 255).optional(),
      protocol: z.string().optional(),
      sourcePorts: z.tuple([port, port]).optional(),
      destinationPorts: z.tuple([port, port]).optional(),
      not: z.boolean().optional(),
      l3mdev: z.boolean().optional(),
      table: uint32.optional(),
      action: z.enum(["lookup", "blackhole", "unreachable", "prohibit", "goto", "nop"]).optional(),
      goto: uint32.optional(),
      suppressPrefixLength: whole(0, 32).optional(),
    }),
  ),
  sysctls: z.record(z.string(), z.int()),
  neighbours: z.array(
    z.strictObject({
      link: z.string(),
      ip: ipv4,
      mac: mac.optional(),
      state: z.enum(neighbourStates),
      proxy: z.boolean().optional(),
      prefixLength: whole(0, 32).optional(),
      ageMs: z.number().min(0).optional(),
    }),
  ),
  filters: z.array(
    z.strictObject({
      tool: z.enum(["nft", "iptables", "arptables", "ipchains", "ipfwadm"]),
      family: z.enum(["arp", "ip", "inet", "bridge", "netdev"]),
      table: z.string().optional(),
      chain: z.string().optional(),
      type: z.enum(["filter", "nat", "route"]).optional(),
      hook: z.enum(["ingress", "prerouting", "input", "forward", "output", "postrouting"]),
      priority: z.int().optional(),
      policy: z.enum(["accept", "drop"]).optional(),
      rules: z.array(z.union([filterRule, z.strictObject({ notUnderstood: z.string() })])),
    }),
  ),
  ipvs: z
    .strictObject({
      services: z.array(
        z.strictObject({
          protocol: z.enum(["tcp", "udp", "sctp"]).optional(),
          vip: z.union([ipv4, ipv6]).optional(),
          port: port.optional(),
          fwmark: uint32.optional(),
          scheduler: z.string(),
          persistentS: whole(0, 0xffffffff).optional(),
          destinations: z.array(
            z.strictObject({
              rip: z.union([ipv4, ipv6]),
              port,
              method: z.enum(["dr", "tun", "nat", "local"]),
              weight: whole(0, 0x7fffffff),
            }),
          ),
        }),
      ),
      sync: z.array(z.string()).optional(),
    })
    .optional(),
  sockets: z
    .array(
      z.strictObject({
        protocol: z.enum(["tcp", "udp"]),
        ip: z.union([ipv4, ipv6]),
        port,
        transparent: z.boolean().optional(),
        program: z.string().optional(),
      }),
    )
    .optional(),
  modules: z.array(z.string()).optional(),
  environment: z.strictObject({ virtualisation: z.string().optional(), container: z.string().optional() }).optional(),
  unread: z.array(z.strictObject({ what: z.string(), why: z.string() })),
});

/** A place in the file ("links[2].mac") and what is wrong there. The empty path is the file itself. */
export interface FactsProblem {
  readonly path: string;
  readonly message: string;
}

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
    const cut = /end of (JSON )?input|Unterminated|after (array|property)|double-quoted property/i.test(why);
    const message = cut ? `the file is not complete JSON, it seems to be cut short (${why})` : `not JSON: ${why}`;
    return { ok: false, problems: [{ path: "", message }] };
  }
  return checkFacts(value);
}

/** The same for a value that is already parsed. */
export function checkFacts(value: unknown): FactsResult {
  const version = versionProblem(value);
  if (version) return { ok: false, problems: [version] };
  const parsed = shape.safeParse(value);
  if (!parsed.success)
    return { ok: false, problems: parsed.error.issues.map((i) => ({ path: pathText(i.path), message: i.message })) };
  const facts = parsed.data as HostFacts;
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

const pathText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, part) =>
      typeof part === "number" ? `${text}[${part}]` : text === "" ? String(part) : `${text}.${String(part)}`,
    "",
  );

/** What each part says of links must be true of the list of links. */
function contradictions(facts: HostFacts): FactsProblem[] {
  const problems: FactsProblem[] = [];
  const names = new Set<string>();
  const indexes = new Set<number>();
  const say = (path: string, message: string): void => {
    problems.push({ path, message });
  };
  for (const [name, what] of switchProblems(facts.kernel)) say(`kernel.switches.${name}`, what);
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
    mustExist(`links[${i}].master`, link.master);
    if (link.master === link.name) say(`links[${i}].master`, `${link.name} is its own master`);
  });
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

/** The content of schema/facts.schema.json. */
export function factsJsonSchema(): unknown {
  return {
    $id: "https://vipward.example/schema/facts.schema.json",
    title: "vipward facts: one host's network state",
    ...(z.toJSONSchema(shape, { target: "draft-2020-12" }) as object),
  };
}
