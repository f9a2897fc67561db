import { devices, one, type Renderer, restOf } from "./render.ts";

export const NETPLAN_FILE = "/etc/netplan/90-vipward.yaml";

/**
 * VIPs on lo only. Netplan reads no other carrier before 1.0, and a key that it does not know stops all of it: the host
 * would come up without a network.
 */
export const netplan: Renderer = (changes) => {
  const lo = devices(changes).filter((d) => d.name === "lo" && d.addresses.length > 0 && d.routes.length === 0);
  const addresses = lo.flatMap((d) =>
    d.addresses.flatMap((c) =>
      c.after?.label === undefined
        ? [`        - "${c.ip}/32"`]
        : [`        - "${c.ip}/32":`, `            label: ${JSON.stringify(c.after.label)}`],
    ),
  );
  const body = ["network:", "  version: 2", "  ethernets:", "    lo:", "      addresses:", ...addresses];
  return { files: one(NETPLAN_FILE, lo.length === 0 ? [] : body, 0o600), notCovered: restOf(changes, lo) };
};
