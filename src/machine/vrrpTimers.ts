import type { VrrpConfig, VrrpState } from "./vrrpTypes.ts";

/** RFC 9568 section 6.1: 255 says "the addresses are my own". */
export const OWNER = 255;

/** The configured priority with the weights of what is tracked, 1 to 254; an owner's stays 255. */
export function priorityOf(c: VrrpConfig, s: Pick<VrrpState, "priorityDelta">): number {
  if (c.priority === OWNER) return OWNER;
  return Math.min(OWNER - 1, Math.max(1, c.priority + s.priorityDelta));
}

/**
 * How much longer than the silent intervals a backup waits, so that the highest comes first. Version 2: the share of a
 * second, whatever the interval (RFC 3768 section 6.1); version 3: the share of the master's interval (RFC 9568 6.1).
 */
export const skewMs = (version: 2 | 3, priority: number, masterIntervalMs: number): number =>
  ((256 - priority) * (version === 2 ? 1000 : masterIntervalMs)) / 256;

/** Active_Down_Interval (version 2: Master_Down_Interval): silence for so long means that the master is gone. */
export const downMs = (c: VrrpConfig, priority: number, masterIntervalMs: number): number =>
  c.downAdverts * masterIntervalMs + skewMs(c.version, priority, masterIntervalMs);
