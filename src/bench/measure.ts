/** What a measurement reports. Machines differ and are noisy: the ratio to the peer in the same run is what counts. */
export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer?: { readonly name: string; readonly value: number };
  /** Ours over the peer's, or the peer's over ours where less is better: above 1 is better than the peer. */
  readonly ratio?: number;
  /** The physical limit seen in the same run, in the same unit, and what it is. */
  readonly limit?: { readonly name: string; readonly value: number };
  readonly note?: string;
}

export interface Bench {
  readonly name: string;
  readonly title: string;
  run(say: (text: string) => void): Promise<Row[]>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export const nowMs = (): number => performance.now();

/** Runs both by turns, so that a slow moment of the machine hits both; the medians of each. */
export async function byTurns(
  rounds: number,
  ours: () => Promise<number> | number,
  peer: () => Promise<number> | number,
): Promise<{ readonly ours: number; readonly peer: number }> {
  const mine: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    mine.push(await ours());
    theirs.push(await peer());
  }
  return { ours: median(mine), peer: median(theirs) };
}

/** More is better. */
export const rateRow = (
  what: string,
  unit: string,
  { ours, peer }: { readonly ours: number; readonly peer: number },
  peerName: string,
  more: Partial<Row> = {},
): Row => ({ what, unit, ours, peer: { name: peerName, value: peer }, ratio: ours / peer, ...more });

/** Less is better. */
export const timeRow = (
  what: string,
  unit: string,
  { ours, peer }: { readonly ours: number; readonly peer: number },
  peerName: string,
  more: Partial<Row> = {},
): Row => ({ what, unit, ours, peer: { name: peerName, value: peer }, ratio: peer / ours, ...more });
