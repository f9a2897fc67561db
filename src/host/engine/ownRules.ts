/** The nft tables that are ours beside IPVS: made, and looked after. */
import type { OwnRules, TableEngine } from "../../ports/engine.ts";
import { HostError } from "../errors.ts";
import { type Namespace, runIn } from "../namespace.ts";
import { gateTable, setGate } from "./gate.ts";
import { markPackets, marksTable } from "./marks.ts";
import { tableAsItStands } from "./ownTable.ts";

const names: Readonly<Record<OwnRules, string>> = { marks: marksTable, gate: gateTable };

/** `namespace`: the calling thread's own when absent. */
export function ownRules(namespace: Namespace | undefined): Pick<TableEngine, "mark" | "gate" | "lost"> {
  /** As they stood when they were made; those that are not wanted are not here. */
  const made = new Map<OwnRules, string | undefined>();
  const nowOf = (what: OwnRules): string | undefined => runIn(namespace, () => tableAsItStands(names[what]));
  const make = (what: OwnRules, isWanted: boolean, action: () => void): string | undefined => {
    made.delete(what);
    try {
      action();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return `${error.message}; ${error.remedy}`;
    }
    if (isWanted) made.set(what, nowOf(what));
    return undefined;
  };
  return {
    mark: (rules) => make("marks", rules.length > 0, () => markPackets(rules, namespace)),
    gate: (wish) => make("gate", wish.closed.length + wish.peers.length > 0, () => setGate(wish, namespace)),
    // What cannot be looked at counts as lost: whoever makes it again hears why.
    lost: () =>
      [...made].flatMap(([what, before]) => {
        const now = nowOf(what);
        return now === undefined || now !== before ? [what] : [];
      }),
  };
}
