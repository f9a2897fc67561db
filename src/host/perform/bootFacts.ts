/** Who brings the network up here, read from what the managers say of themselves and from the files they start from. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { LinkFacts } from "../../model/facts.ts";
import type { BootFacts, ManagedLink } from "../../policy/boot.ts";
import { isFirstNamespace } from "./journalFile.ts";

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // not there, or not for us to read: then it shows nothing
  }
}

const fieldOf = (text: string, key: string): string | undefined => new RegExp(`^${key}=(.*)$`, "m").exec(text)?.[1];

/** networkd's state of each link, a file by its number; netplan's own files carry its name. */
function byNetworkd(root: string, link: LinkFacts): ManagedLink | undefined {
  const path = `/run/systemd/netif/links/${link.ifindex}`;
  const file = fieldOf(textOf(join(root, path)), "NETWORK_FILE") ?? "";
  if (file === "") return undefined;
  const by = /^\d+-netplan-/.test(basename(file)) ? "netplan" : "networkd";
  return { by, profile: basename(file), evidence: `${path} names ${file}` };
}

/** Uuids of connections that NetworkManager only watches: it names one for every link that others brought up, lo too. */
function watchedOnly(root: string): Set<string> {
  const folder = join(root, "/run/NetworkManager/system-connections");
  if (!existsSync(folder)) return new Set();
  const texts = readdirSync(folder).map((name) => textOf(join(folder, name)));
  return new Set(texts.filter((t) => fieldOf(t, "external") === "true").flatMap((t) => fieldOf(t, "uuid") ?? []));
}

function byNetworkManager(root: string, link: LinkFacts): ManagedLink | undefined {
  const path = `/run/NetworkManager/devices/${link.ifindex}`;
  const text = textOf(join(root, path));
  const profile = fieldOf(text, "connection-uuid");
  if (fieldOf(text, "managed") !== "true" || profile === undefined || watchedOnly(root).has(profile)) return undefined;
  return { by: "networkmanager", profile, evidence: `${path} has connection ${profile}` };
}

/** Stanzas of /etc/network/interfaces and the folder beside it. */
function ifupdownNames(root: string): Map<string, string> {
  const folder = "/etc/network/interfaces.d";
  const more = existsSync(join(root, folder)) ? readdirSync(join(root, folder)).map((name) => `${folder}/${name}`) : [];
  const found = new Map<string, string>();
  for (const path of ["/etc/network/interfaces", ...more])
    for (const [, name] of textOf(join(root, path)).matchAll(/^\s*iface\s+(\S+)\s+inet\b/gm))
      if (name !== undefined && !found.has(name)) found.set(name, path);
  return found;
}

/** The folder that /etc/nftables.conf takes all *.nft files from, where its service starts at boot. */
function nftFolder(root: string): string | undefined {
  const wants = ["sysinit", "multi-user", "network-pre"].map((t) => `/etc/systemd/system/${t}.target.wants`);
  const links = (path: string): boolean => existsSync(join(root, path)) || isLink(join(root, path));
  if (!wants.some((folder) => links(`${folder}/nftables.service`))) return undefined;
  return /^\s*include\s+"(\/[^"*?[\]]+)\/\*\.nft"/m.exec(textOf(join(root, "/etc/nftables.conf")))?.[1];
}

function isLink(path: string): boolean {
  const folder = join(path, "..");
  return existsSync(folder) && readdirSync(folder).includes(basename(path));
}

/** `root`: an image's folder. What runs is then not looked for, only what the image would start from. */
export function readBootFacts(links: readonly LinkFacts[], root?: string): BootFacts {
  const at = root ?? "/";
  const has = (...paths: string[]): boolean => paths.some((path) => existsSync(join(at, path)));
  const stanzas = ifupdownNames(at);
  const managed: Record<string, ManagedLink> = {};
  for (const link of links) {
    const stanza = stanzas.get(link.name);
    const byIfupdown: ManagedLink | undefined =
      stanza === undefined ? undefined : { by: "ifupdown", profile: stanza, evidence: `${stanza} has a stanza for it` };
    // Who has it in hand now comes before what a file says: a stanza may be a relic.
    const found = byNetworkd(at, link) ?? byNetworkManager(at, link) ?? byIfupdown;
    if (found !== undefined) managed[link.name] = found;
  }
  const folder = nftFolder(at);
  return {
    boots: root !== undefined || isFirstNamespace(),
    systemd: has(
      "/run/systemd/system",
      ...(root === undefined ? [] : ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"]),
    ),
    udev: has("/run/udev/control"),
    ifupdown: has("/sbin/ifup", "/usr/sbin/ifup") && has("/etc/network"),
    managed,
    ...(folder === undefined ? {} : { nftFolder: folder }),
  };
}
