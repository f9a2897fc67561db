import { setFlagsFromString } from "node:v8";

/**
 * For programs that run for months and do little at a time: the space for new objects stays at its first two megabytes,
 * in this thread and those it starts. V8 lets it grow to 32 in each thread when a file is read, and never shrinks it.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}
