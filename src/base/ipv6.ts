declare const brand: unique symbol;

/**
 * IPv6 address in canonical text (RFC 5952): "2001:db8::1". vipward works on IPv4; this is for naming without loss what
 * others put beside it, in the IPVS table for instance.
 */
export type Ipv6 = string & { readonly [brand]: "Ipv6" };

/** Sixteen octets at `offset`, in canonical text; the caller has checked the length. */
export function ipv6FromOctets(octets: Uint8Array, offset = 0): Ipv6 {
  const groups = Array.from({ length: 8 }, (_, i) => {
    const at = offset + 2 * i;
    return ((octets[at] as number) << 8) | (octets[at + 1] as number);
  });
  // The first of the longest runs of two or more zeros is left out (RFC 5952 section 4.2).
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((g) => g.toString(16))
      .join(":");
  return (start < 0 ? text(0, 8) : `${text(0, start)}::${text(start + length, 8)}`) as Ipv6;
}

/** Undefined when it is not an address; the form with an embedded dotted quad is not taken. */
export function ipv6Octets(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [left = [], right = []] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const missing = 8 - left.length - right.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...left, ...Array<string>(halves.length === 2 ? missing : 0).fill("0"), ...right];
  if (!groups.every((g) => /^[0-9a-f]{1,4}$/i.test(g))) return undefined;
  return Uint8Array.from(groups.flatMap((g) => [Number.parseInt(g, 16) >> 8, Number.parseInt(g, 16) & 255]));
}

export function parseIpv6(text: string): Ipv6 | undefined {
  const octets = ipv6Octets(text);
  return octets === undefined ? undefined : ipv6FromOctets(octets);
}

/** For literals in our own code and tests. Throws RangeError. */
export function ipv6(text: string): Ipv6 {
  const address = parseIpv6(text);
  if (address === undefined) throw new RangeError(`not an IPv6 address: ${text}`);
  return address;
}
