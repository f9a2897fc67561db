import type { Io } from "../io.ts";

/** A paragraph in lines of at most `columns`, each with `indent`, ending in a line break. Long words stay whole. */
export function wrap(text: string, indent: string, columns: number): string {
  const width = Math.max(40, Math.min(columns, 100)) - indent.length;
  let out = "";
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      out += `${indent}${line}\n`;
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return `${out}${indent}${line}\n`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours take no room on the line
const colours = /\x1b\[[0-9;]*m/g;
const widthOf = (text: string): number => text.replace(colours, "").length;

/** Where a line's last column begins, in its left half or so: what goes on below it stands there. */
function columnOf(line: string, columns: number): number {
  const plain = line.replace(colours, "");
  const starts = [...plain.matchAll(/(?<=^ *| {2})(?=\S)/g)].map((m) => m.index);
  return starts.findLast((at) => at <= columns * 0.6) ?? 0;
}

/** Lines that a terminal of so many columns would break anywhere, broken between words and below their last column. */
export function fold(text: string, columns: number): string {
  return text
    .split("\n")
    .map((line) => {
      if (widthOf(line) <= columns) return line;
      const indent = " ".repeat(columnOf(line, columns));
      const [head = "", ...words] = line.trimEnd().split(/(?<=\S) (?=\S)/);
      const lines = [head];
      for (const word of words) {
        const last = lines.at(-1) ?? "";
        if (widthOf(last) + 1 + widthOf(word) <= columns) lines[lines.length - 1] = `${last} ${word}`;
        else lines.push(`${indent}${word}`);
      }
      return lines.join("\n");
    })
    .join("\n");
}

/** Text for standard output: folded where that is a terminal, as it is where a program reads it. */
export const forReader = (io: Pick<Io, "isTerminal" | "columns">, text: string): string =>
  io.isTerminal ? fold(text, io.columns) : text;
