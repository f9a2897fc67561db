/** Listening sockets, from the tables of the calling thread's namespace (/proc/net would be the main thread's). */
import { readFileSync } from "node:fs";
import { formatIpv4, ipv4FromNumber } from "../../base/ipv4.ts";
import type { SocketFacts, UnreadFacts } from "../../model/facts.ts";
import { LITTLE_ENDIAN_HOST as LITTLE_ENDIAN } from "../../wire/octets.ts";

const TCP_LISTEN = "0A";
/** What an unconnected UDP socket shows. */
const UDP_OPEN = "07";

/** "0100007F" is 127.0.0.1 on a little-endian machine: the kernel prints the octets as one number of its own order. */
function addressOf(hex: string): string | undefined {
  if (hex.length === 8) {
    const octets = hex.match(/../g) ?? [];
    const number = Number.parseInt((LITTLE_ENDIAN ? octets.reverse() : octets).join(""), 16);
    return formatIpv4(ipv4FromNumber(number));
  }
  // Of IPv6 sockets only the wildcard can take IPv4 packets.
  return /^0+$/.test(hex) ? "::" : undefined;
}

function listening(protocol: "tcp" | "udp", file: string, state: string, unread: UnreadFacts[]): SocketFacts[] {
  let text: string;
  try {
    text = readFileSync(`/proc/thread-self/net/${file}`, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code !== "ENOENT") unread.push({ what: `${file} sockets`, why: code });
    return [];
  }
  const found: SocketFacts[] = [];
  // "  0: 0100007F:0016 00000000:0000 0A ...": matched in place, because a busy host has many lines.
  const line = new RegExp(`^ *\\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ${state} `, "gm");
  for (const [, hex, port] of text.matchAll(line)) {
    const ip = addressOf(hex as string);
    if (ip !== undefined) found.push({ protocol, ip, port: Number.parseInt(port as string, 16) });
  }
  return found;
}

export function readSockets(unread: UnreadFacts[]): SocketFacts[] {
  const all = [
    ...listening("tcp", "tcp", TCP_LISTEN, unread),
    ...listening("tcp", "tcp6", TCP_LISTEN, unread),
    ...listening("udp", "udp", UDP_OPEN, unread),
    ...listening("udp", "udp6", UDP_OPEN, unread),
  ];
  const seen = new Set<string>();
  return all.filter((s) => {
    const key = `${s.protocol} ${s.ip} ${s.port}`;
    return seen.has(key) ? false : seen.add(key);
  });
}
