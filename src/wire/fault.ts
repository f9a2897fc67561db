/**
 * What a codec says of octets it cannot read. `code` is short and stable, "format/what", made to be counted by;
 * `why` is one sentence for people and may be reworded. Fits where a `Result` of base/ is wanted.
 */
export interface Fault {
  readonly ok: false;
  readonly code: string;
  readonly why: string;
}

export type Read<T> = { readonly ok: true; readonly value: T } | Fault;

export const fault = (code: string, why: string): Fault => ({ ok: false, code, why });
