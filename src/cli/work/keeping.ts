/** What makes a plan's work again at boot: read who boots this host, choose, and say why. */
import { parseIpv4 } from "../../base/ipv4.ts";
import { HostError } from "../../host/errors.ts";
import { readBootFacts } from "../../host/perform/bootFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { lanLinks } from "../../plan/lan.ts";
import type { Step } from "../../plan/plan.ts";
import { nothingKnown } from "../../policy/boot.ts";
import {
  againstKeeper,
  chooseKeeper,
  type Keeper,
  type KeeperChoice,
  type KeepRequest,
  keepers,
  keepSteps,
  keptPaths,
} from "../../policy/keep.ts";
import type { Wish } from "../../policy/wish.ts";

export interface KeepOptions {
  readonly keep?: string;
  readonly root?: string;
  /** Another host's facts: nothing of it can be kept from here. */
  readonly facts?: string;
}

export interface Keeping {
  /** Files to be read before planning. */
  readonly paths: readonly string[];
  /** `base`: the host as if vipward had never been there. */
  keep(steps: readonly Step[], base: HostFacts): KeeperChoice & { readonly steps: readonly Step[] };
}

const usage = (message: string, remedy: string): HostError => new HostError("silence/usage", message, { remedy });

function asked(o: KeepOptions): Keeper | undefined {
  if (o.facts !== undefined) return "none";
  if (o.keep === undefined || o.keep === "auto") return undefined;
  const keeper = keepers.find((k) => k === o.keep);
  if (keeper === undefined) throw usage(`--keep ${o.keep} is not known`, `use auto, ${keepers.join(", ")}`);
  return keeper;
}

export function keepingOf(o: KeepOptions, facts: HostFacts, wish: Wish): Keeping {
  const wanted = asked(o);
  const boot = o.facts === undefined ? readBootFacts(facts.links, o.root) : nothingKnown;
  const vips = new Set(wish.vips.flatMap((v) => parseIpv4(v) ?? []));
  return {
    paths: keptPaths(["lo", "tunl0", wish.carrierName ?? "dummy0"], boot),
    keep: (steps, base) => {
      const lan = lanLinks(base, vips, wish.lanLinks).map((l) => l.name);
      const request: KeepRequest = { steps, facts: base, lan, boot };
      const choice = wanted === undefined ? chooseKeeper(request) : demanded(wanted, request);
      return { ...choice, steps: keepSteps(steps, choice.keeper, boot) };
    },
  };
}

/** A person's word goes before what the facts show, but not before what would leak. */
function demanded(keeper: Keeper, request: KeepRequest): KeeperChoice {
  const why = againstKeeper(keeper, request, true);
  if (why !== undefined)
    throw usage(`--keep ${keeper} cannot keep this: ${why}`, "use --keep systemd, or leave the choice to --keep auto");
  return { keeper, considered: [{ keeper, why: "asked for with --keep" }] };
}

/** For people: which, and why not the others. */
export const keepText = ({ keeper, considered }: KeeperChoice): string =>
  [
    keeper === "none" ? "not kept over a reboot" : `kept over a reboot by ${keeper}`,
    ...considered.map((c) => `  ${c.keeper === keeper ? "" : "not "}${c.keeper}: ${c.why}`),
  ].join("\n");
