/** A simulation computes without a pause: what else the process has to do happens when it takes breath. */
export type Breathe = (atMs: number) => Promise<void>;

const everyMs = 100;

/**
 * To be called as often as one likes: ten times a second it lets signals be heard and progress be drawn, then calls
 * `then` with the virtual time, and rejects with the signal's reason once that is aborted.
 */
export function breather(signal?: AbortSignal, then?: (atMs: number) => void): Breathe {
  let lastMs = performance.now();
  return async (atMs) => {
    if (performance.now() - lastMs < everyMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    lastMs = performance.now();
    signal?.throwIfAborted();
    then?.(atMs);
  };
}
