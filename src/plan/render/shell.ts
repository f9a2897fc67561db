import type { Change } from "../change.ts";
import { linkOfSysctl } from "../host.ts";
import { sysctlPath } from "../kinds/sysctl.ts";
import { ruleArguments } from "../ruleArguments.ts";
import { nftCanSay, nftText } from "./nftText.ts";
import { forBoot, HEADER, type Renderer, type Table, text, through } from "./render.ts";

/** One word for sh: quoted unless it needs none. */
export const word = (w: string): string => (/^[\w@%+=:,./!-]+$/.test(w) ? w : `'${w.replaceAll("'", `'\\''`)}'`);
export const line = (...words: readonly string[]): string => words.map(word).join(" ");

const sysctl: Table["sysctl"] = (c) => [`echo ${c.after ?? 0} > ${word(`/proc/sys/${sysctlPath(c.name).join("/")}`)}`];
const rule: Table["iptables"] & Table["arptables"] & Table["ipchains"] = (
  c: Extract<Change, { kind: "iptables" | "arptables" | "ipchains" }>,
) => {
  const spec = ruleArguments(c.kind, c.rule);
  if (c.kind === "ipchains") return [line("ipchains", c.after ? "-A" : "-D", c.chain, ...spec)];
  const at = (verb: string): string => line(c.kind, "-t", c.table, verb, c.chain, ...spec);
  return [c.after ? `${at("-C")} 2>/dev/null || ${at("-A")}` : at("-D")];
};

/** Each line may be run again without harm. */
const modern: Table = {
  sysctl,
  iptables: rule,
  arptables: rule,
  module: (c) => [
    c.after
      ? line("modprobe", c.name, ...(c.name === "dummy" ? ["numdummies=0"] : []))
      : line("modprobe", "-r", c.name),
  ],
  link: (c) => {
    if (c.after === null) return [line("ip", "link", "delete", "dev", c.name)];
    const made =
      c.before === null
        ? [`${line("ip", "link", "add", "name", c.name, "type", c.after.type ?? "dummy")} 2>/dev/null || :`]
        : [];
    const arp = c.before !== null && c.before.noarp !== c.after.noarp ? ["arp", c.after.noarp ? "off" : "on"] : [];
    return [...made, line("ip", "link", "set", "dev", c.name, c.after.up ? "up" : "down", ...arp)];
  },
  address: (c) => {
    if (c.after === null)
      return [line("ip", "address", "delete", `${c.ip}/${c.before?.prefixLength ?? 32}`, "dev", c.link)];
    const label = c.after.label === undefined ? [] : ["label", c.after.label];
    const scope = c.after.scope === 0 ? [] : ["scope", String(c.after.scope)];
    return [line("ip", "address", "replace", `${c.ip}/${c.after.prefixLength}`, "dev", c.link, ...label, ...scope)];
  },
  route: (c) => {
    const r = c.route;
    const type = r.type === undefined || r.type === "unicast" ? [] : [r.type];
    const way = [...(r.via === undefined ? [] : ["via", r.via]), ...(r.dev === undefined ? [] : ["dev", r.dev])];
    const table = r.table === undefined ? [] : ["table", String(r.table)];
    return [line("ip", "route", c.after ? "replace" : "delete", ...type, r.dst, ...way, ...table)];
  },
  nftTable: (c) =>
    nftCanSay(c.after)
      ? ["nft -f - <<'EOF'", ...nftText(c.family, c.table, c.after).trimEnd().split("\n"), "EOF"]
      : undefined,
  neighbour: (c) => (c.after === null ? [line("ip", "neigh", "del", c.ip, "dev", c.link)] : []),
  file: () => [],
};

/**
 * 2.0 and 2.2: ifconfig, echo, ipchains. The old instructions bring tunl0 up without an address and then write its
 * sysctl, which is not there yet (C-2.2-06): here it comes up with 0.0.0.0, which makes its folder, before the VIP.
 */
const old = (): Table => {
  const aliases = new Map<string, number>();
  return {
    sysctl,
    ipchains: rule,
    module: (c) => [line("modprobe", ...(c.after ? [] : ["-r"]), c.name)],
    link: (c) => {
      if (c.after === null) return [line("ifconfig", c.name, "down")];
      const state = c.after.ipv4State === true ? ["0.0.0.0"] : [];
      const arp = c.before !== null && c.before.noarp !== c.after.noarp ? [c.after.noarp ? "-arp" : "arp"] : [];
      return [line("ifconfig", c.name, ...state, ...arp, c.after.up ? "up" : "down")];
    },
    address: (c) => {
      const n = aliases.get(c.link) ?? 0;
      aliases.set(c.link, n + 1);
      // tunl0 and dummy0 have no address of their own, so the first VIP takes the device itself.
      const device = c.link === "lo" ? `lo:${n}` : n === 0 ? c.link : `${c.link}:${n - 1}`;
      if (c.after === null) return [line("ifconfig", device, "down")];
      return [line("ifconfig", device, c.ip, "netmask", "255.255.255.255", "broadcast", c.ip, "up")];
    },
    file: () => [],
  };
};

export const shell: Renderer = (changes, isOld) => {
  const { lines, notCovered } = through(isOld ? old() : modern, changes);
  return { files: [{ path: "", text: text(["#!/bin/sh", HEADER, "set -e", ...lines]), mode: 0o755 }], notCovered };
};

/** Interfaces whose settings the script writes, and that it does not make itself. */
function awaited(changes: readonly Change[]): string[] {
  const made = new Set(changes.flatMap((c) => (c.kind === "link" ? [c.name] : [])));
  const named = changes.flatMap((c) => (c.kind === "sysctl" ? (linkOfSysctl(c.name) ?? []) : []));
  return [...new Set(named)].filter((n) => n !== "all" && n !== "default" && !made.has(n));
}

/**
 * The shell form for a boot, where an interface may come late: waits $1 seconds for each, since no VIP may come before
 * its silence, and fails without a VIP if one does not come.
 */
export function bootScript(changes: readonly Change[]): { readonly text: string; readonly notCovered: Change[] } {
  const boot = forBoot(changes);
  const links = awaited(boot);
  const wait =
    links.length === 0
      ? []
      : [
          `tries=$(( \${1:-0} * 10 ))`,
          `for link in ${links.map(word).join(" ")}; do`,
          '  while [ ! -e "/proc/sys/net/ipv4/conf/$link" ]; do',
          '    [ "$tries" -gt 0 ] || { echo "vipward: no interface $link yet, so no VIP yet" >&2; exit 1; }',
          "    tries=$((tries - 1))",
          "    sleep 0.1",
          "  done",
          "done",
        ];
  const { lines, notCovered } = through(modern, boot);
  return { text: text(["#!/bin/sh", HEADER, "set -e", ...wait, ...lines]), notCovered };
}
