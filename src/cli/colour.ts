const codes = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;

export type Paint = { readonly [name in keyof typeof codes]: (text: string) => string };

/** Functions that colour text, or leave it as it is where colour is not welcome. */
export function paint(colour: boolean): Paint {
  const entries = Object.entries(codes).map(([name, [on, off]]) => [
    name,
    colour ? (text: string) => `\x1b[${on}m${text}\x1b[${off}m` : (text: string) => text,
  ]);
  return Object.fromEntries(entries) as Paint;
}
