// The "newc" cpio archive: what a Linux kernel unpacks into its first file system. Written here because it takes a
// page, needs no root and no tool, and keeps every octet of the image under our control.
// Source: Documentation/driver-api/early-userspace/buffer-format.rst.

/** One thing in the image. `path` is absolute ("/usr/bin/node"); `mode` holds the permission bits only. */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly mode: number;
      readonly sizeOctets: number;
      /** Called when its turn comes, so that a large image never stands in memory as a whole. */
      readonly content: () => Uint8Array;
    };

const magic = "070701";
const typeBits = { directory: 0o040000, symlink: 0o120000, file: 0o100000 } as const;
const utf8 = new TextEncoder();

const padding = (sizeOctets: number): Uint8Array => new Uint8Array((4 - (sizeOctets % 4)) % 4);

/** Thirteen numbers of eight hex digits each, then the name; name and content each end on a multiple of four. */
function header(inode: number, mode: number, links: number, sizeOctets: number, name: string): Uint8Array[] {
  const nameOctets = utf8.encode(`${name}\0`);
  // In order: inode, mode, uid, gid, links, mtime, size, device major and minor, of a node major and minor, name, checksum.
  const numbers = [inode, mode, 0, 0, links, 0, sizeOctets, 0, 0, 0, 0, nameOctets.length, 0];
  const fixed = utf8.encode(magic + numbers.map((n) => n.toString(16).padStart(8, "0")).join(""));
  return [fixed, nameOctets, padding(fixed.length + nameOctets.length)];
}

/**
 * The archive, piece by piece. A directory must come before what it holds: `withParents` sees to that.
 * Throws RangeError where a file's content is not as long as said (it changed while being packed), since
 * every octet after it would be read as garbage by the kernel.
 */
export function* writeCpio(entries: Iterable<CpioEntry>): Generator<Uint8Array> {
  let inode = 0;
  for (const entry of entries) {
    inode += 1;
    const name = entry.path.replace(/^\/+/, "");
    switch (entry.kind) {
      case "directory":
        yield* header(inode, typeBits.directory | entry.mode, 2, 0, name);
        break;
      case "symlink": {
        const target = utf8.encode(entry.target);
        yield* header(inode, typeBits.symlink | 0o777, 1, target.length, name);
        yield target;
        yield padding(target.length);
        break;
      }
      case "file": {
        const content = entry.content();
        if (content.length !== entry.sizeOctets)
          throw new RangeError(`${entry.path} has ${content.length} octets, not ${entry.sizeOctets}`);
        yield* header(inode, typeBits.file | entry.mode, 1, content.length, name);
        yield content;
        yield padding(content.length);
        break;
      }
    }
  }
  yield* header(0, 0, 1, 0, "TRAILER!!!");
}

/** Orders entries by path, drops doubles (the first wins), and adds each directory that is only implied. */
export function withParents(entries: Iterable<CpioEntry>): CpioEntry[] {
  const byPath = new Map<string, CpioEntry>();
  for (const entry of entries) if (!byPath.has(entry.path)) byPath.set(entry.path, entry);
  for (const path of [...byPath.keys()]) {
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const parent = path.slice(0, at);
      if (!byPath.has(parent)) byPath.set(parent, { kind: "directory", path: parent, mode: 0o755 });
    }
  }
  return [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}
