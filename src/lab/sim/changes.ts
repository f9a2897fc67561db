import type { HostFacts, LinkFacts } from "../../model/facts.ts";
import type { CureChange } from "../report.ts";

/** In one order, and without the carrier, which facts may leave out. */
const flagsOf = (link: LinkFacts | undefined): string =>
  [...(link?.flags ?? [])]
    .filter((flag) => flag !== "LOWER_UP")
    .sort()
    .join(",");

/** What became different, for people. */
export function changesBetween(machine: string, before: HostFacts, after: HostFacts): CureChange[] {
  const changes: CureChange[] = [];
  const note = (what: string, from: string, to: string): void => {
    if (from !== to) changes.push({ machine, what, before: from, after: to });
  };
  const names = [...new Set([...Object.keys(before.sysctls), ...Object.keys(after.sysctls)])].sort();
  for (const name of names) {
    const path = name.includes(".") ? `net.ipv4.conf.${name}` : `net.ipv4.${name}`;
    note(path, String(before.sysctls[name] ?? 0), String(after.sysctls[name] ?? 0));
  }
  const list = <T>(facts: HostFacts, pick: (f: HostFacts) => readonly T[], text: (t: T) => string): string =>
    pick(facts).map(text).join(", ") || "none";
  const compare = <T>(what: string, pick: (f: HostFacts) => readonly T[], text: (t: T) => string): void =>
    note(what, list(before, pick, text), list(after, pick, text));
  compare(
    "filters",
    (f) => f.filters,
    (c) => `${c.tool} ${c.family} ${c.hook}`,
  );
  for (const link of after.links) {
    const own = (f: HostFacts): string =>
      list(
        f,
        (x) => x.addresses.filter((a) => a.link === link.name && a.ip !== "127.0.0.1"),
        (a) => `${a.ip}/${a.prefixLength}`,
      );
    note(`${link.name} addresses`, own(before), own(after));
    const was = before.links.find((l) => l.name === link.name);
    note(`${link.name} flags`, flagsOf(was), flagsOf(link));
  }
  compare(
    "routes",
    (f) => f.routes,
    (r) => `${r.type ?? "unicast"} ${r.dst}`,
  );
  return changes;
}
