import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { clusterText, DirectorLab, vip } from "../../testing/directorLab.ts";
import { testsInVm } from "../../testing/vm.ts";

const check = (type: string): string =>
  `{ type: ${type}, port: 80, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 2 }`;

testsInVm(
  import.meta.url,
  "what a check of RIP and port cannot see: a VIP that is gone, a server that answers ARP",
  () => {
    let lab: DirectorLab;
    before(async () => {
      lab = new DirectorLab("vw-rs-");
      await lab.serve("web1");
      await lab.serve("web2");
      const vrrp = { version: 3, intervalMs: 500 } as const;
      lab.vipward("lb1", clusterText(vrrp, { health: `[${check("tcp")}, ${check("vip-path")}]` }));
      await lab.until("both are in", () => (table().match(/-w 1/g) ?? []).length === 2, 90_000);
    });
    after(() => lab?.close());
    const table = (): string => lab.run("lb1", "ipvsadm", "-S", "-n");
    const web2In = (): boolean => table().includes("10.50.0.12:80 -g -w 1");

    test("a server that lost its VIP leaves the table, and comes back with it", async () => {
      lab.run("web2", "ip", "address", "del", `${vip}/32`, "dev", "lo");
      await lab.until("web2 is out", () => !table().includes("10.50.0.12"), 20_000);
      const [service] = (await lab.status("lb1")).services;
      const seen = service?.servers.find((s) => s.name === "web2");
      assert.equal(seen?.health, "down");
      assert.match(seen?.why ?? "", /vip-path/);
      lab.run("web2", "ip", "address", "add", `${vip}/32`, "dev", "lo");
      await lab.until("web2 is back", web2In, 20_000);
    });

    test("a server that answers ARP for the VIP is named and taken out, and comes back when it is silent", async () => {
      for (const scope of ["all", "eth0"]) lab.run("web2", "sysctl", "-qw", `net.ipv4.conf.${scope}.arp_ignore=0`);
      await lab.until("web2 is out", () => !table().includes("10.50.0.12"), 20_000);
      const [guilty] = (await lab.status("lb1")).guilty;
      assert.match(guilty?.who ?? "", /web2 \(02:/);
      assert.equal(guilty?.vip, vip);
      for (const scope of ["all", "eth0"]) lab.run("web2", "sysctl", "-qw", `net.ipv4.conf.${scope}.arp_ignore=1`);
      await lab.until("web2 is back", web2In, 20_000);
    });
  },
);
