/** What the main thread and its workers say to each other. */
import type { Abilities } from "./generate.ts";

export interface WorkerOrder {
  readonly seed: number;
  /** This worker takes groups `first`, `first + step`, ... */
  readonly first: number;
  readonly step: number;
  readonly cases: number;
  readonly abilities: Abilities;
  readonly name: string;
}

export interface Finding {
  readonly seed: number;
  readonly group: number;
  readonly host: number;
  readonly what: string;
  readonly rule: string;
  readonly kernel: string;
  readonly model: string;
  /** False: it did not happen again on a fresh stage, so it is the harness's timing or the kernel's state before. */
  readonly repeatable: boolean;
  readonly vector?: unknown;
}

export type WorkerNews =
  | { readonly kind: "asked"; readonly count: number }
  | { readonly kind: "finding"; readonly finding: Finding }
  | { readonly kind: "rules"; readonly rules: readonly (readonly [string, number])[]; readonly hosts: number }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "done" };
