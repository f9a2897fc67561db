import type { Ending } from "./ending.ts";

/** What a command may do with the terminal it was called from. */
export interface Io {
  /** Results: standard output. */
  out(text: string): void;
  /** Progress, warnings and errors: standard error. */
  err(text: string): void;
  /** Standard output is a terminal: live displays are welcome. */
  readonly isTerminal: boolean;
  /** Colour is welcome on standard output: a terminal, and NO_COLOR is not set. */
  readonly colour: boolean;
  readonly columns: number;
  /** Absent: unknown. */
  readonly rows?: number;
  /** Aborted by Ctrl-C, by SIGTERM, or because nobody reads standard output any more: end early and clean up. */
  readonly signal: AbortSignal;
  /** For a command that must not be cut short: a second Ctrl-C is answered with `text` (none: not at all), and waits. */
  endsInOrder(text?: string): void;
}

/** The process's own terminal. */
export function processIo(ending: Ending): Io {
  const gone = { out: false, err: false };
  const whenGone = (stream: NodeJS.WriteStream, note: () => void): void => {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      note();
    });
  };
  // `| head` has read enough: what was made is still to be removed, so the command is asked to end, not killed
  whenGone(process.stdout, () => {
    gone.out = true;
    ending.ask("nobody reads the output any more");
  });
  whenGone(process.stderr, () => {
    gone.err = true;
  });
  const isTerminal = process.stdout.isTTY === true;
  const err = (text: string): void => void (gone.err || process.stderr.write(text));
  return {
    out: (text) => void (gone.out || process.stdout.write(text)),
    err,
    isTerminal,
    colour: isTerminal && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb",
    get columns() {
      return process.stdout.columns ?? 80;
    },
    get rows() {
      return process.stdout.rows ?? 24;
    },
    signal: ending.signal,
    endsInOrder: (text = "") => ending.waitFor(() => err(text)),
  };
}
