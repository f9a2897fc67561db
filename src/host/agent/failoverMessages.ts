import type { FailoverConfig } from "../../agent/failoverConfig.ts";
import type { InstanceStatus } from "../../agent/failoverStatus.ts";
import type { FailoverEvent } from "../../ports/failover.ts";

/** To the thread that does failover and nothing else. */
export type ToFailover =
  | { readonly kind: "reload"; readonly config: FailoverConfig }
  | {
      readonly kind: "track";
      readonly instance: string;
      readonly priorityDelta: number;
      readonly fault: string | undefined;
    }
  | { readonly kind: "switchOver"; readonly id: number; readonly instance: string | undefined }
  | { readonly kind: "release"; readonly id: number }
  | { readonly kind: "status"; readonly id: number }
  | { readonly kind: "stop" };

export type FromFailover =
  | { readonly kind: "ready" }
  | { readonly kind: "event"; readonly event: FailoverEvent }
  | { readonly kind: "answer"; readonly id: number; readonly value: FailoverStatus | readonly string[] }
  | { readonly kind: "refused"; readonly id: number; readonly why: string }
  | { readonly kind: "links"; readonly up: readonly (readonly [string, boolean])[] }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string; readonly remedy: string };

export interface FailoverStatus {
  readonly instances: readonly InstanceStatus[];
  readonly strays: Readonly<Record<string, number>>;
  /** The longest that the thread was late for a deadline since it began, in ms. */
  readonly latestMs: number;
}
