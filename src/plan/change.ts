import { equal } from "./equal.ts";
import { HostDraft, type World } from "./host.ts";
import type { ChangeKind, ChangeShape, Phase } from "./kind.ts";
import { type AddressChange, address } from "./kinds/address.ts";
import { type FileChange, file } from "./kinds/file.ts";
import { type LinkChange, link } from "./kinds/link.ts";
import { type ModuleChange, module } from "./kinds/module.ts";
import { type NeighbourChange, neighbour } from "./kinds/neighbour.ts";
import { type NftTableChange, nftTable } from "./kinds/nftTable.ts";
import { type RouteChange, route } from "./kinds/route.ts";
import {
  type ArptablesChange,
  arptables,
  type IpchainsChange,
  type IptablesChange,
  ipchains,
  iptables,
} from "./kinds/rule.ts";
import { type SysctlChange, sysctl } from "./kinds/sysctl.ts";
import type { Operation } from "./operation.ts";

/** Every kind of change, and what it knows. To add one: its file in kinds/, and a row here and above. */
interface Kinds {
  readonly link: LinkChange;
  readonly address: AddressChange;
  readonly route: RouteChange;
  readonly sysctl: SysctlChange;
  readonly module: ModuleChange;
  readonly nftTable: NftTableChange;
  readonly iptables: IptablesChange;
  readonly arptables: ArptablesChange;
  readonly ipchains: IpchainsChange;
  readonly file: FileChange;
  readonly neighbour: NeighbourChange;
}
export type ChangeName = keyof Kinds;
export type Change = Kinds[ChangeName];

export const kinds: { readonly [Name in ChangeName]: ChangeKind<Kinds[Name]> } = {
  link,
  address,
  route,
  sysctl,
  module,
  nftTable,
  iptables,
  arptables,
  ipchains,
  file,
  neighbour,
};

/** The row of a change. The cast is safe: `kinds` is keyed by the very field that it is looked up with. */
const kindOf = (c: Change): ChangeKind<Change> => kinds[c.kind] as unknown as ChangeKind<Change>;

export const keyOf = (c: Change): string => kindOf(c).key(c);
export const describe = (c: Change): string => kindOf(c).describe(c);
export const phaseOf = (c: Change): Phase => kindOf(c).phase(c);
export const operationsOf = (c: Change): readonly Operation[] => kindOf(c).operations(c);
export const isLasting = (c: Change): boolean => kindOf(c).lasting;

/** The other way round. Undoing the undo is the change itself. */
export const undo = (c: Change): Change => ({ ...c, before: c.after, after: c.before }) as Change;

/** All of them taken back: the last made is the first undone. */
export const undoAll = (changes: readonly Change[]): Change[] => changes.map(undo).reverse();

/** Where a thing stands, seen from one change: as it was, as it should become, or as someone else made it. */
export type Standing = "before" | "after" | "other";

export function standing(c: Change, host: HostDraft): Standing {
  const now = kindOf(c).current(c, host);
  if (equal(now, c.after)) return "after";
  return equal(now, c.before) ? "before" : "other";
}

/** Whether the thing a change is about is the same on both hosts. */
export const sameOn = (c: Change, a: HostDraft, b: HostDraft): boolean =>
  equal(kindOf(c).current(c, a), kindOf(c).current(c, b));

/** The same change from what is there now. */
export const fromNow = (c: Change, host: HostDraft): Change => ({ ...c, before: kindOf(c).current(c, host) }) as Change;

export const conflictsOf = (c: Change, host: HostDraft): readonly string[] => kindOf(c).conflicts(c, host);

export function play(c: Change, host: HostDraft): void {
  kindOf(c).effect(c, host);
}

/** The world after the changes, in their order. */
export function effect(world: World, changes: readonly Change[]): World {
  const draft = new HostDraft(world);
  for (const c of changes) play(c, draft);
  return draft.finish();
}

/**
 * What several runs made of one host, as one list: a thing changed twice goes from its first state to its last, and one
 * that came back to its first state is left out. In order of first change.
 */
export function net(changes: readonly Change[]): Change[] {
  const byKey = new Map<string, Change>();
  for (const c of changes) {
    const key = keyOf(c);
    const first = byKey.get(key);
    byKey.set(key, first === undefined ? c : ({ ...c, before: first.before } as Change));
  }
  return [...byKey.values()].filter((c) => !equal(c.before, c.after));
}

/** Refuses what a journal or a file offers as a change but is none: false rather than a crash later. */
export function isChange(value: unknown): value is Change {
  if (typeof value !== "object" || value === null) return false;
  const shape = value as Partial<ChangeShape>;
  return typeof shape.kind === "string" && Object.hasOwn(kinds, shape.kind) && "before" in shape && "after" in shape;
}
