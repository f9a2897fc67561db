/** An IPv6 address as 32 hex digits, so that equal addresses are equal text. Only the NDP rules need it. */
export type Ipv6 = string;

/** RFC 4291 section 2.2 forms, with "::" and a dotted tail; no zone. */
export function parseIpv6(text: string): Ipv6 | undefined {
  if (text.length > 45) return undefined;
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted) {
    const octets = dotted.slice(2).map(Number);
    if (octets.some((o) => o > 255)) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = octets;
    return parseIpv6(`${dotted[1]}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`);
  }
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const groups = (half: string | undefined): string[] => (half === undefined || half === "" ? [] : half.split(":"));
  const left = groups(halves[0]);
  const right = groups(halves[1]);
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...left, ...Array.from({ length: missing }, () => "0"), ...right];
  if (!all.every((g) => /^[0-9a-f]{1,4}$/i.test(g))) return undefined;
  return all.map((g) => g.toLowerCase().padStart(4, "0")).join("");
}

export const isMulticast6 = (address: Ipv6): boolean => address.startsWith("ff");
export const ANY6: Ipv6 = "0".repeat(32);
/** ff02::1:ffXX:XXXX of an address (RFC 4291 section 2.7.1). */
export const solicitedNode = (address: Ipv6): Ipv6 => `ff0200000000000000000001ff${address.slice(26)}`;
