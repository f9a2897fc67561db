/**
 * How the process comes to its end. The first Ctrl-C (SIGTERM, SIGHUP) asks the command to end and to clean up. A second
 * one ends the process at once with status 130, but where more is owed: such a command says so, and is waited for.
 */
export class Ending {
  readonly #ending = new AbortController();
  #asked = false;
  #hurry = (): void => process.exit(130);
  readonly signal: AbortSignal = this.#ending.signal;

  constructor() {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.on(name, () => {
        if (this.#asked) this.#hurry();
        this.#asked = true;
        this.#ending.abort(new Error(name));
      });
    // With nothing left to do Node would take its parts down one by one, the signal handlers among the first, and a
    // Ctrl-C that comes then would kill it: the status would be lost.
    process.on("beforeExit", () => process.exit());
  }

  ask(why: string): void {
    this.#ending.abort(new Error(why));
  }

  /** From now on impatience hears `onHurry`, once, and changes nothing. */
  waitFor(onHurry: () => void): void {
    this.#hurry = () => {
      this.#hurry = () => {};
      onHurry();
    };
  }
}
