import { parseIpv4 } from "../base/ipv4.ts";
import { alike } from "../plan/alike.ts";
import { effect } from "../plan/change.ts";
import { FAR_CLIENT } from "../plan/lan.ts";
import type { Step } from "../plan/plan.ts";
import { carrierName, carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

function steps(s: Situation): Step[] {
  const name = carrierName(s);
  const found = s.facts.links.find((l) => l.name === name);
  const made = [...carrierSteps(s), ...tunnelReception(s, s.wish.carrier === "tunl0")];
  // dummy and tunl0 are born without ARP; only lo and a changed dummy need the flag.
  const flag: Step[] =
    found === undefined || found.flags.includes("NOARP")
      ? []
      : [
          {
            change: {
              kind: "link",
              name,
              before: { type: found.kind ?? null, up: true, noarp: false },
              after: { type: found.kind ?? null, up: true, noarp: true },
            },
            why: "the carrier without ARP",
            rules: ["A-2.0-03"],
          },
        ];
  const others = made.filter((m) => flag.length === 0 || m.change.kind !== "link" || m.change.name !== name);
  return [...others, ...flag, ...vipSteps(s)];
}

export const noarpCarrier: Policy = {
  name: "noarp-carrier",
  summary: "the VIPs on a device without ARP (ifconfig ... -arp), where the model says that this is enough",
  where: "2.0; from 2.2 on only the receiving interface's flag counts",
  suits: (s) => {
    const [problem] = vipProblems(s, true);
    if (problem !== undefined) return no(problem);
    const after = effect(s.world, inOrder(steps(s)));
    const { asked: some, thin } = alike([after.facts], s.wish.vips);
    const view = s.kernel(thin(after.facts));
    for (const link of s.lan)
      for (const vip of some) {
        const target = parseIpv4(vip);
        const sender = link.neighbours[0]?.ip ?? FAR_CLIENT;
        if (target === undefined) continue;
        const a = view.answers({ link: link.name, sender, target, unicast: false });
        if (a.yes)
          return no(
            `${link.name} would still answer for ${vip}: only the flag of the receiving interface counts, not the ` +
              `carrier's (A-2.2-06; decided by ${a.rule})`,
          );
        const asked = link.neighbours[0] && view.announces({ link: link.name, source: target, target: sender });
        if (asked?.sender === target)
          return no(`${link.name} would still send ${vip} as the sender of its own requests (${asked.rule})`);
      }
    return yes(45, ...tunnelNotes(s));
  },
  steps,
};

/** Addresses after what they stand on. */
const inOrder = (list: readonly Step[]) => [
  ...list.filter((x) => x.change.kind !== "address").map((x) => x.change),
  ...list.filter((x) => x.change.kind === "address").map((x) => x.change),
];
