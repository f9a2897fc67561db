import assert from "node:assert/strict";
import { test } from "node:test";
import { metrics, metricsText } from "./metrics.ts";
import type { AgentStatus } from "./status.ts";

const traffic = {
  activeConnections: 3,
  inactiveConnections: 4,
  connections: 5,
  packets: 6,
  octets: 7,
  connectionRate: 0,
  packetRate: 0,
  octetRate: 0,
};
const server = {
  name: 'we"b1',
  address: "10.0.0.11:80",
  weight: 1,
  wantedWeight: 1,
  forwarding: "dr",
  health: "up",
  why: "",
  forMs: 0,
  drain: "none",
  held: false,
  traffic,
} as const;
const status: AgentStatus = {
  version: 1,
  cluster: "c",
  host: "lb1",
  role: "director",
  forMs: 2500,
  instances: [
    {
      name: "i",
      link: "eth0",
      phase: "master",
      vips: [],
      unverified: 0,
      conflicts: 1,
      effectivePriority: 120,
      counts: { ttl: 2 },
    },
  ],
  services: [
    {
      name: "s",
      key: "tcp 10.0.0.100:80",
      scheduler: "rr",
      quorum: "held",
      alarm: false,
      servers: [server, { ...server, name: "gone", health: "down", weight: undefined, traffic: undefined }],
    },
  ],
  foreign: [],
  guilty: ["eth0", "eth1"].map((link) => ({ who: "web2", vip: "10.0.0.100", how: "answers", seen: 2, link })),
  problems: [],
  silence: undefined,
  configuration: { loadedAt: "", error: undefined },
  gauges: { checks: 2 },
  counters: { attempts: 2 },
  events: [],
};

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** One line of a sample, by the grammar of the text format 0.0.4. Throws where Prometheus would. */
function parseSample(line: string): Sample {
  const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
  assert.ok(name, line);
  const labels = new Map<string, string>();
  let at = name.length;
  if (line[at] === "{") {
    at++;
    while (line[at] !== "}") {
      const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|(?=\}))/.exec(line.slice(at));
      assert.ok(label, `label at ${at}: ${line}`);
      const [whole, key = "", text = ""] = label;
      assert.ok(!key.startsWith("__"), `a reserved label: ${line}`);
      assert.ok(!labels.has(key), `a label twice: ${line}`);
      labels.set(
        key,
        text.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c)),
      );
      at += whole.length;
    }
    at++;
  }
  const rest = /^ (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/.exec(line.slice(at));
  assert.ok(rest, `value of: ${line}`);
  return { name, labels, value: Number(rest[1]?.replace("Inf", "Infinity")) };
}

/** A whole page: every family once, with HELP and TYPE before its samples, and no sample twice. */
function parsePage(text: string): { readonly types: ReadonlyMap<string, string>; readonly samples: readonly Sample[] } {
  assert.ok(text.endsWith("\n"), "the last line must end");
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const seen = new Set<string>();
  const samples: Sample[] = [];
  let family = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (?:[^\\]|\\[\\n])+$/.exec(line)?.[1];
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary|untyped)$/.exec(line);
    if (help !== undefined) {
      assert.ok(!helped.has(help), `HELP twice: ${line}`);
      helped.add(help);
      family = help;
    } else if (type !== null) {
      const [, name = "", kind = ""] = type;
      assert.ok(name === family && !types.has(name), `TYPE out of place: ${line}`);
      assert.equal(kind === "counter", name.endsWith("_total"), `counters, and no others, end in _total: ${line}`);
      types.set(name, kind);
    } else {
      const sample = parseSample(line);
      assert.ok(sample.name === family && types.has(family), `a sample outside of its family: ${line}`);
      const key = `${sample.name} ${[...sample.labels].sort().join()}`;
      assert.ok(!seen.has(key), `a sample twice: ${line}`);
      assert.ok(types.get(family) !== "counter" || sample.value >= 0, line);
      seen.add(key);
      samples.push(sample);
    }
  }
  return { types, samples };
}

test("every metric is a family of its own, by the grammar that Prometheus reads", () => {
  const { types, samples } = parsePage(metricsText(status));
  assert.deepEqual(
    [...types],
    metrics.map(({ name, type }) => [name, type]),
  );
  const find = (name: string, label: string, value: string): number | undefined =>
    samples.find((s) => s.name === name && s.labels.get(label) === value)?.value;
  assert.equal(find("vipward_vrrp_phase", "phase", "master"), 1);
  assert.equal(find("vipward_vrrp_phase", "phase", "backup"), 0);
  assert.equal(find("vipward_server_up", "server", 'we"b1'), 1, "a name comes back as it was");
  assert.equal(find("vipward_server_up", "server", "gone"), 0);
  assert.equal(find("vipward_server_weight", "server", "gone"), undefined, "not in the table, no weight");
});

test("names with every odd character come back from the page as they went in", () => {
  for (const odd of ["\\", '"', "\n", 'a\\"b\n,c}', "\\n", "é 漢", "a{b}"]) {
    const [service] = status.services;
    assert.ok(service);
    const renamed = { ...status, services: [{ ...service, servers: [{ ...server, name: odd }] }] };
    const { samples } = parsePage(metricsText(renamed));
    assert.equal(samples.find((s) => s.name === "vipward_server_up")?.labels.get("server"), odd);
  }
});

test("the parser of this test refuses what Prometheus refuses", () => {
  for (const bad of ["a{b=c} 1", 'a{b="c} 1', 'a{b="c"} one', "1a 1", 'a{b="c",b="d"} 1', 'a{b="\\x"} 1', "a  1"])
    assert.throws(() => parseSample(bad), assert.AssertionError, bad);
  assert.throws(() => parsePage("a 1\n"));
  assert.throws(() => parsePage("# HELP a x\n# TYPE a gauge\na 1\na 1\n"));
});
