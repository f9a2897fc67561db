/** What is made as a whole, beside the table: when the wish for it changes, and again when it is found to be gone. */
export class Kept<T> {
  readonly #make: (wish: T) => readonly string[];
  readonly #tell: (why: string, wish: T) => void;
  #asked: string | undefined;
  #refused: readonly string[] = [];

  /** `make` gives what was refused; each is told once as long as the wish is the same. */
  constructor(make: (wish: T) => readonly string[], tell: (why: string, wish: T) => void) {
    this.#make = make;
    this.#tell = tell;
  }

  /** Whether anything was ever asked for, also if it was refused. */
  get isAsked(): boolean {
    return this.#asked !== undefined;
  }
  get isRefused(): boolean {
    return this.#refused.length > 0;
  }
  /** `again`: also when it was asked for before. */
  bring(wish: T, { again = false } = {}): void {
    const text = JSON.stringify(wish);
    const isSame = text === this.#asked;
    if (isSame && !again) return;
    this.#asked = text;
    const known = isSame ? this.#refused : [];
    this.#refused = this.#make(wish);
    for (const why of this.#refused) if (!known.includes(why)) this.#tell(why, wish);
  }
}
