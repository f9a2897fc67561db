import type { AgentEvent } from "./event.ts";

/** What is made as a whole, beside the table: when the wish for it changes, and again when it is found to be gone. */
export class Kept<T> {
  readonly #make: (wish: T) => readonly string[];
  readonly #eventOf: (why: string, wish: T) => AgentEvent;
  readonly #report: (event: AgentEvent) => void;
  #asked: string | undefined;
  #refused: readonly { readonly why: string; readonly event: AgentEvent }[] = [];

  /** `make` gives what was refused; each is told once as long as the wish is the same. */
  constructor(
    make: (wish: T) => readonly string[],
    eventOf: (why: string, wish: T) => AgentEvent,
    report: (event: AgentEvent) => void,
  ) {
    this.#make = make;
    this.#eventOf = eventOf;
    this.#report = report;
  }

  /** Whether anything was ever asked for, also if it was refused. */
  get isAsked(): boolean {
    return this.#asked !== undefined;
  }
  get isRefused(): boolean {
    return this.#refused.length > 0;
  }
  /** What stands refused now. */
  get refusals(): readonly AgentEvent[] {
    return this.#refused.map(({ event }) => event);
  }
  /** `again`: also when it was asked for before. */
  bring(wish: T, { again = false } = {}): void {
    const text = JSON.stringify(wish);
    const isSame = text === this.#asked;
    if (isSame && !again) return;
    this.#asked = text;
    const known = isSame ? this.#refused.map(({ why }) => why) : [];
    this.#refused = this.#make(wish).map((why) => ({ why, event: this.#eventOf(why, wish) }));
    for (const { why, event } of this.#refused) if (!known.includes(why)) this.#report(event);
  }
}
