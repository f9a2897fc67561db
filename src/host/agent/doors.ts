/** The doors that a cluster file asks for besides the socket. A reload opens, changes and closes them without a restart. */
import {
  type ControlHandler,
  type Door,
  type HttpsOptions,
  listenHttps,
  listenMetrics,
  readSecrets,
} from "./control.ts";

export interface DoorWishes {
  readonly metrics?: string | undefined;
  readonly https?: HttpsOptions | undefined;
}
interface Open<T extends Door> {
  readonly at: string;
  readonly door: T;
}
/** What a file asks for, ready: one of the two must be called; after `keep`, `drop` does nothing. */
export interface ReadyDoors {
  readonly keep: () => void;
  readonly drop: () => void;
}

export class Doors {
  readonly #text: () => Promise<string>;
  readonly #handle: ControlHandler;
  #metrics: Open<Door> | undefined;
  #https: Open<Awaited<ReturnType<typeof listenHttps>>> | undefined;

  constructor(text: () => Promise<string>, handle: ControlHandler) {
    this.#text = text;
    this.#handle = handle;
  }

  /** Opens what is not open yet, beside what is, and reads the token and the certificate anew. Errors: then all is as it was. */
  async prepare({ metrics, https }: DoorWishes): Promise<ReadyDoors> {
    const secrets = https && readSecrets(https);
    const opened: Door[] = [];
    const drop = (): void => {
      for (const door of opened.splice(0)) door.close();
    };
    const openAt = async <T extends Door>(
      before: Open<T> | undefined,
      at: string,
      open: () => Promise<T>,
    ): Promise<Open<T>> => {
      if (before?.at === at) return before;
      const door = await open();
      opened.push(door);
      return { at, door };
    };
    try {
      const ours =
        metrics === undefined
          ? undefined
          : await openAt(this.#metrics, metrics, () => listenMetrics(metrics, this.#text));
      const theirs =
        https && secrets && (await openAt(this.#https, https.listen, () => listenHttps(https, this.#handle, secrets)));
      const keep = (): void => {
        opened.length = 0;
        if (this.#metrics !== ours) this.#metrics?.door.close();
        if (this.#https !== theirs) this.#https?.door.close();
        this.#metrics = ours;
        this.#https = theirs;
        if (secrets !== undefined) theirs?.door.take(secrets);
      };
      return { keep, drop };
    } catch (error) {
      drop();
      throw error;
    }
  }
  close(): void {
    this.#metrics?.door.close();
    this.#https?.door.close();
  }
}
