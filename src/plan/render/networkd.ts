import type { Change } from "../change.ts";
import { devices, modulesLoad, one, type Rendered, type RenderedFile, restOf } from "./render.ts";

const FOLDER = "/etc/systemd/network";

/** `networkFile`: the base name of somebody else's file that networkd already applies to this link; ours adds to it. */
export type NetworkFileOf = (link: string) => string | undefined;

/** Where the VIPs of this link stand: a file of our own, or a drop-in of the one that applies. */
export const networkPath = (link: string, file: string | undefined): string =>
  file === undefined ? `${FOLDER}/10-vipward-${link}.network` : `${FOLDER}/${file}.d/10-vipward.conf`;
export const netdevPath = (link: string): string => `${FOLDER}/10-vipward-${link}.netdev`;

/** VIPs by systemd-networkd; sysctls and nft stay with their own systems. */
export function networkd(changes: readonly Change[], networkFileOf: NetworkFileOf = () => undefined): Rendered {
  const said = devices(changes).filter((d) => d.plain && (d.link === undefined || !d.link.after?.noarp || d.born));
  const files = said.flatMap(({ name, addresses, routes, link }): RenderedFile[] => {
    const kind = link?.after?.type ?? "dummy";
    const netdev =
      link?.before === null ? one(netdevPath(name), ["[NetDev]", `Name=${name}`, `Kind=${kind}`], 0o644) : [];
    const other = networkFileOf(name);
    const lines: string[] = [];
    if (other === undefined) {
      lines.push("[Match]", `Name=${name}`, "");
      // lo counts as online without us; a carrier never is what online means.
      if (name !== "lo") lines.push("[Link]", "RequiredForOnline=no", "");
      // Addresses that others put there stay (law 4): networkd drops what its file does not name.
      lines.push("[Network]", "LinkLocalAddressing=no", "KeepConfiguration=static");
    }
    for (const c of addresses) {
      const label = c.after?.label === undefined ? [] : [`Label=${c.after.label}`];
      lines.push("", "[Address]", `Address=${c.ip}/32`, ...label);
    }
    for (const { route } of routes)
      lines.push("", "[Route]", `Destination=${route.dst}/32`, `Type=${route.type ?? "unicast"}`, "Table=local");
    return [...netdev, ...one(networkPath(name, other), lines)];
  });
  return { files: [...modulesLoad(changes), ...files], notCovered: restOf(changes, said, "module") };
}
