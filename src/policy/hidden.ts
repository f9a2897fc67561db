import { speaksArp } from "../plan/lan.ts";
import { carrierName, vipProblems } from "./carrier.ts";
import { carrierFlagSteps } from "./carrierFlag.ts";
import { no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes } from "./tunnel.ts";

/** Links whose own flag is set but sleeps while conf/all has none: they would be hidden, too. */
const sleeping = (s: Situation): string[] =>
  (s.facts.sysctls["all.hidden"] ?? 0) !== 0
    ? []
    : s.facts.links
        .map((l) => l.name)
        .filter((name) => name !== carrierName(s) && (s.facts.sysctls[`${name}.hidden`] ?? 0) !== 0);

export const hidden: Policy = {
  name: "hidden",
  summary: "conf/all/hidden and conf/CARRIER/hidden",
  where: "2.2.14 and later of the 2.2 line; later kernels that carry the patch",
  suits: (s) => {
    if (!s.switches.hiddenFlag)
      return no(`kernel ${s.facts.kernel.release} has no hidden flag (2.2.14 to 2.2.26, or the patch)`);
    const [problem] = vipProblems(s, true);
    if (problem !== undefined) return no(problem);
    const carrier = s.facts.links.find((l) => l.name === carrierName(s));
    if (carrier !== undefined && speaksArp(carrier, s.facts)) {
      const others = s.facts.addresses.filter((a) => a.link === carrier.name && !s.wish.vips.includes(a.ip));
      if (others.length > 0)
        return no(
          `hidden belongs to the device: it would take ${others.map((a) => a.ip).join(", ")} of ${carrier.name} out of ` +
            "ARP as well (A-2.2h-07), and requests heard on that device are answered all the same (A-2.2h-05)",
        );
    }
    const woken = sleeping(s);
    if (woken.length > 0)
      return no(
        `${woken.join(", ")} has its own hidden flag set, which conf/all/hidden would wake (A-2.2h-01): clear it first`,
      );
    return yes(
      15,
      "requests in unicast frames are still answered (A-2.2h-04): on a host that held the VIP before, flush the " +
        "neighbour entries of routers and clients",
      ...tunnelNotes(s),
    );
  },
  steps: (s) => carrierFlagSteps(s, "hidden", ["A-2.2h-01", "A-2.2h-03", "B-2.2h-01"]),
};
