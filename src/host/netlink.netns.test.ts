import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4FromNumber } from "../base/ipv4.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { createNamespace, removeNamespace } from "./namespace.ts";
import { NETLINK_ROUTE, NetlinkDescriptor, NetlinkSocket } from "./netlink.ts";
import { ask, Rtnetlink } from "./rtnetlink.ts";

test("small receive buffers lose no refusal of a batch and no part of a dump", (t) => {
  if (!needsRoot(t)) return;
  const namespace = createNamespace(`${testPrefix("nl")}a`);
  try {
    for (const receiveBufferOctets of [4096, 16_384, 131_072]) {
      const descriptor = new NetlinkDescriptor({ protocol: NETLINK_ROUTE, namespace, receiveBufferOctets });
      // The kernel keeps to the wish, or the test would prove nothing.
      assert.ok(descriptor.receiveRoomOctets <= receiveBufferOctets + 1024);
      const rt = new Rtnetlink(new NetlinkSocket(descriptor));
      const requests = Array.from({ length: 700 }, (_, i) =>
        ask.addAddress(1, { prefix: { address: ipv4FromNumber(0x0a000000 + i), length: 32 } }),
      );
      const first = rt.batch(requests).length;
      assert.equal(first, receiveBufferOctets === 4096 ? 0 : 700);
      // Every one refused, each with the kernel's text: the largest answers there are.
      const failures = rt.batch(requests);
      assert.equal(failures.length, 700);
      assert.ok(failures.every(({ index, error }, i) => index === i && error.code === "netlink/EEXIST"));
      assert.equal(rt.addresses().length, 700);
      rt.close();
    }
  } finally {
    namespace.close();
    removeNamespace(namespace.name);
  }
});
