/** The loop of a director that is a real server too: while it stands by, its own table takes what the master sends it. */
import { few } from "../base/few.ts";
import type { Cluster, Director } from "../cluster/cluster.ts";

export interface Loop {
  readonly text: string;
  readonly remedy: string;
}

/**
 * What the master sends to such a host by dr or tun is for a VIP that its IPVS has services for, so it is scheduled once
 * more, may come back, and goes round. The kernel's remedy is backup_only: a host whose sync daemon is backup forwards
 * nothing (ip_vs_core.c, `backup_only` with IP_VS_STATE_BACKUP).
 */
export function scheduledTwice(cluster: Cluster, host: Director, backupOnly: boolean): Loop | undefined {
  const { instances, connectionSync } = cluster.failover;
  if (instances.length === 0 || (backupOnly && connectionSync.enabled)) return undefined;
  const own = new Set(host.addresses.map((a) => a.address));
  const names = cluster.services
    .filter((s) => s.destinations.some((d) => d.forwarding !== "nat" && own.has(d.realServer.rip)))
    .map((s) => s.name);
  if (names.length === 0) return undefined;
  const asked = [
    ...(backupOnly ? [] : ["sysctl -w net.ipv4.vs.backup_only=1"]),
    ...(connectionSync.enabled ? [] : ["in the cluster file: failover: {connectionSync: {enabled: true}}"]),
  ];
  return {
    text: `this director is a real server of ${few(names, 3)}: while it stands by, what the master sends it is scheduled once more, and may go round`,
    remedy: `on every director: ${asked.join("; ")}`,
  };
}
