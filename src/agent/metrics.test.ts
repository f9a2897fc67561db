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
  guilty: [{ who: "web2", vip: "10.0.0.100", how: "answers", seen: 2 }],
  silence: undefined,
  configuration: { loadedAt: "", error: undefined },
  counters: { checks: 2 },
  events: [],
};

test("every metric has its head once and samples that Prometheus can read", () => {
  const lines = metricsText(status).trimEnd().split("\n");
  for (const { name, type } of metrics)
    assert.equal(lines.filter((l) => l === `# TYPE ${name} ${type}`).length, 1, name);
  for (const line of lines.filter((l) => !l.startsWith("#")))
    assert.match(line, /^vipward_[a-z_]+\{([a-z]+="([^"\\\n]|\\["\\n])*",?)*\} -?[0-9.e+-]+$/, line);
  assert.ok(lines.includes('vipward_vrrp_phase{instance="i",phase="master"} 1'));
  assert.ok(lines.includes('vipward_server_up{service="s",key="tcp 10.0.0.100:80",server="we\\"b1"} 1'));
  assert.ok(lines.includes('vipward_server_up{service="s",key="tcp 10.0.0.100:80",server="gone"} 0'));
  assert.equal(lines.filter((l) => l.startsWith("vipward_server_weight{")).length, 1, "not in the table, no weight");
});
