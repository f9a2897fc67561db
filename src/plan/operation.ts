import type { RouteFacts } from "../model/facts.ts";

/**
 * The few things that a performer must be able to do, as data. Each is idempotent: adding what is there and deleting
 * what is gone succeed, because after a crash nobody knows whether the last one was done.
 */
export type Operation =
  /** `path` below /proc/sys, by segment: interface names may hold dots. */
  | { readonly op: "sysctl"; readonly path: readonly string[]; readonly value: string }
  | { readonly op: "link-create"; readonly name: string; readonly type: string }
  | { readonly op: "link-delete"; readonly name: string }
  | {
      readonly op: "link-set";
      readonly name: string;
      readonly up?: boolean;
      readonly noarp?: boolean;
    }
  | {
      readonly op: "address";
      readonly action: "add" | "delete";
      readonly link: string;
      readonly ip: string;
      readonly prefixLength: number;
      readonly scope: number;
      readonly label?: string;
    }
  | { readonly op: "route"; readonly action: "add" | "delete"; readonly route: RouteFacts }
  | {
      readonly op: "neighbour";
      readonly action: "set" | "delete";
      readonly link: string;
      readonly ip: string;
      readonly mac?: string;
    }
  | { readonly op: "module"; readonly action: "load" | "unload"; readonly name: string; readonly parameters: string }
  /** libnftables-json commands, one transaction. */
  | { readonly op: "nft"; readonly commands: readonly unknown[] }
  /** `check` exits 0 when the rule is there; then `add` is not run, and `remove` only then. */
  | {
      readonly op: "rule";
      readonly action: "add" | "remove";
      readonly program: "iptables" | "arptables" | "ipchains";
      readonly table: string;
      readonly chain: string;
      readonly spec: readonly string[];
    }
  /** Written beside and renamed over, with the folder synced; null removes. */
  | {
      readonly op: "file";
      readonly path: string;
      readonly content: { readonly text: string; readonly mode: number } | { readonly linkTo: string } | null;
    };

export type OperationName = Operation["op"];
