/** The two sysctls of the arp-sysctl policy, on the interfaces that face a wire (A-2.6-02, B-2.6-01). */
import type { Cure } from "./report.ts";
import type { LabHost } from "./topology.ts";

export interface SysctlValue {
  readonly link: string;
  readonly name: string;
  readonly value: string;
}

const values: Readonly<Record<Cure, { readonly ignore: string; readonly announce: string }>> = {
  none: { ignore: "0", announce: "0" },
  "ignore-only": { ignore: "1", announce: "0" },
  "announce-only": { ignore: "0", announce: "2" },
  full: { ignore: "1", announce: "2" },
};

export const silence = (host: LabHost, cure: Cure): SysctlValue[] =>
  host.links.flatMap(({ name: link }) => [
    { link, name: "arp_ignore", value: values[cure].ignore },
    { link, name: "arp_announce", value: values[cure].announce },
  ]);
