import { type Change, isLasting, phaseOf } from "../plan/change.ts";
import { phases } from "../plan/kind.ts";
import type { Step } from "../plan/plan.ts";
import { HEADER, type RenderedFile, text } from "../plan/render/render.ts";
import { render } from "../plan/render/targets.ts";

/** How a host keeps what was applied over a reboot. */
export const keepers = ["systemd", "ifupdown", "none"] as const;
export type Keeper = (typeof keepers)[number];

/** A policy's changes in the order in which they must happen. */
export const inOrder = (steps: readonly Step[]): Step["change"][] =>
  [...steps].sort((a, b) => phases.indexOf(phaseOf(a.change)) - phases.indexOf(phaseOf(b.change))).map((s) => s.change);

const SCRIPT = "/etc/vipward/boot.sh";
const WANTED = "/etc/systemd/system/multi-user.target.wants/vipward.service";

/** ifupdown has no words for filters: then its stanza runs the script that says all, silence before the VIP. */
function bootFiles(changes: readonly Change[], keeper: "systemd" | "ifupdown"): readonly RenderedFile[] {
  const { files, notCovered } = render(keeper, changes, false);
  const lasting = notCovered.filter((c) => !isLasting(c));
  if (keeper === "systemd" || lasting.length === 0) return files;
  const script = render("systemd", changes, false).files.filter((f) => f.path === SCRIPT);
  const lines = [HEADER, "iface lo inet loopback", `    up /bin/sh ${SCRIPT}`];
  return [...script, { path: "/etc/network/interfaces.d/vipward", text: text(lines), mode: 0o644 }];
}

/** The files that make these steps again at boot, each under a vipward name. */
export function keepSteps(steps: readonly Step[], keeper: Keeper): Step[] {
  if (keeper === "none" || steps.length === 0) return [];
  const made = bootFiles(inOrder(steps), keeper).map(
    (file): Step => ({
      change: { kind: "file", path: file.path, before: null, after: { text: file.text, mode: file.mode } },
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
  SCRIPT,
  "/etc/systemd/system/vipward.service",
  WANTED,
  "/etc/network/interfaces.d/vipward",
  "/etc/modules-load.d/vipward.conf",
];
