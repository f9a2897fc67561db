/** Socket addresses of AF_INET as libc wants them: family in host order, the rest as on the wire. */
import type { Ipv4 } from "../base/ipv4.ts";
import { AF_INET } from "./libc.ts";

/** struct sockaddr_in, 16 octets. */
export function inetAddress(address: Ipv4, port: number): Uint8Array {
  const octets = new Uint8Array(16);
  const view = new DataView(octets.buffer);
  new Uint16Array(octets.buffer, 0, 1)[0] = AF_INET; // host order, whatever that is here
  view.setUint16(2, port);
  view.setUint32(4, address);
  return octets;
}
