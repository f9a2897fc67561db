/**
 * The part of YAML that cluster files are written in, read in one pass: block mappings and lists, flow ones inside, and
 * scalars of one line. It gives data and no places, and declines whatever it does not know, faults too: read.ts, which
 * knows all of YAML and each value's place, has the last word. What this gives, that gives (plainYaml.test.ts).
 */
import type { Plain } from "./read.ts";

/** Anything else is rare enough to be read the slow way: tabs, CR, controls, what is more than one UTF-16 unit. */
const unusual = /[^\n -~\u00a1-\u1fff\u2010-\u2027\u2030-\ud7ff]/;
/** Deeper than any cluster file, and far from the limits of read.ts. */
const deepest = 16;

const plainKey = /[A-Za-z_][\w.-]{0,99}(?=:(?:[ \n]|$))/y;
/** Free of escapes, which are read.ts's. */
const quoted = /"([^"\\\n]*)"|'([^'\n]*)'(?!')/y;
/** What a plain scalar begins with, of what YAML allows. */
const scalarStart = /[\w/\u00a1-\uffff]/;
/** Words of YAML 1.2's core schema that are no texts. */
const words: ReadonlyMap<string, Plain> = new Map<string, Plain>([
  ...["null", "Null", "NULL"].map((word) => [word, null] as const),
  ...["true", "True", "TRUE"].map((word) => [word, true] as const),
  ...["false", "False", "FALSE"].map((word) => [word, false] as const),
]);
const decimal = /^(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$/;
const negative = /^-[1-9]\d{0,14}$/;
/** Numbers in forms that are left to read.ts: octal, hexadecimal, with leading zeros or exponents. */
const otherNumber = /^(?:0o[0-7]+|0x[\dA-Fa-f]+|\d+\.?\d*(?:[eE][-+]?\d+)?)$/;

const [lineEnd, space, hash, comma, dash, colon] = [10, 32, 35, 44, 45, 58];
const [openList, closeList, openMap, closeMap] = [91, 93, 123, 125];
const isFlowSign = (code: number): boolean =>
  code === comma || code === openList || code === closeList || code === openMap || code === closeMap;

/** Ends the reading: this is for read.ts. */
const beyond = new Error("not plain YAML");

/** Undefined: not for this reader, and nothing else said. Cost is linear in the text; never throws. */
export function readPlainYaml(text: string): Plain | undefined {
  if (unusual.test(text)) return undefined;
  try {
    return new Reader(text).document();
  } catch (error) {
    if (error === beyond) return undefined;
    throw error;
  }
}

class Reader {
  readonly #text: string;
  #at = 0;
  #lineStart = 0;
  /** Of the content at #at, where a line was just begun; -1: the text is over. */
  #column = -1;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Plain {
    if (this.#text.startsWith("---\n")) this.#at = 4;
    this.#toContent();
    if (this.#column !== 0) throw beyond;
    const value = this.#isFlow() ? this.#flow(-1, 0) : this.#block(0);
    if (this.#lineIsOpen) this.#endLine();
    if (!this.#isOver) throw beyond;
    return value;
  }

  // Lines

  /** A value was read, and the rest of its line not yet. */
  #lineIsOpen = false;
  get #isOver(): boolean {
    return this.#column === -1;
  }

  /** From the start of a line to the next content, over empty lines and comments. */
  #toContent(): void {
    const text = this.#text;
    for (;;) {
      this.#lineStart = this.#at;
      let at = this.#at;
      while (text.charCodeAt(at) === space) at++;
      this.#at = at;
      if (at >= text.length) {
        this.#column = -1;
        return;
      }
      const code = text.charCodeAt(at);
      if (code === hash) this.#at = this.#endOfLine();
      else if (code !== lineEnd) {
        this.#column = at - this.#lineStart;
        return;
      }
      this.#at++;
    }
  }
  #endOfLine(): number {
    const end = this.#text.indexOf("\n", this.#at);
    return end < 0 ? this.#text.length : end;
  }
  /** Behind a value stands nothing but a comment, after a space; then to the next content. */
  #endLine(behind = this.#at): void {
    this.#lineIsOpen = false;
    this.#skipSpaces();
    const code = this.#code;
    if (code === hash && this.#at > behind) this.#at = this.#endOfLine();
    else if (code !== lineEnd && this.#at < this.#text.length) throw beyond;
    this.#at++;
    this.#toContent();
  }
  #skipSpaces(): void {
    while (this.#text.charCodeAt(this.#at) === space) this.#at++;
  }
  get #code(): number {
    return this.#text.charCodeAt(this.#at);
  }
  #isFlow(): boolean {
    const code = this.#code;
    return code === openMap || code === openList;
  }
  /** A list's item begins here. */
  #isItem(): boolean {
    if (this.#code !== dash) return false;
    const next = this.#text.charCodeAt(this.#at + 1);
    return next === space || next === lineEnd;
  }

  // Blocks

  #block(depth: number): Plain {
    if (depth > deepest) throw beyond;
    return this.#isItem() ? this.#list(this.#column, depth) : this.#mapping(this.#column, depth);
  }
  #mapping(column: number, depth: number): Plain {
    const value: { [key: string]: Plain } = {};
    do {
      const key = this.#key();
      if (key in value) throw beyond; // twice, or a word that every object has
      value[key] = this.#value(column, depth, true);
    } while (this.#column === column);
    if (this.#column > column) throw beyond;
    return value;
  }
  #list(column: number, depth: number): Plain {
    const value: Plain[] = [];
    do {
      this.#at++;
      value.push(this.#value(column, depth, false));
    } while (this.#column === column && this.#isItem());
    if (this.#column > column) throw beyond;
    return value;
  }

  /** Of an entry whose key, or dash, stands at `column`; ends at the content of the next line. */
  #value(column: number, depth: number, ofKey: boolean): Plain {
    const behind = this.#at;
    this.#skipSpaces();
    const code = this.#code;
    if (code === lineEnd || code === hash || this.#at >= this.#text.length) {
      this.#endLine(behind);
      if (this.#column > column) return this.#block(depth + 1);
      return ofKey && this.#column === column && this.#isItem() ? this.#list(column, depth + 1) : null;
    }
    if (!ofKey && this.#keyHere()) {
      if (depth >= deepest) throw beyond;
      return this.#mapping(this.#at - this.#lineStart, depth + 1);
    }
    const value = this.#isFlow() ? this.#flow(column, depth + 1) : (this.#quoted() ?? this.#lineScalar());
    this.#endLine();
    if (this.#column > column) throw beyond; // goes on in the next line
    return value;
  }
  #lineScalar(): Plain {
    const text = this.#text;
    const start = this.#at;
    let at = start;
    for (const end = this.#endOfLine(); at < end; at++) {
      const code = text.charCodeAt(at);
      if (code === colon && (at + 1 === end || text.charCodeAt(at + 1) === space)) throw beyond;
      if (code === hash && text.charCodeAt(at - 1) === space) break;
    }
    return this.#scalar(start, at);
  }

  // Keys and scalars

  #keyHere(): boolean {
    plainKey.lastIndex = this.#at;
    return plainKey.test(this.#text);
  }
  /** Ends behind the colon. */
  #key(): string {
    const start = this.#at;
    const inQuotes = this.#quoted();
    if (inQuotes === undefined) {
      if (!this.#keyHere()) throw beyond;
      this.#at = plainKey.lastIndex;
    }
    const key = inQuotes ?? this.#text.slice(start, this.#at);
    if (this.#code !== colon || key === "" || key.length > 100) throw beyond;
    if (inQuotes === undefined && words.has(key)) throw beyond;
    this.#at++;
    const next = this.#code;
    if (next !== space && next !== lineEnd && this.#at < this.#text.length) throw beyond;
    return key;
  }
  #quoted(): string | undefined {
    quoted.lastIndex = this.#at;
    const found = quoted.exec(this.#text);
    if (found === null) return undefined;
    this.#at = quoted.lastIndex;
    return found[1] ?? found[2] ?? "";
  }
  #scalar(start: number, behind: number): Plain {
    const text = this.#text;
    let end = behind;
    while (text.charCodeAt(end - 1) === space) end--;
    this.#at = end;
    const source = text.slice(start, end);
    const first = source.charCodeAt(0);
    if (first === dash && negative.test(source)) return Number(source);
    if (!scalarStart.test(source.charAt(0))) throw beyond;
    if (first >= 48 && first <= 57) {
      if (decimal.test(source)) return Number(source);
      if (otherNumber.test(source)) throw beyond;
      return source;
    }
    return source.length <= 5 && words.has(source) ? (words.get(source) as Plain) : source;
  }

  // Flow

  /** Its lines must stand further in than the entry it belongs to. */
  #flow(column: number, depth: number): Plain {
    if (depth > deepest) throw beyond;
    const value: Plain = this.#code === openMap ? this.#flowMapping(column, depth) : this.#flowList(column, depth);
    this.#at++;
    this.#lineIsOpen = true;
    return value;
  }
  #flowMapping(column: number, depth: number): Plain {
    const value: { [key: string]: Plain } = {};
    this.#at++;
    for (;;) {
      this.#flowSpace(column);
      if (this.#code === closeMap) return value;
      const key = this.#key();
      if (key in value) throw beyond;
      this.#flowSpace(column);
      value[key] = this.#flowValue(column, depth);
      if (this.#isLast(column, closeMap)) return value;
    }
  }
  #flowList(column: number, depth: number): Plain {
    const value: Plain[] = [];
    this.#at++;
    for (;;) {
      this.#flowSpace(column);
      if (this.#code === closeList) return value;
      value.push(this.#flowValue(column, depth));
      if (this.#isLast(column, closeList)) return value;
    }
  }
  #flowValue(column: number, depth: number): Plain {
    if (this.#isFlow()) return this.#flow(column, depth + 1);
    return this.#quoted() ?? this.#flowScalar();
  }
  #isLast(column: number, close: number): boolean {
    this.#flowSpace(column);
    const code = this.#code;
    if (code === close) return true;
    if (code !== comma) throw beyond;
    this.#at++;
    return false;
  }
  #flowScalar(): Plain {
    const text = this.#text;
    const start = this.#at;
    let at = start;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === comma || code === closeMap || code === closeList || code === lineEnd) break;
      if (code === openMap || code === openList) throw beyond;
      if (code === hash && text.charCodeAt(at - 1) === space) break;
      if (code !== colon) continue;
      const next = text.charCodeAt(at + 1);
      if (next === space || next === lineEnd || isFlowSign(next)) throw beyond;
    }
    return this.#scalar(start, at);
  }
  #flowSpace(column: number): void {
    if (this.#code > hash) return;
    for (;;) {
      const before = this.#at;
      this.#skipSpaces();
      const code = this.#code;
      if (code === hash) {
        if (this.#at === before && before !== this.#lineStart) throw beyond;
        this.#at = this.#endOfLine();
      } else if (code !== lineEnd) return;
      this.#at++;
      this.#lineStart = this.#at;
      this.#skipSpaces();
      // An empty line or a comment may stand anywhere.
      const next = this.#code;
      if (next !== lineEnd && next !== hash && this.#at - this.#lineStart <= column) throw beyond;
    }
  }
}
