import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePackageName } from "./kernel.ts";
import { parseLdd } from "./libraries.ts";

test("ldd of several programs: each library and loader once, missing ones by name", () => {
  const text = `/usr/bin/a:
\tlinux-vdso.so.1 (0x00007ffc)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)
\tlibgone.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)
/usr/bin/b:
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)
/usr/bin/script:
\tnot a dynamic executable
`;
  assert.deepEqual(parseLdd(text), {
    found: ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"],
    missing: ["libgone.so.1"],
  });
});

test("the kernel's meta package names today's package", () => {
  const depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: x\n";
  assert.equal(parsePackageName(depends), "linux-image-6.1.0-56-cloud-amd64");
  assert.equal(parsePackageName("N: Unable to locate package linux-image-cloud-amd64\n"), undefined);
});
