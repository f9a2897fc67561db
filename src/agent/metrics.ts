/** The status as Prometheus' text (exposition format 0.0.4). One table says what each metric is. */
import type { AgentStatus } from "./status.ts";

type Labels = Readonly<Record<string, string | number>>;
type Sample = readonly [labels: Labels, value: number];
interface Metric {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  readonly samples: (status: AgentStatus) => Sample[];
}

const phases = ["initialize", "backup", "master"] as const;
const perServer =
  (value: (server: AgentStatus["services"][number]["servers"][number]) => number | undefined): Metric["samples"] =>
  (status) =>
    status.services.flatMap((service) =>
      service.servers.flatMap((server): Sample[] => {
        const v = value(server);
        const labels = { service: service.name, key: service.key, server: server.name };
        return v === undefined ? [] : [[labels, v]];
      }),
    );

export const metrics: readonly Metric[] = [
  {
    name: "vipward_up_seconds",
    type: "gauge",
    help: "Time since the agent started.",
    samples: (s) => [[{ cluster: s.cluster, host: s.host, role: s.role }, s.forMs / 1000]],
  },
  {
    name: "vipward_vrrp_phase",
    type: "gauge",
    help: "1 for the phase that the instance is in.",
    samples: (s) =>
      s.instances.flatMap(({ name, phase }) =>
        phase === "sole" ? [] : phases.map((p): Sample => [{ instance: name, phase: p }, p === phase ? 1 : 0]),
      ),
  },
  {
    name: "vipward_vrrp_priority",
    type: "gauge",
    help: "Priority that adverts carry now.",
    samples: (s) =>
      s.instances.flatMap((i): Sample[] =>
        i.effectivePriority === undefined ? [] : [[{ instance: i.name }, i.effectivePriority]],
      ),
  },
  {
    name: "vipward_vrrp_packets_total",
    type: "counter",
    help: "Packets heard, by what became of them.",
    samples: (s) =>
      s.instances.flatMap((i) =>
        Object.entries(i.counts ?? {}).map(([reason, n]): Sample => [{ instance: i.name, reason }, n]),
      ),
  },
  {
    name: "vipward_vip_conflicts",
    type: "gauge",
    help: "Other machines that claim a VIP which this host holds.",
    samples: (s) => s.instances.map((i): Sample => [{ instance: i.name }, i.conflicts]),
  },
  {
    name: "vipward_silence_broken",
    type: "gauge",
    help: "1 for each machine that answers ARP for a VIP, or names one in its own, by the link on which it is heard.",
    samples: (s) => s.guilty.map((g): Sample => [{ who: g.who, vip: g.vip, how: g.how, link: g.link }, 1]),
  },
  {
    name: "vipward_service_quorum",
    type: "gauge",
    help: "1 while the service has its quorum.",
    samples: (s) => s.services.map((v): Sample => [{ service: v.name, key: v.key }, v.quorum === "held" ? 1 : 0]),
  },
  {
    name: "vipward_service_kill_switch",
    type: "gauge",
    help: "1 while failing servers are kept in because too many failed at once.",
    samples: (s) => s.services.map((v): Sample => [{ service: v.name, key: v.key }, v.alarm ? 1 : 0]),
  },
  {
    name: "vipward_server_up",
    type: "gauge",
    help: "1 while every check of the server succeeds.",
    samples: perServer((s) => (s.health === "sorry" ? undefined : s.health === "up" ? 1 : 0)),
  },
  {
    name: "vipward_server_weight",
    type: "gauge",
    help: "Weight in the kernel's table; absent when it is not in it.",
    samples: perServer((s) => s.weight),
  },
  {
    name: "vipward_server_active_connections",
    type: "gauge",
    help: "Connections that the kernel counts as active.",
    samples: perServer((s) => s.traffic?.activeConnections),
  },
  {
    name: "vipward_server_inactive_connections",
    type: "gauge",
    help: "Connections that the kernel counts as inactive.",
    samples: perServer((s) => s.traffic?.inactiveConnections),
  },
  {
    name: "vipward_server_connections_total",
    type: "counter",
    help: "Connections sent to the server.",
    samples: perServer((s) => s.traffic?.connections),
  },
  {
    name: "vipward_server_packets_total",
    type: "counter",
    help: "Packets sent to the server.",
    samples: perServer((s) => s.traffic?.packets),
  },
  {
    name: "vipward_server_octets_total",
    type: "counter",
    help: "Octets sent to the server.",
    samples: perServer((s) => s.traffic?.octets),
  },
  {
    name: "vipward_agent_now",
    type: "gauge",
    help: "What the agent itself has or has at most had, by name.",
    samples: (s) => Object.entries(s.gauges).map(([name, n]): Sample => [{ name }, n]),
  },
  {
    name: "vipward_agent_total",
    type: "counter",
    help: "What the agent itself has counted since it started, by name.",
    samples: (s) => Object.entries(s.counters).map(([name, n]): Sample => [{ name }, n]),
  },
];

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
const label = ([name, value]: readonly [string, string | number]): string => `${name}="${escaped(String(value))}"`;

export function metricsText(status: AgentStatus): string {
  const lines: string[] = [];
  for (const { name, type, help, samples } of metrics) {
    const found = samples(status);
    if (found.length === 0) continue;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of found) lines.push(`${name}{${Object.entries(labels).map(label).join(",")}} ${value}`);
  }
  return `${lines.join("\n")}\n`;
}
