import type { Change } from "../change.ts";
import { linkOfSysctl } from "../host.ts";
import { sysctlPath } from "../kinds/sysctl.ts";
import { ruleArguments } from "../ruleArguments.ts";
import { ansible } from "./ansible.ts";
import { ifupdown } from "./ifupdown.ts";
import { netplan } from "./netplan.ts";
import { networkd } from "./networkd.ts";
import { networkmanager } from "./networkManager.ts";
import { nftCanSay, nftText } from "./nftText.ts";
import { forBoot, isPlainName, type Of, one, type Rendered, type Renderer, type Table, through } from "./render.ts";
import { line, shell } from "./shell.ts";
import { systemd } from "./systemd.ts";

/** Behind /etc/sysctl.conf, which Debian reads as 99-sysctl.conf: the last file that names a value wins. */
export const SYSCTL_FILE = "/etc/sysctl.d/99-vipward.conf";

/** sysctl(8) keeps slashes where the first separator is one, so interface names may hold dots; "=" and patterns not. */
const sysctl: Renderer = (changes) => {
  const table: Table = {
    sysctl: (c) => {
      const link = linkOfSysctl(c.name);
      if (link !== undefined && !isPlainName(link)) return undefined;
      return [`${sysctlPath(c.name).join("/")} = ${c.after ?? 0}`];
    },
  };
  const { lines, notCovered } = through(table, forBoot(changes));
  return { files: one(SYSCTL_FILE, lines), notCovered };
};

const nft: Renderer = (changes) => {
  const table: Table = {
    nftTable: (c) => (nftCanSay(c.after) ? [nftText(c.family, c.table, c.after)] : undefined),
  };
  const { lines, notCovered } = through(table, forBoot(changes));
  return { files: one("/etc/nftables.d/vipward.nft", lines), notCovered };
};

const rules =
  (tool: "iptables" | "arptables"): Renderer =>
  (changes) => {
    const table: Table = {
      [tool]: (c: Of<typeof tool>) => [line(tool, "-t", c.table, "-A", c.chain, ...ruleArguments(tool, c.rule))],
    };
    const { lines, notCovered } = through(table, forBoot(changes));
    return { files: one("", lines), notCovered };
  };

/** `vipward render --to NAME`. To add one: its file, and a row. */
export const renderers = {
  sysctl,
  networkd: (changes) => networkd(changes),
  netplan,
  ifupdown,
  networkmanager,
  nft,
  arptables: rules("arptables"),
  iptables: rules("iptables"),
  shell,
  ansible,
  systemd,
} as const satisfies Record<string, Renderer>;

export type Target = keyof typeof renderers;
export const targets = Object.keys(renderers) as Target[];
export const render = (target: Target, changes: readonly Change[], old: boolean): Rendered =>
  renderers[target](changes, old);
