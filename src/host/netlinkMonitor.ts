/**
 * What changes in a namespace, as the kernel tells it, on the event loop.
 *
 * Whoever keeps a picture opens the monitor first and dumps then: a change in between is told too, and applying it to
 * a picture that has it already does no harm. After "resync" the picture is worthless: dump again.
 */

import { splitMessages } from "../wire/netlink.ts";
import { GROUP, RTM } from "../wire/rtnetlink.ts";
import {
  type Address,
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  type Link,
  type Neighbour,
  type Route,
  type Rule,
} from "../wire/rtnetlinkValues.ts";
import { SystemCallError } from "./errors.ts";
import * as libc from "./libc.ts";
import type { Namespace } from "./namespace.ts";
import { NETLINK_ROUTE, NetlinkDescriptor, type NetlinkTransport } from "./netlink.ts";

/** RTNLGRP_*, IPv4 where it matters. */
const GROUPS = {
  link: GROUP.link,
  neighbour: GROUP.neighbour,
  address: GROUP.ipv4Address,
  route: GROUP.ipv4Route,
  rule: GROUP.ipv4Rule,
} as const;
export type ChangeGroup = keyof typeof GROUPS;

/** `set` is new or changed: the kernel does not always tell the two apart. */
export type Change =
  | { readonly kind: "link"; readonly action: "set" | "removed"; readonly link: Link }
  | { readonly kind: "address"; readonly action: "set" | "removed"; readonly address: Address }
  | { readonly kind: "route"; readonly action: "set" | "removed"; readonly route: Route }
  | { readonly kind: "rule"; readonly action: "set" | "removed"; readonly rule: Rule }
  | { readonly kind: "neighbour"; readonly action: "set" | "removed"; readonly neighbour: Neighbour };

export interface MonitorHandlers {
  readonly onChange: (change: Change) => void;
  /** Changes were lost because they came faster than they were read: dump again. */
  readonly onResync: () => void;
  /** The socket broke; the monitor is closed. */
  readonly onError: (error: unknown) => void;
}

export interface Monitor {
  close(): void;
}

type Decoder = (payload: Uint8Array, action: "set" | "removed") => Change | undefined;

const link: Decoder = (payload, action) => {
  const value = decodeLink(payload);
  return value && { kind: "link", action, link: value };
};
const address: Decoder = (payload, action) => {
  const value = decodeAddress(payload);
  return value && { kind: "address", action, address: value };
};
const route: Decoder = (payload, action) => {
  const value = decodeRoute(payload);
  return value && { kind: "route", action, route: value };
};
const rule: Decoder = (payload, action) => {
  const value = decodeRule(payload);
  return value && { kind: "rule", action, rule: value };
};
const neighbour: Decoder = (payload, action) => {
  const value = decodeNeighbour(payload);
  return value && { kind: "neighbour", action, neighbour: value };
};

const decoders = new Map<number, readonly [Decoder, "set" | "removed"]>([
  [RTM.newLink, [link, "set"]],
  [RTM.delLink, [link, "removed"]],
  [RTM.newAddress, [address, "set"]],
  [RTM.delAddress, [address, "removed"]],
  [RTM.newRoute, [route, "set"]],
  [RTM.delRoute, [route, "removed"]],
  [RTM.newRule, [rule, "set"]],
  [RTM.delRule, [rule, "removed"]],
  [RTM.newNeighbour, [neighbour, "set"]],
  [RTM.delNeighbour, [neighbour, "removed"]],
]);

/** So many datagrams in one turn of the event loop, so that a storm of changes does not starve the rest. */
const DATAGRAMS_A_TURN = 256;
/** After a loss so many at most are thrown away at once: a storm that goes on must not hold us here. */
const DATAGRAMS_DISCARDED = 65_536;

/** Reads what waits and tells it: the part without a descriptor, for tests. False when nothing is left to read. */
export function readChanges(transport: NetlinkTransport, handlers: MonitorHandlers): boolean {
  for (let turn = 0; turn < DATAGRAMS_A_TURN; turn++) {
    let datagram: Uint8Array | undefined;
    try {
      datagram = transport.receive(0);
    } catch (error) {
      if (!(error instanceof SystemCallError) || error.errnoName !== "ENOBUFS") throw error;
      discard(transport);
      handlers.onResync();
      return true;
    }
    if (datagram === undefined) return false;
    // Copied, because handlers may use netlink themselves, which reuses the buffer.
    for (const { type, payload } of splitMessages(datagram.slice()).messages) {
      const [decode, action] = decoders.get(type) ?? [];
      const change = decode && action && decode(payload, action);
      if (change !== undefined) handlers.onChange(change);
    }
  }
  return true;
}

/** What still waits was told before the loss or after it; a dump made afterwards holds all of it. */
function discard(transport: NetlinkTransport): void {
  for (let count = 0; count < DATAGRAMS_DISCARDED; count++)
    try {
      if (transport.receive(0) === undefined) return;
    } catch (error) {
      if (!(error instanceof SystemCallError) || error.errnoName !== "ENOBUFS") throw error;
    }
}

export interface MonitorOptions extends MonitorHandlers {
  /** Opened there, or in the calling thread's own. */
  readonly namespace?: Namespace;
  readonly groups: readonly ChangeGroup[];
  /** 4 MiB when absent: some thousand changes. */
  readonly receiveBufferOctets?: number;
}

/** Starts at once: every change after this call is told, or onResync is. */
export function watchChanges(options: MonitorOptions): Monitor {
  const { namespace, groups, receiveBufferOctets } = options;
  const descriptor = new NetlinkDescriptor({
    protocol: NETLINK_ROUTE,
    groups: groups.map((group) => GROUPS[group]),
    ...(namespace === undefined ? {} : { namespace }),
    ...(receiveBufferOctets === undefined ? {} : { receiveBufferOctets }),
  });
  let closed = false;
  const close = (): void => {
    if (closed) return;
    closed = true;
    watch.close();
    descriptor.close();
  };
  const watch = libc.onReadable(descriptor.fd, () => {
    if (closed) return;
    try {
      readChanges(
        {
          portId: descriptor.portId,
          sendRoomOctets: descriptor.sendRoomOctets,
          receiveRoomOctets: descriptor.receiveRoomOctets,
          send: () => {},
          // A handler may close the monitor between two datagrams: then there is nothing more to read.
          receive: () => (closed ? undefined : descriptor.receive(0)),
          close: () => {},
        },
        {
          onChange: (change) => {
            if (!closed) options.onChange(change);
          },
          onResync: () => {
            if (!closed) options.onResync();
          },
          onError: options.onError,
        },
      );
    } catch (error) {
      close();
      options.onError(error);
    }
  });
  return { close };
}
