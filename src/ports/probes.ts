import type { Ipv4 } from "../base/ipv4.ts";
import type { ProbeEffect } from "../machine/health/probe.ts";

/** A packet for a real server's own MAC: the host knows it, or asks for it and sends the packet when it is told. */
export interface NeighbourPacket {
  readonly kind: "packet";
  readonly octets: Uint8Array;
  readonly to: { readonly kind: "neighbour"; readonly address: Ipv4 };
}
export type ProbeAction =
  | Exclude<ProbeEffect, { kind: "packet" }>
  | NeighbourPacket
  | {
      readonly kind: "packet";
      readonly octets: Uint8Array;
      readonly to: { readonly kind: "route"; readonly address: Ipv4 };
    };

/**
 * The sockets of health checks, one set for each attempt. What happens on them comes back as ProbeEvents with the
 * attempt's number, never from inside `perform`. After `release` nothing more comes for that attempt.
 */
export interface ProbePorts {
  perform(attempt: number, action: ProbeAction): void;
}
