export const anyPort = { first: 1, last: 65_535 } as const;
export const isAnyPort = ({ first, last }: { readonly first: number; readonly last: number }): boolean =>
  first <= anyPort.first && last >= anyPort.last;
