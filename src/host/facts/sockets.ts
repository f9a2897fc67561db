/** Listening sockets, from the tables of the calling thread's namespace (/proc/net would be the main thread's). */
import { closeSync, openSync, readSync } from "node:fs";
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

/** A whole line of tcp is 150 octets; the kernel fills no more than is asked for. */
const PIECE_OCTETS = 64 * 150;

/**
 * The lines of one table that are in `state`. Of TCP the kernel lists listeners first, so reading ends where they do:
 * a busy host has a hundred thousand connections behind them, each of which costs the kernel a line.
 */
function linesOf(file: string, state: string): string {
  const fd = openSync(`/proc/thread-self/net/${file}`, "r");
  try {
    const piece = Buffer.alloc(PIECE_OCTETS);
    let text = "";
    for (;;) {
      const length = readSync(fd, piece, 0, piece.length, null);
      if (length === 0) return text;
      const more = piece.toString("latin1", 0, length);
      text += more;
      if (state === TCP_LISTEN && new RegExp(`^ *\\d+: [0-9A-F:]+ [0-9A-F:]+ (?!${state})[0-9A-F]{2} `, "m").test(more))
        return text;
    }
  } finally {
    closeSync(fd);
  }
}

function listening(protocol: "tcp" | "udp", file: string, state: string, unread: UnreadFacts[]): SocketFacts[] {
  let text: string;
  try {
    text = linesOf(file, state);
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
