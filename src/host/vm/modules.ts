// Which kernel modules the VM carries and which it loads at its start. Pure. The order is modprobe's business.
import type { ModuleFile } from "../moduleIndex.ts";

/** Without these a kernel cannot run the lab; each must be a module or built in. */
export const requiredModules = ["ip_vs", "dummy", "ipip", "veth", "bridge"] as const;

/** Loaded first: the way out for output and exit status. */
export const channelModules = ["virtio_pci", "virtio_console"] as const;

/** Loaded before the command runs. All else that is in the image comes by itself, when the kernel asks for it. */
export const labModules = [...requiredModules, "ip_vs_rr", "ip_vs_wrr", "ip_vs_wlc", "ip_vs_sh", "nf_tables"] as const;

/** What the image carries, so that the kernel's own requests (an nft expression, a scheduler, a link kind) are met. */
const carried = [
  /^kernel\/net\/(netfilter|ipv4|ipv6|bridge|802|8021q|llc|sched|packet|mpls|sctp)\//,
  /^kernel\/drivers\/net\/(dummy|veth|ifb|vxlan|macvlan|macvtap|tun|tap|vrf|bonding|ipvlan|geneve|nlmon)/,
  /^kernel\/drivers\/virtio\//,
  /^kernel\/drivers\/char\/(virtio_console|hw_random\/virtio-rng)/,
];

/** Paths of all modules the image carries, below /lib/modules/RELEASE, with all that they need. */
export function carriedModules(files: ReadonlyMap<string, ModuleFile>): string[] {
  const loaded = new Set<string>([...channelModules, ...labModules]);
  const paths = new Set<string>();
  for (const [name, { path, needs }] of files)
    if (loaded.has(name) || carried.some((pattern) => pattern.test(path)))
      for (const wanted of [path, ...needs]) paths.add(wanted);
  return [...paths].sort();
}
