import type { HostDraft } from "./host.ts";
import type { Operation } from "./operation.ts";

/**
 * When a change may happen. A VIP leaves before its silence is lifted, and silence stands before a VIP appears, so that
 * not one ARP packet escapes (laws 1 and 3 hold at every moment, not only at the end). Undo walks backwards, which is
 * the same order read from the other side.
 */
export const phases = ["disappear", "prepare", "silence", "appear", "lift", "clear", "keep"] as const;
export type Phase = (typeof phases)[number];

/** When the undo of a change may happen, in a plan that takes some things away and makes others. */
export const mirrored: Readonly<Record<Phase, Phase>> = {
  disappear: "appear",
  prepare: "clear",
  silence: "lift",
  appear: "disappear",
  lift: "silence",
  clear: "prepare",
  keep: "keep",
};

/** Every change is a thing, named by its identity, that goes from one state to another. Plain JSON: it is journalled. */
export interface ChangeShape {
  readonly kind: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** What one kind of change knows. One file each in kinds/; the table is in change.ts. */
export interface ChangeKind<C extends ChangeShape> {
  /** Names the thing, whatever its state: two changes with one key act on one thing. */
  key(c: C): string;
  /** A sentence in the imperative, without a full stop. */
  describe(c: C): string;
  phase(c: C): Phase;
  /** What a performer has to do. Each operation is idempotent: done twice it does no more. */
  operations(c: C): readonly Operation[];
  /** The thing's state on this host, comparable to `before` and `after`. */
  current(c: C, host: HostDraft): C["before"];
  /** Plays the change on the draft. */
  effect(c: C, host: HostDraft): void;
  /** Why it cannot or must not be done here; empty when nothing stands against it. */
  conflicts(c: C, host: HostDraft): readonly string[];
  /** False: a reboot forgets it, so it must be made again at boot. */
  readonly lasting: boolean;
}
