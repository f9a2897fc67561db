import assert from "node:assert/strict";
import { test } from "node:test";
import { filterChains } from "./filters.ts";

const table = { table: { family: "arp", name: "t" } };
const chain = (hook: string, family = "arp", type = "filter") => ({
  chain: { family, table: "t", name: hook, type, hook, prio: 0, policy: "accept" },
});
const rule = (hook: string, expr: unknown[], family = "arp") => ({ rule: { family, table: "t", chain: hook, expr } });
const match = (left: unknown, right: unknown, op = "==") => ({ match: { op, left, right } });
const arp = (field: string) => ({ payload: { protocol: "arp", field } });
const only = (ruleset: Record<string, unknown>[]) => {
  const [first] = filterChains(ruleset);
  const [found] = first?.rules ?? [];
  return found;
};
const withoutText = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (k, v) => (k === "text" ? undefined : v)));

test("an ARP rule with interface, operation, addresses in a set, and a counter is understood", () => {
  const found = only([
    table,
    chain("input"),
    rule("input", [
      match({ meta: { key: "iifname" } }, "eth0"),
      match(arp("operation"), "request"),
      match(arp("daddr ip"), {
        set: ["10.0.0.1", { prefix: { addr: "10.1.0.0", len: 16 } }, { range: ["10.2.0.1", "10.2.0.9"] }],
      }),
      { counter: { packets: 0, bytes: 0 } },
      { drop: null },
    ]),
  ]);
  assert.deepEqual(withoutText(found), {
    match: {
      in: { any: ["eth0"] },
      arpOperation: { any: [[1, 1]] },
      target: { any: ["10.0.0.1", "10.1.0.0/16", "10.2.0.1-10.2.0.9"] },
    },
    verdict: { kind: "drop" },
  });
});

test("protocols by the names that nft takes from /etc/protocols: 4 is ipencap there, and ipip is 94", () => {
  const protocol = (right: unknown): unknown =>
    only([
      table,
      chain("input", "ip"),
      rule("input", [match({ payload: { protocol: "ip", field: "protocol" } }, right), { drop: null }], "ip"),
    ]);
  const understood = (words: string[]) => ({ match: { protocol: { any: words } }, verdict: { kind: "drop" } });
  for (const [right, word] of [
    ["ipencap", "ipip"],
    ["ipip", "94"],
    ["gre", "gre"],
    [4, "4"],
  ] as const)
    assert.deepEqual(withoutText(protocol(right)), understood([word]));
  assert.match(JSON.stringify(protocol("something-new")), /notUnderstood/);
});

test("a rewritten sender, a negation, a named set", () => {
  const set = {
    set: { family: "arp", table: "t", name: "vips", elem: ["10.0.0.100", { elem: { val: "10.0.0.101", timeout: 5 } }] },
  };
  const mangle = { mangle: { key: arp("saddr ip"), value: "10.0.0.2" } };
  const found = only([
    table,
    set,
    chain("output"),
    rule("output", [
      match({ meta: { key: "oif" } }, "lo", "!="),
      match(arp("saddr ip"), "@vips"),
      mangle,
      { accept: null },
    ]),
  ]);
  assert.deepEqual(withoutText(found), {
    match: { out: { any: ["lo"], not: true }, source: { any: ["10.0.0.100", "10.0.0.101"] } },
    verdict: { kind: "mangle", next: "accept", senderIp: "10.0.0.2" },
  });
});

test("redirect and dnat in a nat chain, ports with their protocol", () => {
  const chains = filterChains([
    chain("prerouting", "ip", "nat"),
    rule(
      "prerouting",
      [
        match({ payload: { protocol: "tcp", field: "dport" } }, { set: [80, { range: [8000, 8080] }] }),
        { redirect: { port: 81 } },
      ],
      "ip",
    ),
    rule("prerouting", [{ dnat: { addr: "10.0.0.2", port: 54 } }], "ip"),
  ]);
  assert.equal(chains[0]?.type, "nat");
  assert.deepEqual(withoutText(chains[0]?.rules), [
    {
      match: {
        protocol: { any: ["tcp"] },
        targetPort: {
          any: [
            [80, 80],
            [8000, 8080],
          ],
        },
      },
      verdict: { kind: "redirect", port: 81 },
    },
    { match: {}, verdict: { kind: "dnat", to: "10.0.0.2", port: 54 } },
  ]);
});

test("what facts have no words for is named, not guessed", () => {
  const strange: readonly (readonly [string, unknown[]])[] = [
    ["a jump", [{ jump: { target: "x" } }]],
    ["connection state", [match({ ct: { key: "state" } }, "new"), { drop: null }]],
    ["an expression of iptables-nft", [{ xt: { type: "match", name: "comment" } }, { drop: null }]],
    ["a bit mask", [match({ "&": [{ meta: { key: "mark" } }, 1] }, 1), { drop: null }]],
    [
      "two matches of one field",
      [match(arp("saddr ip"), "10.0.0.1", "!="), match(arp("saddr ip"), "10.0.0.2", "!="), { drop: null }],
    ],
    ["a named set that is not there", [match(arp("saddr ip"), "@nowhere"), { drop: null }]],
  ];
  for (const [what, expr] of strange) {
    const found = only([chain("input"), rule("input", expr)]);
    assert.ok(found && "notUnderstood" in found, what);
  }
});

test("chains without a hook and families that cannot touch IPv4 are left out", () => {
  const loose = { chain: { family: "ip", table: "t", name: "x" } };
  assert.deepEqual(filterChains([loose, chain("input", "ip6"), rule("x", [{ drop: null }], "ip")]), []);
});
