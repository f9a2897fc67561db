import { type Change, isLasting } from "../change.ts";
import { sysctlPath } from "../kinds/sysctl.ts";
import { ruleArguments } from "../ruleArguments.ts";
import { nftText } from "./nftText.ts";
import {
  forBoot,
  HEADER,
  one,
  type Rendered,
  type RenderedFile,
  type Renderer,
  type Table,
  text,
  through,
} from "./render.ts";
import { line, shell } from "./shell.ts";

type Of<Name extends Change["kind"]> = Extract<Change, { readonly kind: Name }>;
const ofKind = <Name extends Change["kind"]>(changes: readonly Change[], kind: Name): Of<Name>[] =>
  changes.filter((c): c is Of<Name> => c.kind === kind);
const without = (changes: readonly Change[], ...kinds: Change["kind"][]): Change[] =>
  changes.filter((c) => !kinds.includes(c.kind) && !isLasting(c));

/** sysctl(8) keeps slashes where the first separator is one, so interface names may hold dots. */
const sysctlLines: Table = { sysctl: (c) => [`${sysctlPath(c.name).join("/")} = ${c.after ?? 0}`] };

const sysctl: Renderer = (changes) => {
  const { lines, notCovered } = through(sysctlLines, forBoot(changes));
  return { files: one("/etc/sysctl.d/90-vipward.conf", lines), notCovered };
};

const nft: Renderer = (changes) => {
  const { lines, notCovered } = through({ nftTable: (c) => [nftText(c.family, c.table, c.after)] }, forBoot(changes));
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

/** Links that addresses or local routes need, with what stands on them. */
function devices(
  changes: readonly Change[],
): { name: string; addresses: Of<"address">[]; routes: Of<"route">[]; link: Of<"link"> | undefined }[] {
  const addresses = ofKind(changes, "address").filter((c) => c.after !== null);
  const routes = ofKind(changes, "route").filter((c) => c.after);
  const links = ofKind(changes, "link").filter((c) => c.after !== null);
  const names = new Set([
    ...links.map((c) => c.name),
    ...addresses.map((c) => c.link),
    ...routes.flatMap((c) => c.route.dev ?? []),
  ]);
  return [...names].map((name) => ({
    name,
    addresses: addresses.filter((c) => c.link === name),
    routes: routes.filter((c) => c.route.dev === name),
    link: links.find((c) => c.name === name),
  }));
}

const moduleFile = (changes: readonly Change[]): RenderedFile[] =>
  one(
    "/etc/modules-load.d/vipward.conf",
    ofKind(changes, "module")
      .filter((c) => c.after)
      .map((c) => c.name),
  );

/** VIPs by systemd-networkd; sysctls and nft stay with their own systems. */
const networkd: Renderer = (changes) => {
  const files = devices(changes).flatMap(({ name, addresses, routes, link }): RenderedFile[] => {
    const netdev =
      link?.before === null
        ? one(`/etc/systemd/network/10-vipward-${name}.netdev`, [
            "[NetDev]",
            `Name=${name}`,
            `Kind=${link.after?.type ?? "dummy"}`,
          ])
        : [];
    const lines = ["[Match]", `Name=${name}`, "", "[Network]", "LinkLocalAddressing=no", "KeepConfiguration=static"];
    for (const c of addresses) {
      const label = c.after?.label === undefined ? [] : [`Label=${c.after.label}`];
      lines.push("", "[Address]", `Address=${c.ip}/32`, ...label);
    }
    for (const { route } of routes)
      lines.push("", "[Route]", `Destination=${route.dst}/32`, `Type=${route.type ?? "unicast"}`, "Table=local");
    return [...netdev, ...one(`/etc/systemd/network/10-vipward-${name}.network`, lines)];
  });
  return {
    files: [...moduleFile(changes), ...files],
    notCovered: without(changes, "module", "link", "address", "route"),
  };
};

const netplan: Renderer = (changes) => {
  const all = devices(changes);
  const section = (title: string, list: typeof all): string[] =>
    list.length === 0
      ? []
      : [
          `  ${title}:`,
          ...list.flatMap(({ name, addresses }) => [
            `    ${name}:`,
            ...(addresses.length === 0
              ? ["      {}"]
              : ["      addresses:", ...addresses.map((c) => `        - ${c.ip}/32`)]),
          ]),
        ];
  const dummies = all.filter((d) => d.link?.after?.type === "dummy");
  const loopback = all.filter((d) => d.name === "lo");
  const said = new Set([...dummies, ...loopback]);
  const lines = [...section("ethernets", loopback), ...section("dummy-devices", dummies)];
  const rest = all.filter((d) => !said.has(d)).flatMap((d) => [...d.addresses, ...(d.link ? [d.link] : [])]);
  const body = lines.length === 0 ? [] : ["network:", "  version: 2", ...lines];
  return {
    files: one("/etc/netplan/90-vipward.yaml", body, 0o600),
    notCovered: [...without(changes, "link", "address"), ...rest],
  };
};

/** Everything but filters, each interface with the commands that make and end it. */
const ifupdown: Renderer = (changes) => {
  const boot = forBoot(changes);
  const lines: string[] = [];
  for (const { name, addresses, routes, link } of devices(boot)) {
    // lo is brought up by its own stanza; another one of the same name adds to it.
    lines.push(
      ...(name === "lo" ? [] : [`auto ${name}`]),
      `iface ${name} inet ${name === "lo" ? "loopback" : "manual"}`,
    );
    for (const c of ofKind(boot, "module")) lines.push(`    pre-up modprobe ${c.name} || true`);
    if (link?.before === null) lines.push(`    pre-up ip link add ${name} type ${link.after?.type ?? "dummy"} || true`);
    for (const c of ofKind(boot, "sysctl"))
      lines.push(`    pre-up echo ${c.after ?? 0} > /proc/sys/${sysctlPath(c.name).join("/")} || true`);
    if (link !== undefined) lines.push(`    up ip link set dev ${name} up`);
    for (const c of addresses) {
      const label = c.after?.label === undefined ? "" : ` label ${c.after.label}`;
      lines.push(
        `    up ip address replace ${c.ip}/32 dev ${name}${label}`,
        `    down ip address delete ${c.ip}/32 dev ${name} || true`,
      );
    }
    for (const { route } of routes)
      lines.push(`    up ip route replace ${route.type ?? ""} ${route.dst} dev ${name} table ${route.table ?? 254}`);
    lines.push("");
  }
  return {
    files: one("/etc/network/interfaces.d/vipward", lines),
    notCovered: without(boot, "module", "link", "address", "route", "sysctl"),
  };
};

const networkmanager: Renderer = (changes) => {
  const types: Readonly<Record<string, string>> = { lo: "loopback", dummy: "dummy" };
  const typeOf = (d: ReturnType<typeof devices>[number]): string | undefined =>
    types[d.name] ?? types[d.link?.after?.type ?? ""];
  const all = devices(changes);
  const said = all.filter((d) => typeOf(d) !== undefined && d.addresses.length > 0);
  const files = said.flatMap((d) =>
    one(
      `/etc/NetworkManager/system-connections/vipward-${d.name}.nmconnection`,
      [
        "[connection]",
        `id=vipward-${d.name}`,
        `type=${typeOf(d)}`,
        `interface-name=${d.name}`,
        "autoconnect=true",
        "",
        "[ipv4]",
        "method=manual",
        ...(d.name === "lo" ? ["address1=127.0.0.1/8"] : []),
        ...d.addresses.map((c, i) => `address${i + (d.name === "lo" ? 2 : 1)}=${c.ip}/32`),
        "",
        "[ipv6]",
        d.name === "lo" ? "method=auto" : "method=disabled",
      ],
      0o600,
    ),
  );
  const rest = all.filter((d) => !said.includes(d)).flatMap((d) => [...d.addresses, ...(d.link ? [d.link] : [])]);
  return { files, notCovered: [...without(changes, "link", "address"), ...rest] };
};

const yamlText = (value: string): string => JSON.stringify(value);

const ansible: Renderer = (changes) => {
  const table: Table = {
    sysctl: (c) => [
      `- name: ${yamlText(c.name)}`,
      "  ansible.posix.sysctl:",
      `    name: ${yamlText(sysctlPath(c.name).join("/"))}`,
      `    value: ${yamlText(String(c.after ?? 0))}`,
      "    sysctl_file: /etc/sysctl.d/90-vipward.conf",
    ],
    module: (c) => [
      `- name: ${yamlText(`module ${c.name}`)}`,
      "  community.general.modprobe:",
      `    name: ${c.name}`,
      `    state: ${c.after ? "present" : "absent"}`,
      "    persistent: present",
    ],
  };
  const { lines, notCovered } = through(table, changes);
  const script = shell(forBoot(notCovered), false);
  const rest = forBoot(notCovered);
  const commands =
    rest.length === 0
      ? []
      : [
          "- name: vipward",
          "  ansible.builtin.shell:",
          "    cmd: |",
          ...(script.files[0]?.text ?? "")
            .trimEnd()
            .split("\n")
            .map((l) => `      ${l}`),
        ];
  return {
    files: [{ path: "", text: text(["---", HEADER, ...lines, ...commands]), mode: 0o644 }],
    notCovered: script.notCovered,
  };
};

/** The safe default: a unit that makes it all again early, silence before VIP, whatever else manages the network. */
const systemd: Renderer = (changes, old) => {
  const made = shell(forBoot(changes), old);
  const script = made.files[0]?.text ?? "";
  const unit = text([
    HEADER,
    "[Unit]",
    "Description=vipward: VIPs of this real server, silent on ARP",
    "Documentation=man:vipward(8)",
    "After=network.target nftables.service",
    "Before=network-online.target",
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    "ExecStart=/bin/sh /etc/vipward/boot.sh",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ]);
  return {
    files: [
      { path: "/etc/vipward/boot.sh", text: script, mode: 0o755 },
      { path: "/etc/systemd/system/vipward.service", text: unit, mode: 0o644 },
    ],
    notCovered: made.notCovered,
  };
};

/** `vipward render --to NAME`. To add one: a row. */
export const renderers = {
  sysctl,
  networkd,
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
