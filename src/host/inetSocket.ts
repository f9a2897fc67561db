/** Socket addresses of AF_INET as libc wants them: family in host order, the rest as on the wire. */
import type { Ipv4 } from "../base/ipv4.ts";
import { AF_INET } from "./libc.ts";

/** struct sockaddr_in, 16 octets. */
export function inetAddress(address: Ipv4, port: number): Uint8Array {
  const octets = new Uint8Array(16);
  new Uint16Array(octets.buffer, 0, 1)[0] = AF_INET; // host order, whatever that is here
  setInetAddress(octets, address, port);
  return octets;
}

/** Names another address and port in one that is used again. */
export function setInetAddress(octets: Uint8Array, address: Ipv4, port: number): void {
  octets[2] = port >> 8;
  octets[3] = port;
  octets[4] = address >>> 24;
  octets[5] = address >>> 16;
  octets[6] = address >>> 8;
  octets[7] = address;
}
