import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { type CpioEntry, withParents, writeCpio } from "./cpio.ts";

const file = (path: string, content: Uint8Array, mode = 0o644): CpioEntry => ({
  kind: "file",
  path,
  mode,
  sizeOctets: content.length,
  content: () => content,
});

/** A reader as the kernel's own (init/initramfs.c), and as slow and plain as can be. */
function readCpio(archive: Buffer): { name: string; mode: number; content: Buffer }[] {
  const found = [];
  for (let at = 0; ; ) {
    assert.equal(archive.toString("latin1", at, at + 6), "070701");
    const number = (index: number): number =>
      Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameEnd = at + 110 + number(11);
    const name = archive.toString("utf8", at + 110, nameEnd - 1);
    assert.equal(archive[nameEnd - 1], 0);
    const contentAt = Math.ceil(nameEnd / 4) * 4;
    if (name === "TRAILER!!!") return found;
    found.push({ name, mode: number(1), content: archive.subarray(contentAt, contentAt + number(6)) });
    at = Math.ceil((contentAt + number(6)) / 4) * 4;
  }
}

const archive = (entries: Iterable<CpioEntry>): Buffer => Buffer.concat([...writeCpio(entries)]);

test("what is written is read back: names of every length, contents of every length", () => {
  const entry = fc.record({
    path: fc
      .string({ unit: fc.constantFrom("a", "b", "é", "-", "."), minLength: 1, maxLength: 9 })
      .map((name) => `/d/${name}x`),
    content: fc.uint8Array({ maxLength: 9 }),
    mode: fc.constantFrom(0o644, 0o755, 0o600),
  });
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: (e) => e.path, maxLength: 6 }), (entries) => {
      const back = readCpio(archive(entries.map((e) => file(e.path, e.content, e.mode))));
      assert.deepEqual(
        back.map(({ name, mode, content }) => ({
          path: `/${name}`,
          mode: mode - 0o100000,
          content: new Uint8Array(content),
        })),
        entries.map(({ path, mode, content }) => ({ path, mode, content })),
      );
    }),
  );
});

test("a symbolic link carries its target as content", () => {
  const [link] = readCpio(archive([{ kind: "symlink", path: "/bin", target: "usr/bin" }]));
  assert.deepEqual(link, { name: "bin", mode: 0o120777, content: Buffer.from("usr/bin") });
});

test("directories only implied are added, before what they hold; of doubles the first stays", () => {
  const first = file("/usr/bin/node", new Uint8Array([1]));
  const names = withParents([first, file("/usr/bin/node", new Uint8Array([2])), file("/init", new Uint8Array())]);
  assert.deepEqual(
    names.map((entry) => entry.path),
    ["/init", "/usr", "/usr/bin", "/usr/bin/node"],
  );
  assert.equal(names[3], first);
});

test("a file that changed its length while being packed is refused", () => {
  const entry: CpioEntry = { kind: "file", path: "/f", mode: 0o644, sizeOctets: 3, content: () => new Uint8Array(2) };
  assert.throws(() => archive([entry]), RangeError);
});
