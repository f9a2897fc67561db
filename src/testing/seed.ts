import fc from "fast-check";

/** Every random test of a run draws from this seed; `npm test -- --seed N` gives it back. */
export const seed: number = Number(process.env.VIPWARD_SEED ?? Date.now() % 0x7fffffff);
if (!Number.isSafeInteger(seed)) throw new Error(`VIPWARD_SEED is not a whole number: ${process.env.VIPWARD_SEED}`);
fc.configureGlobal({ seed });
