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
