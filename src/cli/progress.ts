import type { Io } from "./io.ts";

/** What is going on now: one line that is overwritten on a terminal, a line each where it is read later. */
export interface Progress {
  /** On a terminal: saying something often is no nuisance. */
  readonly live: boolean;
  say(text: string): void;
  /** Takes the line away, so that something lasting can be printed. */
  clear(): void;
  end(): void;
}

const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const frameMs = 100;

export function progress(io: Io, live: boolean): Progress {
  if (!live) return { live, say: (text) => io.err(`... ${text}\n`), clear: () => {}, end: () => {} };
  let text = "";
  let frame = 0;
  const sinceMs = performance.now();
  const draw = (): void => {
    if (text === "") return;
    const seconds = ((performance.now() - sinceMs) / 1000).toFixed(0);
    const line = `${frames[frame++ % frames.length]} ${text}  ${seconds} s`;
    io.err(`\r\x1b[K${line.slice(0, Math.max(10, (process.stderr.columns ?? io.columns) - 1))}`);
  };
  const timer = setInterval(draw, frameMs);
  const clear = (): void => io.err("\r\x1b[K");
  return {
    live,
    say(now) {
      text = now;
      draw();
    },
    clear,
    end() {
      clearInterval(timer);
      clear();
    },
  };
}
