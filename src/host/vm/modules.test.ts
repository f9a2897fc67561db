import assert from "node:assert/strict";
import { test } from "node:test";
import { moduleNameOfPath, parseModulesDep } from "../moduleIndex.ts";
import { carriedModules } from "./modules.ts";

test("the image carries the network's modules and what they need, and no file systems", () => {
  const dep = `kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/net/netfilter/xt_ipvs.ko.xz: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/drivers/net/dummy.ko:
kernel/drivers/char/virtio_console.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko
`;
  assert.deepEqual(carriedModules(parseModulesDep(dep)).map(moduleNameOfPath).sort(), [
    "dummy",
    "ip_vs",
    "libcrc32c",
    "nf_conntrack",
    "virtio",
    "virtio_console",
    "xt_ipvs",
  ]);
});
