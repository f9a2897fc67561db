import { StringDecoder } from "node:string_decoder";

/** A line longer than this is handed on in pieces: nothing grows without bound. */
const longestLine = 16 << 20;

/** Cuts a stream of octets into lines, UTF-8 kept whole across pieces. Ends with `mark` where one is given. */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #mark: string | undefined;
  readonly #decoder = new StringDecoder("utf8");
  #rest: string[] = [];
  #restLength = 0;
  /** True once the mark was seen: all of the stream has arrived. */
  ended = false;

  constructor(onLine: (line: string) => void, mark?: string) {
    this.#onLine = onLine;
    this.#mark = mark;
  }

  push(piece: Uint8Array): void {
    const text = this.#decoder.write(piece as Buffer);
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      this.#keep(text.slice(start, end));
      this.#handOn(this.#takeRest());
      start = end + 1;
    }
    this.#keep(text.slice(start));
    if (this.#mark !== undefined && this.#restLength >= this.#mark.length && this.#restEndsWithMark(this.#mark)) {
      const last = this.#takeRest().slice(0, -this.#mark.length);
      if (last !== "") this.#handOn(last);
      this.ended = true;
    } else if (this.#restLength > longestLine) this.#handOn(this.#takeRest());
  }

  /** A last line without its end. */
  finish(): void {
    if (this.#restLength > 0) this.#handOn(this.#takeRest());
  }

  #keep(text: string): void {
    if (text === "") return;
    this.#rest.push(text);
    this.#restLength += text.length;
  }

  #takeRest(): string {
    const all = this.#rest.join("");
    this.#rest = [];
    this.#restLength = 0;
    return all;
  }

  #handOn(line: string): void {
    this.#onLine(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  #restEndsWithMark(mark: string): boolean {
    let tail = "";
    for (let i = this.#rest.length - 1; i >= 0 && tail.length < mark.length; i--) tail = this.#rest[i] + tail;
    return tail.endsWith(mark);
  }
}
