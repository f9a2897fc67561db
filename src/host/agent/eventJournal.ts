/** Events on disk, a line of JSON each, in two files that together stay below a size. A full disk loses events, nothing else. */
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, readSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { StampedEvent } from "../../agent/status.ts";

export class EventJournal {
  readonly #folder: string;
  #maxOctets: number;
  #fd: number | undefined;
  #size = 0;
  /** The last line has no end: power went, or the disk was full in the middle of it. */
  #isTorn = false;
  /** Events that could not be written. */
  lost = 0;

  constructor(folder: string, maxOctets: number) {
    this.#folder = folder;
    this.#maxOctets = maxOctets;
  }
  #path(name: "events.jsonl" | "events.1.jsonl"): string {
    return join(this.#folder, name);
  }
  setLimit(maxOctets: number): void {
    this.#maxOctets = maxOctets;
  }

  #open(): number {
    mkdirSync(this.#folder, { recursive: true, mode: 0o755 });
    const fd = openSync(this.#path("events.jsonl"), "a+", 0o640);
    this.#size = fstatSync(fd).size;
    const end = Buffer.alloc(1);
    this.#isTorn = this.#size > 0 && readSync(fd, end, 0, 1, this.#size - 1) === 1 && end.toString() !== "\n";
    return fd;
  }
  append(event: StampedEvent): void {
    try {
      const text = `${JSON.stringify(event)}\n`;
      this.#fd ??= this.#open();
      if (this.#size > 0 && this.#size + Buffer.byteLength(text) > this.#maxOctets / 2) {
        closeSync(this.#fd);
        this.#fd = undefined;
        renameSync(this.#path("events.jsonl"), this.#path("events.1.jsonl"));
        this.#fd = this.#open();
      }
      const line = Buffer.from(this.#isTorn ? `\n${text}` : text);
      const written = writeSync(this.#fd, line);
      this.#size += written;
      if (written < line.length) this.lost++;
      if (written > 0) this.#isTorn = written < line.length;
    } catch {
      this.lost++;
    }
  }
  /** The last events, oldest first; lines torn by a crash are passed over. */
  last(count: number): StampedEvent[] {
    const found: StampedEvent[] = [];
    for (const name of ["events.1.jsonl", "events.jsonl"] as const) {
      let text: string;
      try {
        text = readFileSync(this.#path(name), "utf8");
      } catch {
        continue;
      }
      for (const line of text.split("\n").slice(-count - 1)) {
        try {
          const event = JSON.parse(line) as StampedEvent;
          if (typeof event.sequence === "number" && typeof event.text === "string") found.push(event);
        } catch {
          // torn, or the empty end
        }
      }
    }
    return found.slice(-count);
  }
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
