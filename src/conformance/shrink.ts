/** Makes a difference small: leaves out questions, parts and links while the kernel and the model still disagree. */
import type { Difference } from "./exam.ts";
import { type Case, runCase } from "./group.ts";
import type { Part, Question } from "./plan.ts";

export interface Shrunk {
  readonly case: Case;
  readonly difference: Difference;
  readonly facts: import("../model/facts.ts").HostFacts;
  readonly runs: number;
}

const mostRuns = 250;

/** undefined: it did not happen again on a fresh stage. */
export function shrink(c: Case, wanted: Difference, name: string, run = runCase): Shrunk | undefined {
  let runs = 0;
  const fails = (tried: Case): Omit<Shrunk, "runs"> | undefined => {
    if (runs >= mostRuns) return undefined;
    runs++;
    try {
      const examined = run(tried, name);
      const difference = examined.differences.find((d) => d.what === wanted.what && d.n === wanted.n);
      return difference && { case: tried, difference, facts: examined.facts };
    } catch {
      return undefined; // a case that cannot be built is none
    }
  };
  let best = fails(c) ?? fails(c);
  if (best === undefined) return undefined;
  const better = (tried: Case): boolean => {
    const found = fails(tried);
    if (found !== undefined) best = found;
    return found !== undefined;
  };
  const current = (): Case => (best as Omit<Shrunk, "runs">).case;
  thin(
    () => current().questions,
    (questions) => questions.some((q) => q.n === wanted.n) && better({ ...current(), questions }),
  );
  thin(
    () => current().plan.parts,
    (parts) => better({ ...current(), plan: { parts } }),
  );
  thin(
    () => current().topology.links,
    (links) => {
      const names = new Set(["lo", ...links.map((l) => l.name)]);
      if (links.some((l) => l.over !== undefined && !names.has(l.over))) return false;
      const { topology, plan, questions } = current();
      const parts = plan.parts.filter((p) => linksOf(p).every((l) => names.has(l)));
      const left = questions.filter((q: Question) => names.has(q.link));
      return (
        left.some((q) => q.n === wanted.n) &&
        better({ topology: { ...topology, links }, plan: { parts }, questions: left })
      );
    },
  );
  return { ...(best as Omit<Shrunk, "runs">), runs };
}

function linksOf(p: Part): string[] {
  switch (p.part) {
    case "sysctl": {
      const scope = p.key.replace(/^neigh\./, "").replace(/\.[^.]*$/, "");
      return scope === "all" ? [] : [scope];
    }
    case "route":
      return [...(p.link === undefined ? [] : [p.link]), ...(p.hops ?? []).map((h) => h.link)];
    case "rule":
      return p.inputLink === undefined ? [] : [p.inputLink];
    case "nft":
      return [];
    default:
      return [p.link];
  }
}

/** Leaves out halves, quarters, then single ones, as long as `accepts` says that what is left will do. */
function thin<T>(items: () => readonly T[], accepts: (left: readonly T[]) => boolean): void {
  for (let size = Math.ceil(items().length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let from = 0; from < items().length; ) {
      const all = items();
      if (!accepts([...all.slice(0, from), ...all.slice(from + size)])) from += size;
    }
}
