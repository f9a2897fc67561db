/** A kernel as a cluster file names it ("2.2.14", "2.4.20+hidden", "2.2.13+arp_invisible"), as facts. */
import type { KernelFacts, PatchFacts } from "../../model/facts.ts";
import { generationOf, parseRelease } from "../../model/generation.ts";

/** What a host runs of which nobody says anything. */
export const defaultKernel = "6.18.0";

const patches: readonly (readonly [word: string, name: PatchFacts["name"]])[] = [
  ["hidden", "hidden"],
  ["arp_invisible", "arp_invisible"],
  ["fullarpfix", "fullarpfix"],
  ["sdw", "fullarpfix"],
];

export function kernelOf(text: string): KernelFacts {
  const found = patches.filter(([word]) => text.includes(word)).map(([, name]) => ({ name, how: "told" as const }));
  const names = found.map((p) => p.name);
  return {
    release: text,
    generation: generationOf(parseRelease(text) ?? [], names),
    ...(found.length === 0 ? {} : { patches: found }),
  };
}
