import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { LinkFacts } from "../../model/facts.ts";
import type { BootFacts } from "../../policy/boot.ts";
import { readBootFacts } from "./bootFacts.ts";

const links: LinkFacts[] = ["lo", "eth0"].map((name, i) => ({ ifindex: i + 1, name, flags: ["UP"], mac: null }));
const NFTABLES = "/etc/systemd/system/sysinit.target.wants/nftables.service";

/** What an image with these files tells; a text that begins with "->" is a link. */
function factsWith(files: Readonly<Record<string, string>>): BootFacts {
  const root = mkdtempSync(join(tmpdir(), "vipward-boot-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      if (text.startsWith("->")) symlinkSync(text.slice(2), join(root, path));
      else writeFileSync(join(root, path), text);
    }
    return readBootFacts(links, root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

test("an empty image tells nothing, and that is no error", () => {
  assert.deepEqual(factsWith({}), { boots: true, systemd: false, udev: false, ifupdown: false, managed: {} });
});

test("who has a link in hand now comes before a stanza, which may be a relic; a comment is no stanza", () => {
  const stanza = { "/etc/network/interfaces": "# iface lo inet loopback\n  iface eth0 inet dhcp\n" };
  assert.equal(factsWith(stanza).managed.eth0?.by, "ifupdown");
  assert.equal(factsWith(stanza).managed.lo, undefined);
  const state = "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n";
  const { by, profile } = factsWith({ ...stanza, "/run/systemd/netif/links/2": state }).managed.eth0 ?? {};
  assert.deepEqual({ by, profile }, { by: "netplan", profile: "10-netplan-eth0.network" });
  assert.equal(
    factsWith({ ...stanza, "/run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\n" }).managed.eth0?.by,
    "ifupdown",
  );
});

test("a stanza beside the file counts, ifupdown itself only with its program", () => {
  const facts = factsWith({ "/etc/network/interfaces.d/lan": "iface eth0 inet static\n", "/sbin/ifup": "" });
  assert.match(facts.managed.eth0?.evidence ?? "", /interfaces\.d\/lan/);
  assert.equal(facts.ifupdown, true);
  assert.equal(factsWith({ "/etc/network/if-up.d/openssh": "" }).ifupdown, false);
});

test("NetworkManager names a connection for each link; one that it only watches is nobody's", () => {
  const device = { "/run/NetworkManager/devices/1": "[device]\nmanaged=true\nconnection-uuid=abc\n" };
  assert.equal(factsWith(device).managed.lo?.by, "networkmanager");
  const watched = {
    "/run/NetworkManager/system-connections/lo.nmconnection": "[connection]\nuuid=abc\n[.nmmeta]\nexternal=true\n",
  };
  assert.equal(factsWith({ ...device, ...watched }).managed.lo, undefined);
});

test("the nft folder needs both: the include, and the service at boot", () => {
  const conf = { "/etc/nftables.conf": 'flush ruleset\ninclude "/etc/nftables.d/*.nft"\n' };
  const service = { [NFTABLES]: "->/lib/systemd/system/nftables.service" };
  assert.equal(factsWith({ ...conf, ...service }).nftFolder, "/etc/nftables.d");
  assert.equal(factsWith(conf).nftFolder, undefined);
  assert.equal(
    factsWith({ "/etc/nftables.conf": '#include "/etc/nftables.d/*.nft"\n', ...service }).nftFolder,
    undefined,
  );
  assert.equal(factsWith({ "/etc/nftables.conf": 'include "rules/*.nft"\n', ...service }).nftFolder, undefined);
});
