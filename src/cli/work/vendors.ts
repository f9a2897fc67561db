import type { Mac } from "../../base/mac.ts";

/**
 * Who hands out a MAC, where that helps to find the machine: hypervisors, containers, virtual routers. Longest first.
 * Hardware makers are left out: that table has 40,000 rows and changes weekly.
 */
const prefixes: readonly (readonly [string, string])[] = [
  ["00:00:5e:00:01:", "VRRP virtual router"],
  ["00:00:0c:07:ac:", "HSRP virtual router"],
  ["00:07:b4:00:", "GLBP virtual router"],
  ["52:54:00:", "QEMU/KVM"],
  ["00:05:69:", "VMware"],
  ["00:0c:29:", "VMware"],
  ["00:1c:14:", "VMware"],
  ["00:50:56:", "VMware"],
  ["00:15:5d:", "Hyper-V"],
  ["00:16:3e:", "Xen"],
  ["00:1a:4a:", "oVirt"],
  ["00:1c:42:", "Parallels"],
  ["08:00:27:", "VirtualBox"],
  ["0a:00:27:", "VirtualBox host"],
  ["42:01:0a:", "Google Cloud"],
  ["bc:24:11:", "Proxmox"],
  ["02:42:", "Docker"],
];

/** "unknown" says only that it is none of ours. */
export function vendorOf(mac: Mac): string {
  const known = prefixes.find(([prefix]) => mac.startsWith(prefix));
  if (known !== undefined) return known[1];
  return (Number.parseInt(mac.slice(0, 2), 16) & 2) !== 0 ? "locally administered" : "unknown";
}
