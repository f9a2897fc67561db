import type { Plain } from "./read.ts";
import type { ServiceInput } from "./schema.ts";

/**
 * What the file of before said, for whoever reads the next one: an item that stands there word for word is neither read
 * nor held against the schema once more. Values are shared between readings, so nobody may change them.
 */
export class Memory {
  #items = new Map<string, Plain>();
  readonly #services = new WeakMap<object, ServiceInput>();

  /** The values of texts; `readAll` is asked for those that are new. Undefined where it does not give one for each. */
  read(texts: readonly string[], readAll: (fresh: readonly string[]) => readonly Plain[]): Plain[] | undefined {
    const fresh = [...new Set(texts.filter((text) => !this.#items.has(text)))];
    const values = fresh.length === 0 ? [] : readAll(fresh);
    if (values.length !== fresh.length || values.some((v) => typeof v !== "object" || v === null)) return undefined;
    const added = new Map(fresh.map((text, i) => [text, values[i] as Plain]));
    const all = texts.map((text) => (added.get(text) ?? this.#items.get(text)) as Plain);
    this.#items = new Map(texts.map((text, i) => [text, all[i] as Plain]));
    return all;
  }

  /** What the schema made of a service, where it had no fault. */
  service(item: Plain): ServiceInput | undefined {
    return typeof item === "object" && item !== null ? this.#services.get(item) : undefined;
  }
  keepService(item: Plain, input: ServiceInput): void {
    if (typeof item === "object" && item !== null) this.#services.set(item, input);
  }
}
