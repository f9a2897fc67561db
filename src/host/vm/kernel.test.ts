import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { findKernel, parsePackageName } from "./kernel.ts";

/** A folder with kernels: release -> names of its modules. */
function kernels(t: TestContext, releases: Record<string, readonly string[]>, builtIn = ""): string {
  const root = mkdtempSync(join(tmpdir(), "vipward-kernel-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, "boot"));
  for (const [release, names] of Object.entries(releases)) {
    const folder = join(root, "lib/modules", release);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(root, "boot", `vmlinuz-${release}`), "");
    writeFileSync(join(folder, "modules.dep"), names.map((name) => `kernel/x/${name}.ko.xz:\n`).join(""));
    writeFileSync(join(folder, "modules.builtin"), builtIn);
  }
  return root;
}
const all = ["ip_vs", "dummy", "ipip", "veth", "bridge", "virtio_pci", "virtio_console"];

test("the newest kernel by number, cloud kernels first", async (t) => {
  const folder = kernels(t, { "6.1.0-9-cloud-amd64": all, "6.1.0-56-cloud-amd64": all, "6.12.0-1-amd64": all });
  assert.equal((await findKernel({ folder })).release, "6.1.0-56-cloud-amd64");
});

test("a kernel that lacks a module is passed over; one that has it built in is not", async (t) => {
  const some = all.filter((name) => name !== "ipip");
  const folder = kernels(t, { "6.1.0-1-amd64": all, "6.1.0-2-amd64": some });
  assert.equal((await findKernel({ folder })).release, "6.1.0-1-amd64");
  const withBuiltIn = kernels(t, { "6.1.0-2-amd64": some }, "kernel/net/ipv4/ipip.ko\n");
  assert.equal((await findKernel({ folder: withBuiltIn })).release, "6.1.0-2-amd64");
});

test("a folder without a fitting kernel is an error that says what is looked for", async (t) => {
  const folder = kernels(t, { "6.1.0-2-amd64": ["dummy"] });
  await assert.rejects(findKernel({ folder }), { code: "vm/kernel-missing", message: /ip_vs/ });
  await assert.rejects(findKernel({ folder: join(folder, "nowhere") }), { code: "vm/kernel-missing" });
});

test("the kernel's meta package names today's package", () => {
  const depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: x\n";
  assert.equal(parsePackageName(depends), "linux-image-6.1.0-56-cloud-amd64");
  assert.equal(parsePackageName("N: Unable to locate package linux-image-cloud-amd64\n"), undefined);
});
