// Which kernel modules the VM carries, which it loads, and in which order. Pure: works on the text of modules.dep.

/** Path below lib/modules/RELEASE -> paths it needs, as `modules.dep` has it. */
export type ModuleDependencies = ReadonlyMap<string, readonly string[]>;

/** Reads `modules.dep` ("path: path path"), as depmod(8) writes it. Lines that are not of that form are skipped. */
export function parseModulesDep(text: string): ModuleDependencies {
  const dependencies = new Map<string, readonly string[]>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0 || line.startsWith("#")) continue;
    const needs = line.slice(colon + 1).split(" ");
    dependencies.set(
      line.slice(0, colon),
      needs.filter((path) => path !== ""),
    );
  }
  return dependencies;
}

/** "kernel/net/foo-bar.ko.xz" is module "foo_bar": the kernel writes every dash as an underscore. */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.ko(\.\w+)?$/, "").replaceAll("-", "_");
}

/** The given paths and all they need, each once, what is needed first. A circle (a broken file) ends, it does not hang. */
export function loadOrder(dependencies: ModuleDependencies, paths: Iterable<string>): string[] {
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const needed of dependencies.get(path) ?? []) visit(needed);
    order.push(path);
  };
  for (const path of paths) visit(path);
  return order;
}

/** The paths that provide these module names; names which the kernel does not have as modules are left out. */
export function pathsOf(dependencies: ModuleDependencies, names: Iterable<string>): string[] {
  const byName = new Map([...dependencies.keys()].map((path) => [moduleName(path), path]));
  return [...names].map((name) => byName.get(name)).filter((path) => path !== undefined);
}

/** Without these a kernel cannot run the lab; each must be a module or built in. */
export const requiredModules = ["ip_vs", "dummy", "ipip", "veth", "bridge"] as const;

/** Loaded first: the way out for output and exit status. */
export const channelModules = ["virtio_pci", "virtio_console"] as const;

/** Loaded before the command runs. All else that is in the image comes by itself, when the kernel asks for it. */
export const labModules = [...requiredModules, "ip_vs_rr", "ip_vs_wrr", "ip_vs_wlc", "ip_vs_sh", "nf_tables"] as const;

/** What the image carries, so that the kernel's own requests (an nft expression, a scheduler, a link kind) are met. */
const carried = [
  /^kernel\/net\/(netfilter|ipv4|ipv6|bridge|802|8021q|llc|sched|packet|mpls)\//,
  /^kernel\/drivers\/net\/(dummy|veth|ifb|vxlan|macvlan|macvtap|tun|tap|vrf|bonding|ipvlan|geneve|nlmon)/,
  /^kernel\/drivers\/virtio\//,
  /^kernel\/drivers\/char\/(virtio_console|hw_random\/virtio-rng)/,
];

/** Paths of all modules the image carries, what is needed first. */
export function carriedModules(dependencies: ModuleDependencies): string[] {
  const wanted = [...dependencies.keys()].filter((path) => carried.some((pattern) => pattern.test(path)));
  return loadOrder(dependencies, [...pathsOf(dependencies, [...channelModules, ...labModules]), ...wanted]);
}
