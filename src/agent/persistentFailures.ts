/** Persistent clients of a failed server: whom the kernel goes on sending to it. */
import type { Cluster, Service } from "../cluster/cluster.ts";

/**
 * A client's template outlives the weight 0 of its server, for the whole time of persistence, unless the host has
 * net.ipv4.vs.expire_quiescent_template=1 (ip_vs_check_template): each new connection goes to who is dead. A template of
 * a server that has left the table is not used. So without that setting a failed server leaves at once.
 */
export function leavingAtOnce(cluster: Cluster): { readonly cluster: Cluster; readonly names: readonly string[] } {
  const isMeant = (s: Service): boolean => s.persistence !== undefined && s.onFailure === "drain";
  const names = cluster.services.filter(isMeant).map((s) => s.name);
  if (names.length === 0) return { cluster, names };
  const services = cluster.services.map((s): Service => (isMeant(s) ? { ...s, onFailure: "remove" } : s));
  return { cluster: { ...cluster, services }, names };
}
