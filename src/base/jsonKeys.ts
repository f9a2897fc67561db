/** A place in JSON text: names and indexes from the outside in. */
export type JsonPath = readonly (string | number)[];

interface Level {
  /** Names seen so far; undefined in a list. */
  readonly names: Set<string> | undefined;
  place: string | number;
}

/** Just behind the text that begins at the quote `at`. */
function endOfText(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
}

/**
 * Names that stand twice in one object of `text`, which is known to be JSON. JSON.parse takes the last of them without a
 * word, and whoever reads the file may have meant the first. One pass over the characters: files have megabytes.
 */
export function repeatedNames(text: string, most = 100): JsonPath[] {
  const found: JsonPath[] = [];
  const levels: Level[] = [];
  let level: Level | undefined;
  let from = 0; // where the last text begins
  let to = 0;
  for (let i = 0; i < text.length && found.length < most; i++)
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        from = i;
        to = endOfText(text, i);
        i = to - 1;
        break;
      case 0x7b: // {
      case 0x5b: // [
        level = text[i] === "{" ? { names: new Set(), place: "" } : { names: undefined, place: 0 };
        levels.push(level);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        levels.pop();
        level = levels.at(-1);
        break;
      case 0x2c: // ,
        if (level && typeof level.place === "number") level.place++;
        break;
      case 0x3a: // :
        if (level?.names) {
          const plain = text.slice(from + 1, to - 1);
          const name = plain.includes("\\") ? (JSON.parse(`"${plain}"`) as string) : plain;
          level.place = name;
          if (level.names.has(name)) found.push(levels.map((l) => l.place));
          level.names.add(name);
        }
        break;
    }
  return found;
}
