import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { sketchFacts, whoHas } from "../testing/modelHosts.ts";
import { answerArp } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import type { HostFacts } from "./facts.ts";
import { checkFacts, factsJsonSchema, parseFacts } from "./factsSchema.ts";

type Mutable<T> = T extends object ? { -readonly [K in keyof T]: Mutable<T[K]> } : T;
type MutableFacts = Mutable<HostFacts>;

const good = sketchFacts({ lo: ["10.0.0.100/32"] });
const problems = (change: (facts: Record<string, unknown>) => void): string[] => {
  const facts = structuredClone(good) as unknown as Record<string, unknown>;
  change(facts);
  const result = parseFacts(JSON.stringify(facts));
  return result.ok ? [] : result.problems.map((p) => `${p.path}: ${p.message}`);
};

test("a good file is taken as it is", () => {
  const result = parseFacts(JSON.stringify(good));
  assert.deepEqual(result, { ok: true, value: good });
});

test("another version is named, and nothing else is said", () => {
  assert.deepEqual(
    problems((f) => {
      f.factsVersion = 2;
      f.links = 7;
    }),
    ["factsVersion: is 2, this vipward reads 1; it was made by a newer vipward"],
  );
  assert.match(problems((f) => delete f.factsVersion)[0] ?? "", /^factsVersion: missing/);
});

test("a file cut short anywhere is refused, and said to be cut short", () => {
  const text = JSON.stringify(good);
  for (let length = 0; length < text.length; length++) {
    const result = parseFacts(text.slice(0, length));
    assert.equal(result.ok, false);
    assert.match(result.ok ? "" : (result.problems[0]?.message ?? ""), /cut short/, text.slice(0, length));
  }
  const other = parseFacts("hello");
  assert.match(other.ok ? "" : (other.problems[0]?.message ?? ""), /^not JSON/);
});

test("a name that stands twice in one object is refused, wherever it is", () => {
  const twice = (from: string, to: string): string[] => {
    const text = JSON.stringify(sketchFacts({ sysctls: { "eth0.arp_ignore": 1 } })).replace(from, to);
    const result = parseFacts(text);
    return result.ok ? [] : result.problems.map((p) => `${p.path}: ${p.message}`);
  };
  const message = "stands twice in its object, and only one of them can be meant";
  assert.deepEqual(twice("{}", "{}"), []);
  assert.deepEqual(twice('"eth0.arp_ignore":1', '"eth0.arp_ignore":1,"eth0.arp_ignore":0'), [
    `sysctls["eth0.arp_ignore"]: ${message}`,
  ]);
  assert.deepEqual(twice('"ifindex":2', '"ifindex":2,"ifindex":3'), [`links[1].ifindex: ${message}`]);
});

const like = (f: MutableFacts, change: Partial<MutableFacts["links"][number]>): MutableFacts["links"][number] =>
  Object.assign(structuredClone(f.links[1] as MutableFacts["links"][number]), change);

/** [what, change, the one line it must give]. Each is a good file but for the one contradiction. */
const contradictions: readonly [string, (facts: MutableFacts) => void, RegExp][] = [
  [
    "release and generation",
    (f) => Object.assign(f.kernel, { release: "2.2.14", generation: "6.x" }),
    /^kernel\.generation: is 6\.x, and release 2\.2\.14 is of 2\.2-hidden/,
  ],
  [
    "a release without a version",
    (f) => Object.assign(f.kernel, { release: "generic" }),
    /^kernel\.release: "generic" is no release such as 6\.1\.0$/,
  ],
  ["a second link of one name", (f) => f.links.push(like(f, { ifindex: 9 })), /^links\[2\]\.name: a second link is/],
  ["a second link of one index", (f) => f.links.push(like(f, { name: "eth5" })), /^links\[2\]\.ifindex: a second/],
  [
    "a master that is not there",
    (f) => Object.assign(f.links[1] ?? {}, { master: "br7" }),
    /^links\[1\]\.master: there is no/,
  ],
  [
    "a parent that is not there",
    (f) => Object.assign(f.links[1] ?? {}, { parent: "nic" }),
    /^links\[1\]\.parent: there is no/,
  ],
  [
    "its own master",
    (f) => Object.assign(f.links[1] ?? {}, { master: "eth0" }),
    /^links\[1\]\.master: eth0 is its own master$/,
  ],
  [
    "an address's prefix out of range",
    (f) => f.addresses.push({ link: "eth0", ip: "10.0.0.1", prefixLength: 33, scope: 0 }),
    /^addresses\[\d\]\.prefixLength: expected a whole number from 0 to 32, found 33$/,
  ],
  [
    "an address6 on a link that is not there",
    (f) => Object.assign(f, { addresses6: [{ link: "eth9", ip: "2001:db8::1", prefixLength: 64, scope: 0 }] }),
    /^addresses6\[0\]\.link: there is no link eth9$/,
  ],
  [
    "a nexthop by a link that is not there",
    (f) => f.routes.push({ dst: "default", nexthops: [{ dev: "eth0" }, { via: "10.0.0.1", dev: "eth9" }] }),
    /^routes\[\d\]\.nexthops\[1\]\.dev: there is no link eth9$/,
  ],
  [
    "nexthops and dev at once",
    (f) => f.routes.push({ dst: "default", dev: "eth0", nexthops: [{ dev: "eth0" }] }),
    /^routes\[\d\]\.nexthops: a route has either/,
  ],
  [
    "a nexthop that leads nowhere",
    (f) => f.routes.push({ dst: "default", nexthops: [{}] }),
    /\.nexthops\[0\]: needs dev or via$/,
  ],
  [
    "a unicast route that leads nowhere",
    (f) => f.routes.push({ dst: "10.9.0.0/16" }),
    /^routes\[\d\]: a unicast route needs/,
  ],
  [
    "an address where a prefix belongs",
    (f) => f.routes.push({ dst: "10.9.1.1/16", dev: "eth0" }),
    /^routes\[\d\]\.dst: 10\.9\.1\.1\/16 is an address in a prefix; the prefix is 10\.9\.0\.0\/16$/,
  ],
  [
    "a sysctl of a link that is not there",
    (f) => Object.assign(f.sysctls, { "eth9.arp_ignore": 1 }),
    /^sysctls\["eth9\.arp_ignore"\]: there is no link eth9$/,
  ],
  [
    "a sysctl that does not exist",
    (f) => Object.assign(f.sysctls, { "eth0.arp_ingore": 1 }),
    /^sysctls\["eth0\.arp_ingore"\]: no sysctl that a facts file has; of net\.ipv4\.conf these: hidden, /,
  ],
  [
    "a protocol that does not exist",
    (f) => f.rules.push({ priority: 5, protocol: "tpc", table: 254 }),
    /^rules\[\d\]\.protocol: expected an IP protocol/,
  ],
  [
    "endless age",
    (f) => f.neighbours.push({ link: "eth0", ip: "10.0.0.9", state: "STALE", ageMs: Infinity }),
    /\.ageMs: expected/,
  ],
];
for (const [what, change, message] of contradictions)
  test(`refused, with its place: ${what}`, () => {
    const facts = structuredClone(good) as unknown as MutableFacts;
    change(facts);
    const result = checkFacts(facts);
    assert.ok(!result.ok);
    assert.equal(result.problems.length, 1, JSON.stringify(result.problems));
    assert.match(`${result.problems[0]?.path}: ${result.problems[0]?.message}`, message);
  });

test("a circle of masters is told at each link of it, and no other", () => {
  const circle = (name: string, i: number, master: string) => ({ ...good.links[1], name, ifindex: 10 + i, master });
  const links = [...good.links, circle("a", 0, "b"), circle("b", 1, "c"), circle("c", 2, "b")];
  const result = checkFacts({ ...good, links });
  assert.deepEqual(result.ok ? [] : result.problems, [
    { path: "links[3].master", message: "b is its own master by way of c" },
    { path: "links[4].master", message: "c is its own master by way of b" },
  ]);
});

test("whatever stands in place of any part, the file is refused with the path to it or its parent, or means the same", () => {
  const parts: (string | number)[][] = [];
  const walk = (value: unknown, path: (string | number)[]): void => {
    parts.push(path);
    if (Array.isArray(value)) value.forEach((v, i) => void walk(v, [...path, i]));
    else if (typeof value === "object" && value !== null)
      for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key]);
  };
  const whole = sketchFacts({
    lo: ["10.0.0.100/32"],
    sysctls: { "eth0.arp_ignore": 1 },
    more: {
      rules: [{ priority: 7, from: "10.0.0.0/8", table: 254 }],
      neighbours: [{ link: "eth0", ip: "10.0.0.9", mac: "02:00:00:00:00:09", state: "STALE" }],
      filters: [{ tool: "nft", family: "arp", hook: "input", rules: [{ match: {}, verdict: { kind: "drop" } }] }],
      routes: [{ dst: "10.8.0.0/16", dev: "eth0" }],
    },
  });
  walk(whole, []);
  const odd = fc.oneof(
    fc.constantFrom<unknown>(null, true, -1, 1.5, 1e300, "", "10.0.0.1", "\u001b[2J", [], {}, [[]], {
      __proto__: null,
    }),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(fc.constantFrom(...parts), odd, (path, value) => {
      const text = JSON.stringify(replaced(whole, path, value));
      const result = parseFacts(text);
      if (result.ok) {
        checkHostOf(result.value);
        return;
      }
      for (const problem of result.problems) {
        assert.ok(problem.message.length > 0 && problem.message.length < 2000);
        assert.doesNotMatch(`${problem.path}${problem.message}`, /\[object|undefined/);
      }
    }),
    { numRuns: 2000 },
  );
});

/** A copy with another value at `path`. */
function replaced(from: unknown, path: readonly (string | number)[], value: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return value;
  if (Array.isArray(from)) return from.map((v, i) => (i === first ? replaced(v, rest, value) : v));
  const object = from as Record<string, unknown>;
  return { ...object, [first]: replaced(object[first], rest, value) };
}

/** What was let pass must be fit to work with. */
function checkHostOf(facts: HostFacts): void {
  const host = compileHost(facts);
  const link = host.links[0];
  if (link) answerArp(host, { ...whoHas("10.0.0.100"), link: link.index });
}

test("an unknown generation is named with its place", () => {
  const found = problems((f) => {
    f.kernel = { release: "9.1", generation: "9.x" };
  });
  assert.equal(found.length, 1);
  assert.match(found[0] ?? "", /^kernel\.generation: /);
});

test("unknown switches and values are refused", () => {
  const found = problems((f) => {
    f.kernel = { release: "6.1", generation: "6.x", switches: { arpFilter: "maybe", nonsense: true } };
  });
  assert.deepEqual(found, [
    'kernel.switches.arpFilter: is "maybe", can be false, true',
    "kernel.switches.nonsense: no such switch",
  ]);
});

test("an address on a link that is not there, and every other contradiction, at once", () => {
  const found = problems((f) => {
    f.addresses = [
      { link: "eth9", ip: "10.0.0.1", prefixLength: 24, scope: 0 },
      { link: "eth0", ip: "10.0.0.2", prefixLength: 24, scope: 0 },
      { link: "eth0", ip: "10.0.0.2", prefixLength: 24, scope: 0 },
    ];
    f.routes = [{ dst: "default", via: "10.0.0.1", dev: "eth8" }];
    f.neighbours = [{ link: "eth7", ip: "10.0.0.3", state: "STALE" }];
  });
  assert.deepEqual(found, [
    "addresses[0].link: there is no link eth9",
    "addresses[2]: 10.0.0.2/24 is on eth0 twice",
    "routes[0].dev: there is no link eth8",
    "neighbours[0].link: there is no link eth7",
  ]);
});

test("wrong values are named by place: address, prefix, MAC, unknown key", () => {
  const found = problems((f) => {
    f.addresses = [{ link: "eth0", ip: "10.0.0.300", prefixLength: 33, scope: 0 }];
    f.routes = [{ dst: "10.0.0.0/40" }];
    f.colour = "blue";
  });
  for (const path of ["addresses[0].ip", "addresses[0].prefixLength", "routes[0].dst"])
    assert.ok(
      found.some((p) => p.startsWith(`${path}: `)),
      `${path} in ${found.join("; ")}`,
    );
  assert.ok(found.some((p) => p.includes("colour")));
});

test("schema/facts.schema.json is current", () => {
  const file = new URL("../../schema/facts.schema.json", import.meta.url);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), JSON.parse(JSON.stringify(factsJsonSchema())));
});
