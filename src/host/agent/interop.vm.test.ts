import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { clusterText, DirectorLab, type DirectorName, keepalivedText, vip } from "../../testing/directorLab.ts";
import { testsInVm } from "../../testing/vm.ts";

/**
 * keepalived takes both forms of the version 3 checksum, and both are shown here: the RFC's as lb1, the pseudo header's
 * as lb2. tcpdump knows the second only.
 */
const formOf = (name: DirectorName, version: 2 | 3): { failover?: string } =>
  version === 3 && name === "lb2" ? { failover: ", checksum: pseudo-header" } : {};

/** vipward as lb1 and keepalived as lb2, or the other way round. */
function start(lab: DirectorLab, name: DirectorName, program: "vipward" | "keepalived", version: 2 | 3): void {
  const vrrp = { version, intervalMs: 1000 } as const;
  if (program === "vipward") lab.vipward(name, clusterText(vrrp, formOf(name, version)));
  else lab.keepalived(name, keepalivedText(name, vrrp));
}

testsInVm(import.meta.url, "vipward and keepalived as the two directors, both ways round, VRRP 2 and 3", () => {
  for (const version of [2, 3] as const)
    for (const [first, second] of [
      ["vipward", "keepalived"],
      ["keepalived", "vipward"],
    ] as const)
      test(`VRRP ${version}: ${first} is preferred to ${second}: election, take-over, hand back`, async () => {
        const lab = new DirectorLab("vw-inter-");
        let captured = "";
        try {
          const dump = lab.namespace("client").run(() =>
            spawn("tcpdump", ["-l", "-nn", "-vv", "-i", "eth0", "proto", "112"], {
              stdio: ["ignore", "pipe", "ignore"],
            }),
          );
          dump.stdout.on("data", (piece: Buffer) => {
            captured += piece.toString();
          });
          start(lab, "lb1", first, version);
          await lab.until("lb1 holds the VIP", () => lab.holders().join() === "lb1", 60_000);
          start(lab, "lb2", second, version);
          await lab.until("lb2 runs", () => /backup|BACKUP/.test(lab.output.get("lb2") ?? ""), 60_000);
          lab.process("lb1").kill("SIGTERM");
          await lab.until("lb2 has taken over", () => lab.holders().join() === "lb2", 20_000);
          await lab.ended("lb1", 15_000);
          start(lab, "lb1", first, version);
          await lab.until("lb1 has it back, alone", () => lab.holders().join() === "lb1", 60_000);
          const by = first === "vipward" ? "lb1" : "lb2";
          const status = await lab.status(by);
          const [instance] = status.instances;
          assert.equal(instance?.phase, first === "vipward" ? "master" : "backup");
          const bad = Object.keys(instance?.counts ?? {}).filter((k) => k.startsWith("vrrp/"));
          assert.deepEqual(bad, [], "nothing of keepalived's was refused");
          assert.equal(instance?.vips.join(), vip);
          dump.kill();
          assert.match(captured, new RegExp(`VRRPv${version}, Advertisement`));
          const complaint =
            version === 3 && first === "vipward" ? /truncated|\[\|vrrp\]/ : /bad vrrp cksum|truncated|\[\|vrrp\]/;
          assert.doesNotMatch(captured, complaint);
        } finally {
          await lab.close();
        }
      });
});
