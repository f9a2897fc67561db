/** Addresses written in facts, read. */
import { type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { parsePrefix } from "../base/prefix.ts";

/** Unreadable parts of facts that skipped parseFacts throw: a broken promise, not bad input. */
export function must<T>(value: T | undefined, what: string, text: string): T {
  if (value === undefined) throw new RangeError(`facts hold ${what} that is none: ${text}`);
  return value;
}
export const address4 = (text: string): Ipv4 => must(parseIpv4(text), "an IPv4 address", text);
export const optional4 = (text: string | undefined): Ipv4 | undefined =>
  text === undefined ? undefined : address4(text);
export const prefix4 = (text: string) => must(parsePrefix(text === "default" ? "0.0.0.0/0" : text), "a prefix", text);
