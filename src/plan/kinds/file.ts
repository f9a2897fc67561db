import type { FileState } from "../host.ts";
import type { ChangeKind } from "../kind.ts";

/** A file of the host's own configuration system, always under a vipward name. */
export interface FileChange {
  readonly kind: "file";
  /** Absolute. */
  readonly path: string;
  readonly before: FileState;
  readonly after: FileState;
}

export const file: ChangeKind<FileChange> = {
  key: (c) => `file ${c.path}`,
  describe: (c) => {
    if (c.after === null) return `remove ${c.path}`;
    if ("linkTo" in c.after) return `link ${c.path} to ${c.after.linkTo}`;
    return `${c.before === null ? "write" : "rewrite"} ${c.path} (${c.after.text.split("\n").length - 1} lines)`;
  },
  phase: () => "keep",
  operations: (c) => [{ op: "file", path: c.path, content: c.after }],
  current: (c, host) => host.files[c.path] ?? null,
  effect: (c, host) => {
    host.files[c.path] = c.after;
  },
  conflicts: (c) =>
    c.path.startsWith("/") && !c.path.split("/").includes("..") && /vipward/.test(c.path)
      ? []
      : [`${c.path} is not a file of vipward's own`],
  lasting: true,
};
