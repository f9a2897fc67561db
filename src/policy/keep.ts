import type { HostFacts } from "../model/facts.ts";
import { type Change, describe, isLasting, phaseOf } from "../plan/change.ts";
import { phases } from "../plan/kind.ts";
import type { Step } from "../plan/plan.ts";
import { NETPLAN_FILE } from "../plan/render/netplan.ts";
import { netdevPath, networkd, networkPath } from "../plan/render/networkd.ts";
import { profilePath, profileUuid } from "../plan/render/networkManager.ts";
import { HEADER, isPlainName, MODULES_FILE, type Rendered, type RenderedFile, text } from "../plan/render/render.ts";
import { SCRIPT, UNIT, UNIT_FILES, WANTED } from "../plan/render/systemd.ts";
import { render, SYSCTL_FILE } from "../plan/render/targets.ts";
import type { BootFacts, ManagedLink } from "./boot.ts";

/** How a host keeps what was applied over a reboot, in the order in which `auto` looks. */
export const keepers = ["netplan", "networkd", "networkmanager", "ifupdown", "systemd", "none"] as const;
export type Keeper = (typeof keepers)[number];

export interface KeepRequest {
  /** What a policy wants on this host. */
  readonly steps: readonly Step[];
  /** The host as if vipward had never been there. */
  readonly facts: HostFacts;
  /** Links whose wire must not see the VIPs. */
  readonly lan: readonly string[];
  readonly boot: BootFacts;
}

export interface KeeperChoice {
  readonly keeper: Keeper;
  /** Why this one and, for each other, why not. */
  readonly considered: readonly { readonly keeper: Keeper; readonly why: string }[];
}

/** A policy's changes in the order in which they must happen. */
export const inOrder = (steps: readonly Step[]): Step["change"][] =>
  [...steps].sort((a, b) => phases.indexOf(phaseOf(a.change)) - phases.indexOf(phaseOf(b.change))).map((s) => s.change);

/** Called by run-parts, so without a dot in its name. */
const HOOK = "/etc/network/if-up.d/vipward";
const nftPath = (folder: string): string => `${folder}/vipward.nft`;

/** networkd's file for a link where it is somebody else's. */
const othersFile =
  (boot: BootFacts) =>
  (link: string): string | undefined => {
    const managed = boot.managed[link];
    return managed?.by !== "networkd" || /vipward/.test(managed.profile) ? undefined : managed.profile;
  };

type Native = "netplan" | "networkd" | "networkmanager";
const natives: Readonly<Record<Native, (changes: readonly Change[], boot: BootFacts) => Rendered>> = {
  netplan: (changes) => render("netplan", changes, false),
  networkd: (changes, boot) => networkd(changes, othersFile(boot)),
  networkmanager: (changes) => render("networkmanager", changes, false),
};

/** A network manager's own files, with sysctl.d and modules-load.d beside them; what none of them can say is left. */
function nativeFiles(keeper: Native, changes: readonly Change[], boot: BootFacts): Rendered {
  const own = natives[keeper](changes, boot);
  const sysctl = render("sysctl", own.notCovered, false);
  const modules: RenderedFile[] = render("networkd", changes, false).files.filter((f) => f.path === MODULES_FILE);
  const nft =
    boot.nftFolder === undefined
      ? { files: [], notCovered: sysctl.notCovered }
      : render("nft", sysctl.notCovered, false);
  const nftFiles = nft.files.map((f) => ({ ...f, path: nftPath(boot.nftFolder ?? "") }));
  const files = [...own.files.filter((f) => f.path !== MODULES_FILE), ...modules, ...sysctl.files, ...nftFiles];
  return { files, notCovered: nft.notCovered.filter((c) => c.kind !== "module") };
}

/** ifupdown runs it after each interface that it brings up: the VIPs come with the last one that must be silent. */
const hook: RenderedFile = {
  path: HOOK,
  mode: 0o755,
  text: text(["#!/bin/sh", HEADER, `/bin/sh ${SCRIPT} || :`]),
};

function filesOf(keeper: Keeper, changes: readonly Change[], boot: BootFacts): readonly RenderedFile[] {
  if (keeper === "none" || changes.length === 0) return [];
  // The unit is there under every keeper, for a wrong guess: it makes what the host's own way did not.
  const unit = render("systemd", changes, false).files.filter(
    (f) => f.path !== UNIT || boot.systemd || keeper === "systemd",
  );
  if (keeper === "systemd") return unit;
  if (keeper === "ifupdown") return [...unit, hook];
  return [...nativeFiles(keeper, changes, boot).files, ...(boot.systemd ? unit : [])];
}

/** The files that make these steps again at boot, each under a vipward name. */
export function keepSteps(steps: readonly Step[], keeper: Keeper, boot: BootFacts): Step[] {
  const files = filesOf(keeper, inOrder(steps), boot);
  const made = files.map(
    (file): Step => ({
      change: { kind: "file", path: file.path, before: null, after: { text: file.text, mode: file.mode } },
      why: "makes it all again at boot, silence before the VIP",
      rules: [],
    }),
  );
  if (files.some((f) => f.path === UNIT))
    made.push({
      change: { kind: "file", path: WANTED, before: null, after: { linkTo: UNIT } },
      why: "enables the unit",
      rules: [],
    });
  return made;
}

/** Every path that keepSteps may write for these carriers, to be read before planning. */
export const keptPaths = (carriers: readonly string[], boot: BootFacts): string[] => [
  ...UNIT_FILES,
  HOOK,
  NETPLAN_FILE,
  SYSCTL_FILE,
  MODULES_FILE,
  ...(boot.nftFolder === undefined ? [] : [nftPath(boot.nftFolder)]),
  ...carriers
    .filter(isPlainName)
    .flatMap((link) => [networkPath(link, othersFile(boot)(link)), netdevPath(link), profilePath(link)]),
];

// The choice

const sentence: Readonly<Record<ManagedLink["by"], string>> = {
  networkd: "systemd-networkd",
  netplan: "netplan, by systemd-networkd",
  networkmanager: "NetworkManager",
  ifupdown: "ifupdown",
};
const heldBy = (link: string, m: ManagedLink): string => `${link} is brought up by ${sentence[m.by]} (${m.evidence})`;

/** networkd reads its own files also where netplan wrote the rest. */
const servedBy: Readonly<Record<string, readonly ManagedLink["by"][]>> = { networkd: ["networkd", "netplan"] };

/** Why the managers that are at work here do not speak for this keeper. */
function notAtWork(keeper: Native | "ifupdown", r: KeepRequest): string | undefined {
  if (keeper === "ifupdown" && !r.boot.ifupdown) return "it is not installed (no /etc/network)";
  const by = servedBy[keeper] ?? [keeper];
  for (const link of r.lan) {
    const managed = r.boot.managed[link];
    if (managed === undefined) {
      // Nobody else is here to run anything at boot.
      if (keeper === "ifupdown" && !r.boot.systemd) continue;
      return `nothing shows that it brings up ${link}`;
    }
    if (!by.includes(managed.by)) return heldBy(link, managed);
  }
  return r.lan.length === 0 ? "no interface with ARP is up, so there is none that it could be found by" : undefined;
}

/** Why a manager's own files cannot hold this plan without a leak or harm; whoever asked for it. */
function cannotSay(keeper: Native, r: KeepRequest): string | undefined {
  const changes = inOrder(r.steps);
  const [left] = nativeFiles(keeper, changes, r.boot).notCovered.filter((c) => !isLasting(c));
  if (left !== undefined) return `its files cannot say: ${describe(left)}`;
  if (!changes.some((c) => c.kind === "address" || c.kind === "route")) return "it has no VIP to hold here";
  const late = r.lan.find((name) => {
    const kind = r.facts.links.find((l) => l.name === name)?.kind;
    return kind !== undefined && kind !== "veth" && !r.boot.udev;
  });
  if (late !== undefined) return `${late} is made at boot, and without udev nothing silences it as it appears`;
  return keeper === "networkd" ? undefined : ownsAll(keeper, changes, r);
}

/** NetworkManager and netplan's networkd hold a carrier alone: addresses that others put there would go. */
function ownsAll(keeper: Native, changes: readonly Change[], r: KeepRequest): string | undefined {
  const vips = new Set(changes.flatMap((c) => (c.kind === "address" ? [`${c.link} ${c.ip}`] : [])));
  const carriers = new Set(changes.flatMap((c) => (c.kind === "address" ? [c.link] : [])));
  const other = r.facts.addresses.find(
    (a) => carriers.has(a.link) && !a.ip.startsWith("127.") && !vips.has(`${a.link} ${a.ip}`),
  );
  if (other !== undefined) return `it would take ${other.ip} from ${other.link}, which it does not know of`;
  for (const link of carriers) {
    const managed = r.boot.managed[link];
    if (keeper !== "networkmanager" || managed?.by !== "networkmanager") continue;
    if (managed.profile !== profileUuid(link)) return `another profile holds ${link} (${managed.evidence})`;
  }
  return undefined;
}

/** Why the boot script itself cannot be written. */
function scriptCannotSay(r: KeepRequest): string | undefined {
  const [left] = render("systemd", inOrder(r.steps), false).notCovered.filter((c) => !isLasting(c));
  return left === undefined ? undefined : `no script can say: ${describe(left)}`;
}

/** Why not; undefined: it can. `asked`: a person named it, so who is at work here does not matter. */
export function againstKeeper(keeper: Keeper, r: KeepRequest, asked: boolean): string | undefined {
  if (keeper === "none") return undefined;
  if (!asked && !r.boot.boots) return "this network namespace is not the machine's first, so no boot makes it";
  if (keeper === "systemd") return !asked && !r.boot.systemd ? "systemd does not run here" : scriptCannotSay(r);
  const away = asked ? undefined : notAtWork(keeper, r);
  return away ?? (keeper === "ifupdown" ? scriptCannotSay(r) : (cannotSay(keeper, r) ?? scriptCannotSay(r)));
}

function whyChosen(keeper: Keeper, { boot, lan }: KeepRequest): string {
  const held = lan.flatMap((link) => (boot.managed[link] === undefined ? [] : [heldBy(link, boot.managed[link])]));
  switch (keeper) {
    case "none":
      return "nothing here runs at boot what vipward could write: the next boot comes up without the VIPs";
    case "systemd":
      return "a unit makes all of it early at boot, and no VIP without its silence, whoever brings the network up";
    case "ifupdown":
      return held[0] ?? "ifupdown is here, and systemd does not run";
    default:
      return `${held[0]}${boot.systemd ? "; a unit behind it makes what it did not" : ""}`;
  }
}

/** The host's own way where facts show it and it can say the plan without a leak; else the unit; else nothing. */
export function chooseKeeper(request: KeepRequest): KeeperChoice {
  const considered: { keeper: Keeper; why: string }[] = [];
  let keeper: Keeper = "none";
  for (const candidate of keepers) {
    const why = againstKeeper(candidate, request, false);
    if (why !== undefined) {
      considered.push({ keeper: candidate, why });
      continue;
    }
    keeper = candidate;
    considered.push({ keeper: candidate, why: whyChosen(candidate, request) });
    break;
  }
  return { keeper, considered };
}
