/** What a scheduler promises about the spread of connections, and whether counts keep the promise. */

/**
 * even: turns, so counts differ by one at most; weighted: turns by weight; share: a hash, so shares by weight within
 * four standard deviations; some: by load, so each is served something; any: affinity, no promise about spread.
 */
type Promise = "even" | "weighted" | "share" | "some" | "any";

const promises: Readonly<Record<string, Promise>> = {
  hash: "share",
  rr: "even",
  wrr: "weighted",
  lc: "some",
  wlc: "some",
  // both look at established connections only, so a burst of handshakes lands on one real server
  sed: "any",
  nq: "any",
  sh: "any",
  dh: "any",
  mh: "any",
  lblc: "any",
  lblcr: "any",
  fo: "any",
  ovf: "any",
};

export interface Spread {
  readonly expected: string;
  readonly held: boolean;
}

/** How an engine really chooses: nft hashes, whatever scheduler the file asks for. */
export const choiceOf = (engine: string, scheduler: string): string => (engine === "nft" ? "hash" : scheduler);

/** `served` by name; `weights` names every real server of the service. */
export function judgeSpread(
  scheduler: string,
  weights: Readonly<Record<string, number>>,
  served: Readonly<Record<string, number>>,
): Spread {
  const names = Object.keys(weights).filter((name) => (weights[name] ?? 0) > 0);
  const count = (name: string): number => served[name] ?? 0;
  const total = Object.values(served).reduce((sum, n) => sum + n, 0);
  const weightSum = names.reduce((sum, name) => sum + (weights[name] ?? 0), 0);
  const fair = (name: string): number => (total * (weights[name] ?? 0)) / weightSum;
  const stranger = Object.keys(served).find((name) => !names.includes(name));
  if (stranger !== undefined) return { expected: "served by the service's real servers only", held: false };
  switch (promises[scheduler] ?? "any") {
    case "even":
      return {
        expected: `${scheduler}: counts differ by one at most`,
        held: total > 0 && Math.max(...names.map(count)) - Math.min(...names.map(count)) <= 1,
      };
    case "weighted":
      return {
        expected: `${scheduler}: in proportion to the weights, within one round`,
        held: total > 0 && names.every((name) => Math.abs(count(name) - fair(name)) <= Math.max(1, weights[name] ?? 0)),
      };
    case "share":
      return {
        expected: "hash: shares by weight, within four standard deviations",
        held:
          total > 0 &&
          names.every((name) => {
            const p = (weights[name] ?? 0) / weightSum;
            return Math.abs(count(name) - fair(name)) <= 4 * Math.sqrt(total * p * (1 - p)) + 1;
          }),
      };
    case "some":
      return { expected: `${scheduler}: each real server serves`, held: names.every((name) => count(name) > 0) };
    default:
      return { expected: `${scheduler}: served, no promise about the spread`, held: total > 0 };
  }
}
