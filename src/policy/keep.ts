import { phaseOf } from "../plan/change.ts";
import { phases } from "../plan/kind.ts";
import type { Step } from "../plan/plan.ts";
import { render } from "../plan/render/targets.ts";

/** How a host keeps what was applied over a reboot. */
export const keepers = ["systemd", "ifupdown", "none"] as const;
export type Keeper = (typeof keepers)[number];

/** A policy's changes in the order in which they must happen. */
export const inOrder = (steps: readonly Step[]): Step["change"][] =>
  [...steps].sort((a, b) => phases.indexOf(phaseOf(a.change)) - phases.indexOf(phaseOf(b.change))).map((s) => s.change);

const WANTED = "/etc/systemd/system/multi-user.target.wants/vipward.service";

/** The files that make these steps again at boot, each under a vipward name. */
export function keepSteps(steps: readonly Step[], keeper: Keeper): Step[] {
  if (keeper === "none" || steps.length === 0) return [];
  const { files } = render(keeper, inOrder(steps), false);
  const made = files.map(
    ({ path, text, mode }): Step => ({
      change: { kind: "file", path, before: null, after: { text, mode } },
      why: "makes it all again at boot, silence before the VIP",
      rules: [],
    }),
  );
  if (keeper === "systemd")
    made.push({
      change: { kind: "file", path: WANTED, before: null, after: { linkTo: "/etc/systemd/system/vipward.service" } },
      why: "enables the unit",
      rules: [],
    });
  return made;
}

/** Every path that keepSteps may write, to be read before planning. */
export const keptPaths: readonly string[] = [
  "/etc/vipward/boot.sh",
  "/etc/systemd/system/vipward.service",
  WANTED,
  "/etc/network/interfaces.d/vipward",
  "/etc/modules-load.d/vipward.conf",
];
