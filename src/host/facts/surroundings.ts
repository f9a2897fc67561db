/** Modules, IPVS, and what the machine is: hints that no decision of the model rests on, but findings do. */
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { formatIpv4 } from "../../base/ipv4.ts";
import type { EnvironmentFacts, IpvsFacts, IpvsServiceFacts, UnreadFacts } from "../../model/facts.ts";
import type { IpAddress } from "../../wire/ipvsValues.ts";
import { HostError } from "../errors.ts";
import { openIpvs } from "../ipvs.ts";
import { loadedModules } from "../modules.ts";

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** Built-in modules that the findings ask about; the list of all of them is long and says little. */
const interesting =
  /^(ip_vs.*|nf_tables|arp_tables|ip_tables|arptable_filter|ipip|tunnel4|dummy|bonding|bridge|br_netfilter|macvlan|vrf|8021q|nf_conntrack)$/;

export function readModules(): string[] {
  const found = new Set(loadedModules());
  const builtin = textOf(`/lib/modules/${release()}/modules.builtin`) ?? "";
  for (const path of builtin.split("\n")) {
    const name = path.replace(/^.*\//, "").replace(/\.ko$/, "").replaceAll("-", "_");
    if (interesting.test(name)) found.add(name);
  }
  return [...found].sort();
}

const addressText = (address: IpAddress): string => (typeof address === "number" ? formatIpv4(address) : address);
const methods: Readonly<Record<string, "dr" | "tun" | "nat" | "local">> = { dr: "dr", tun: "tun", local: "local" };

export function readIpvs(unread: UnreadFacts[]): IpvsFacts | undefined {
  // The file is there exactly where the module runs; asking the family instead would load it.
  if (!existsSync("/proc/thread-self/net/ip_vs")) return undefined;
  try {
    const ipvs = openIpvs();
    try {
      const services = ipvs.table().map(
        ({ service, destinations }): IpvsServiceFacts => ({
          ...("fwmark" in service
            ? { fwmark: service.fwmark }
            : { protocol: service.protocol, vip: addressText(service.address), port: service.port }),
          scheduler: service.scheduler,
          ...(service.persistenceSeconds === undefined ? {} : { persistentS: service.persistenceSeconds }),
          destinations: destinations.map((d) => ({
            rip: addressText(d.address),
            port: d.port,
            method: methods[d.forwarding] ?? "nat",
            weight: d.weight,
          })),
        }),
      );
      const sync = ipvs.daemons().map((d) => d.role);
      return { services, sync };
    } finally {
      ipvs.close();
    }
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    unread.push({ what: "IPVS services", why: error.message });
    return undefined;
  }
}

/** Words in what firmware says of itself. */
const makers: readonly (readonly [RegExp, string])[] = [
  [/vmware/i, "vmware"],
  [/virtualbox|innotek/i, "virtualbox"],
  [/amazon|ec2/i, "ec2"],
  [/google/i, "gce"],
  [/microsoft/i, "hyperv"],
  [/xen/i, "xen"],
  [/openstack/i, "openstack"],
  [/kvm|qemu|bochs/i, "kvm"],
];

export function readEnvironment(): EnvironmentFacts {
  const firmware = ["sys_vendor", "product_name", "bios_vendor"].map((n) => textOf(`/sys/class/dmi/id/${n}`) ?? "");
  const maker = makers.find(([pattern]) => firmware.some((text) => pattern.test(text)))?.[1];
  const guest =
    textOf("/sys/hypervisor/type") ??
    (/^flags\b.*\bhypervisor\b/m.test(textOf("/proc/cpuinfo") ?? "") ? "unknown" : undefined);
  const virtualisation = maker ?? guest;
  const container = existsSync("/.dockerenv")
    ? "docker"
    : existsSync("/run/.containerenv")
      ? "podman"
      : (textOf("/run/systemd/container") ?? /container=([^\0]+)/.exec(textOf("/proc/1/environ") ?? "")?.[1]);
  return {
    ...(virtualisation === undefined ? {} : { virtualisation }),
    ...(container === undefined || container === "" ? {} : { container }),
  };
}
