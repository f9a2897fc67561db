import { devices, one, type Renderer, restOf } from "./render.ts";

export const profileId = (link: string): string => `vipward-${link}`;
export const profilePath = (link: string): string =>
  `/etc/NetworkManager/system-connections/${profileId(link)}.nmconnection`;

const types: Readonly<Record<string, string>> = { lo: "loopback", dummy: "dummy" };

/** Always the same for one link, so that a device which holds this profile is known again: "vipward" and a hash (FNV-1a). */
export function profileUuid(link: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const octet of new TextEncoder().encode(link))
    hash = ((hash ^ BigInt(octet)) * 0x100000001b3n) & 0xffffffffffffn;
  return `76697077-6172-4400-8000-${hash.toString(16).padStart(12, "0")}`;
}

/** A profile for each carrier. NetworkManager has no labels in its files, and no word for tunl0. */
export const networkmanager: Renderer = (changes) => {
  const typeOf = (d: {
    name: string;
    link: { after: { type: string | null } | null } | undefined;
  }): string | undefined => types[d.name] ?? types[d.link?.after?.type ?? ""];
  const said = devices(changes).filter(
    (d) => d.plain && typeOf(d) !== undefined && d.addresses.length > 0 && d.routes.length === 0,
  );
  const files = said.flatMap((d) => {
    const lo = d.name === "lo";
    const own = d.addresses.map((c) => `${c.ip}/32`); // NetworkManager itself adds 127.0.0.1/8 to lo
    return one(
      profilePath(d.name),
      [
        "[connection]",
        `id=${profileId(d.name)}`,
        `uuid=${profileUuid(d.name)}`,
        `type=${typeOf(d)}`,
        `interface-name=${d.name}`,
        "autoconnect=true",
        "",
        "[ipv4]",
        "method=manual",
        ...own.map((address, i) => `address${i + 1}=${address}`),
        "",
        "[ipv6]",
        lo ? "method=auto" : "method=disabled",
      ],
      0o600,
    );
  });
  return { files, notCovered: restOf(changes, said) };
};
