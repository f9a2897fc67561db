/** Says that nft tables changed, in whatever way: nft, and iptables and arptables where they are made of nft. */
import * as libc from "./libc.ts";
import type { Namespace } from "./namespace.ts";
import { NetlinkDescriptor } from "./netlink.ts";
import type { Monitor } from "./netlinkMonitor.ts";

const NETLINK_NETFILTER = 12;
/** NFNLGRP_NFTABLES (nfnetlink.h). */
const GROUP_NFTABLES = 7;
const DATAGRAMS_A_TURN = 4096;

export interface NftMonitorOptions {
  /** Opened there, or in the calling thread's own. */
  readonly namespace?: Namespace;
  /** Once for all that waits; also when so much changed that some of it was lost. */
  readonly onChange: () => void;
}

/** Errors: HostError where the kernel has no netfilter netlink. */
export function watchNft(options: NftMonitorOptions): Monitor {
  const descriptor = new NetlinkDescriptor({
    protocol: NETLINK_NETFILTER,
    groups: [GROUP_NFTABLES],
    receiveBufferOctets: 1 << 18,
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  });
  let closed = false;
  const watch = libc.onReadable(descriptor.fd, () => {
    if (closed) return;
    for (let turn = 0; turn < DATAGRAMS_A_TURN; turn++)
      try {
        if (descriptor.receive(0) === undefined) break;
      } catch {
        // ENOBUFS: more came than fits. What changed is read anew anyway.
        break;
      }
    options.onChange();
  });
  return {
    close: () => {
      if (closed) return;
      closed = true;
      watch.close();
      descriptor.close();
    },
  };
}
