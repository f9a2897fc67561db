declare const brand: unique symbol;

/** Ethernet address in canonical text, "02:00:00:00:01:0a": lower case, colons. Compares with ===. */
export type Mac = string & { readonly [brand]: "Mac" };

/** Accepts colons or dashes and either case; six octets of two digits each. */
export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":") as Mac;
}

/** For literals in our own code and tests. Throws RangeError. */
export function mac(text: string): Mac {
  const address = parseMac(text);
  if (address === undefined) throw new RangeError(`not a MAC address: ${text}`);
  return address;
}

const hex = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));

/** Addresses by their 48 bits: whoever reads many frames reads the same few again and again. */
const known = new Map<number, Mac>();
const knownLimit = 4096;

/** Reads six octets at `offset`; the caller has checked the length. */
export function macFromOctets(octets: Uint8Array, offset = 0): Mac {
  let bits = 0;
  for (let i = 0; i < 6; i++) bits = bits * 256 + (octets[offset + i] as number);
  const before = known.get(bits);
  if (before !== undefined) return before;
  let text = hex[octets[offset] as number] as string;
  for (let i = 1; i < 6; i++) text += `:${hex[octets[offset + i] as number]}`;
  if (known.size >= knownLimit) known.clear();
  known.set(bits, text as Mac);
  return text as Mac;
}

/** Writes six octets at `offset`; the caller has checked the room. */
export function writeMac(address: Mac, into: Uint8Array, offset = 0): void {
  for (let i = 0; i < 6; i++) into[offset + i] = Number.parseInt(address.slice(i * 3, i * 3 + 2), 16);
}

export const BROADCAST_MAC = "ff:ff:ff:ff:ff:ff" as Mac;
export const ZERO_MAC = "00:00:00:00:00:00" as Mac;

/** Group bit of the first octet (IEEE 802): broadcast and multicast frames. */
export const isGroupMac = (address: Mac): boolean => (Number.parseInt(address.slice(0, 2), 16) & 1) === 1;
