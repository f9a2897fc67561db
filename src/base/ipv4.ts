declare const brand: unique symbol;

/** IPv4 address as an unsigned 32-bit number: 10.0.0.1 is 0x0a000001. Sorts and masks as the wire does. */
export type Ipv4 = number & { readonly [brand]: "Ipv4" };

/** Strict dotted quad: "010.0.0.1" is refused, because some tools read a leading zero as octal. One pass: a hot path. */
export function parseIpv4(text: string): Ipv4 | undefined {
  let [address, octet, digits, dots] = [0, 0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit === DOT) {
      if (digits === 0 || ++dots > 3) return undefined;
      address = address * 256 + octet;
      octet = digits = 0;
    } else {
      const leadingZero = digits > 0 && octet === 0;
      if (digit < 0 || digit > 9 || leadingZero) return undefined;
      octet = octet * 10 + digit;
      digits++;
      if (octet > 255) return undefined;
    }
  }
  return dots === 3 && digits > 0 ? ((address * 256 + octet) as Ipv4) : undefined;
}
/** The dot, as far below the digit 0 as the character table has it. */
const DOT = -2;

/** For literals in our own code and tests; text from people goes through parseIpv4. Throws RangeError. */
export function ipv4(text: string): Ipv4 {
  const address = parseIpv4(text);
  if (address === undefined) throw new RangeError(`not an IPv4 address: ${text}`);
  return address;
}

/** Any 32-bit number as an address; what lies above bit 31 is cut off. */
export const ipv4FromNumber = (value: number): Ipv4 => (value >>> 0) as Ipv4;

export function formatIpv4(address: Ipv4): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** 0.0.0.0, the sender of a duplicate-address probe (RFC 5227 section 2.1.1). */
export const ANY = 0 as Ipv4;
/** 255.255.255.255. */
export const LIMITED_BROADCAST = 0xffffffff as Ipv4;

export const isMulticast = (address: Ipv4): boolean => address >>> 28 === 0xe;
export const isLoopback = (address: Ipv4): boolean => address >>> 24 === 127;
/** 240.0.0.0/4 without the limited broadcast. */
export const isClassE = (address: Ipv4): boolean => address >>> 28 === 0xf && address !== LIMITED_BROADCAST;
/** 0.0.0.0/8, "this network" (RFC 1122 section 3.2.1.3). */
export const isZeroNet = (address: Ipv4): boolean => address >>> 24 === 0;
