/** Machine names for MACs and back. One source now, /etc/ethers; a cluster file can be another. */
import { readFileSync } from "node:fs";
import { type Mac, parseMac } from "../../base/mac.ts";

export interface NameBook {
  /** Every MAC of a machine; none when the name is not known. */
  macsOf(name: string): readonly Mac[];
  nameOf(mac: Mac): string | undefined;
}

export function nameBook(pairs: Iterable<readonly [Mac, string]>): NameBook {
  const byMac = new Map<Mac, string>();
  const byName = new Map<string, Mac[]>();
  for (const [mac, name] of pairs) {
    if (!byMac.has(mac)) byMac.set(mac, name);
    const known = byName.get(name);
    if (known === undefined) byName.set(name, [mac]);
    else if (!known.includes(mac)) known.push(mac);
  }
  return { macsOf: (name) => byName.get(name) ?? [], nameOf: (mac) => byMac.get(mac) };
}

/** The first book that knows. */
export const joinBooks = (books: readonly NameBook[]): NameBook => ({
  macsOf: (name) => books.map((b) => b.macsOf(name)).find((macs) => macs.length > 0) ?? [],
  nameOf: (mac) => books.map((b) => b.nameOf(mac)).find((name) => name !== undefined),
});

/** "MAC name" lines as ethers(5) has them; what cannot be read is passed over, as libc does. Octets may lack a zero. */
export function parseEthers(content: string): [Mac, string][] {
  const pairs: [Mac, string][] = [];
  for (const line of content.split("\n")) {
    const [address, name] = line.replace(/#.*/, "").trim().split(/\s+/);
    const mac = parseMac(
      (address ?? "")
        .split(":")
        .map((o) => o.padStart(2, "0"))
        .join(":"),
    );
    if (mac !== undefined && name !== undefined && /^[\x21-\x7e]+$/.test(name)) pairs.push([mac, name]);
  }
  return pairs;
}

/** Empty where there is no such file or it cannot be read. */
export function ethersBook(path = "/etc/ethers"): NameBook {
  try {
    return nameBook(parseEthers(readFileSync(path, "utf8")));
  } catch {
    return nameBook([]);
  }
}
