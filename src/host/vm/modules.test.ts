import assert from "node:assert/strict";
import { test } from "node:test";
import { carriedModules, loadOrder, moduleName, parseModulesDep, pathsOf } from "./modules.ts";

const sample = `# made by depmod
kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/net/netfilter/xt_ipvs.ko.xz: kernel/net/netfilter/ipvs/ip_vs.ko
kernel/drivers/net/dummy.ko:
kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko

not a line
`;

test("modules.dep: each module with what it needs; comments and other lines are skipped", () => {
  const dependencies = parseModulesDep(sample);
  assert.equal(dependencies.size, 6);
  assert.deepEqual(dependencies.get("kernel/lib/libcrc32c.ko"), []);
  assert.deepEqual(dependencies.get("kernel/net/netfilter/xt_ipvs.ko.xz"), ["kernel/net/netfilter/ipvs/ip_vs.ko"]);
});

test("load order: what is needed comes first, and each module once", () => {
  const dependencies = parseModulesDep(sample);
  assert.deepEqual(loadOrder(dependencies, pathsOf(dependencies, ["xt_ipvs", "ip_vs"])).map(moduleName), [
    "libcrc32c",
    "nf_conntrack",
    "ip_vs",
    "xt_ipvs",
  ]);
});

test("load order: a circle ends", () => {
  assert.deepEqual(loadOrder(parseModulesDep("a.ko: b.ko\nb.ko: a.ko"), ["a.ko"]), ["b.ko", "a.ko"]);
});

test("names: compressed or not, dashes become underscores; unknown names are left out", () => {
  assert.equal(moduleName("kernel/drivers/char/hw_random/virtio-rng.ko.zst"), "virtio_rng");
  assert.deepEqual(pathsOf(parseModulesDep(sample), ["dummy", "no_such_module"]), ["kernel/drivers/net/dummy.ko"]);
});

test("the image carries the network's modules and what they need, and no file systems", () => {
  const names = carriedModules(parseModulesDep(sample)).map(moduleName);
  assert.deepEqual(names.toSorted(), ["dummy", "ip_vs", "libcrc32c", "nf_conntrack", "xt_ipvs"]);
});
