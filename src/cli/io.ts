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
}

/** The process's own terminal. The first Ctrl-C asks the command to end; a second one ends the process at once. */
export function processIo(): Io {
  const ending = new AbortController();
  let asked = false;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(name, () => {
      if (asked) process.exit(130);
      asked = true;
      ending.abort(new Error(name));
    });
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
    ending.abort(new Error("nobody reads the output any more"));
  });
  whenGone(process.stderr, () => {
    gone.err = true;
  });
  const isTerminal = process.stdout.isTTY === true;
  return {
    out: (text) => void (gone.out || process.stdout.write(text)),
    err: (text) => void (gone.err || process.stderr.write(text)),
    isTerminal,
    colour: isTerminal && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb",
    get columns() {
      return process.stdout.columns ?? 80;
    },
    get rows() {
      return process.stdout.rows ?? 24;
    },
    signal: ending.signal,
  };
}
