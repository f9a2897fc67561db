/** Paths of the shared libraries in the answer of ldd(1), the loader included, each once. Pure. */
export function parseLdd(text: string): { readonly found: string[]; readonly missing: string[] } {
  const found = new Set<string>();
  const missing = new Set<string>();
  for (const line of text.split("\n")) {
    const lost = /^\s+(\S+) => not found/.exec(line);
    if (lost?.[1] !== undefined) missing.add(lost[1]);
    const path = /^\s+(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)/.exec(line);
    if (path?.[1] !== undefined) found.add(path[1]);
  }
  return { found: [...found], missing: [...missing] };
}
