/** Bad input from the world is a value, not an exception: what is wrong, in one sentence. */
export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

export const good = <T>(value: T): Result<T> => ({ ok: true, value });
export const bad = (why: string): { readonly ok: false; readonly why: string } => ({ ok: false, why });
