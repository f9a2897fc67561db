import type { Context } from "../context.ts";
import type { Entry } from "../entry.ts";
import { list } from "../text.ts";

/** What the cluster file asks for and the field has learnt not to. Only with a cluster file. */

/** Instances of this director that take over at once when they come back. */
const hasty = (context: Context) =>
  context.director && (context.cluster?.directors.length ?? 0) > 1
    ? (context.cluster?.failover.instances ?? []).filter((i) => i.preempt && i.preemptDelayMs === 0)
    : [];

const synced = (context: Context): boolean => context.cluster?.failover.connectionSync.enabled === true;

export const vrrp: readonly Entry[] = [
  {
    id: "failback-before-sync",
    title: "a director that comes back takes over before it knows the connections",
    severity: "medium",
    roles: ["director"],
    notice: "Failover is smooth, fail-back cuts sessions.",
    why: "The rebooted director preempts at once. Connection sync tells it of connections only as their packets pass, so it does not have the table yet.",
    cure: "preempt: false, or a preempt delay of some minutes.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const found = synced(context) ? hasty(context) : [];
      if (found.length === 0) return [];
      return [
        {
          severity: "low", // latent: it costs something only when a director comes back
          wrong: `VRRP ${list(found.map((i) => i.name))} preempts without delay, while connections are synced.`,
          shell: ["# in the cluster file: failover: {vrrp: {preemptDelayMs: 120000}}"],
          evidence: [],
        },
      ];
    },
  },
  {
    id: "preempt-flap",
    title: "a director that comes back takes over at once",
    severity: "medium",
    roles: ["director"],
    notice: "A second interruption: the node returns, takes over, perhaps fails again.",
    why: "Preemption without delay moves the VIP back the moment the stronger director is up, though nothing was wrong with the one that had it.",
    cure: "preempt: false, or a preempt delay.",
    rules: ["B-G-02"],
    detect: (context) => {
      const found = synced(context) ? [] : hasty(context);
      if (found.length === 0) return [];
      return [
        {
          severity: "low",
          wrong: `VRRP ${list(found.map((i) => i.name))} preempts without delay.`,
          shell: ["# in the cluster file: failover: {vrrp: {preemptDelayMs: 60000}}"],
          evidence: [],
        },
      ];
    },
  },
  {
    id: "health-check-tests-rip-not-vip",
    title: "the health check does not take the VIP's path",
    severity: "critical",
    roles: ["director"],
    notice:
      "A real server that lost its VIP, or closed its tunnel, stays in the pool and swallows its share of the clients.",
    why: "The check asks the real server's own address. That it answers says nothing of the VIP, the tunnel or ARP there.",
    cure: "A check of type vip-path: a handshake for the VIP, sent to the real server's MAC or through the tunnel.",
    rules: ["C-ALL-02"],
    detect: (context) => {
      const services = context.director
        ? (context.cluster?.services ?? []).filter(
            (s) =>
              s.forwarding !== "nat" &&
              s.match.protocol === "tcp" &&
              s.destinations.some((d) => d.forwarding !== "nat") &&
              !s.checks.some((c) => c.type === "vip-path" || c.type === "exec"),
          )
        : [];
      if (services.length === 0) return [];
      return [
        {
          wrong: `No check of ${list(services.map((s) => s.name))} takes the VIP's path.`,
          shell: ["# in the cluster file, beside the others: health: [..., {type: vip-path}]"],
          evidence: [],
        },
      ];
    },
  },
];
