import { setTimeout as sleep } from "node:timers/promises";

/** Whether it holds, looked at again and again for so long: a busy machine may be late. */
export async function within(limitMs: number, holds: () => boolean | Promise<boolean>, everyMs = 10): Promise<boolean> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    if (await holds()) return true;
    if (performance.now() > endMs) return false;
    await sleep(everyMs);
  }
}
