import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clusterText, DirectorLab, type DirectorName, keepalivedText, vip } from "../../testing/directorLab.ts";
import { testsInVm } from "../../testing/vm.ts";

/**
 * tcpdump knows one form of the version 3 checksum, the pseudo header's, and calls the RFC's own "bad vrrp cksum". So
 * what it is to decode without complaint is sent in its form, and the RFC's is shown to keepalived afterwards.
 */
const inTcpdumpsForm = { failover: ", checksum: pseudo-header" } as const;

/** vipward as lb1 and keepalived as lb2, or the other way round. */
function start(lab: DirectorLab, name: DirectorName, program: "vipward" | "keepalived", version: 2 | 3): void {
  const vrrp = { version, intervalMs: 1000 } as const;
  if (program === "vipward") lab.vipward(name, clusterText(vrrp, version === 3 ? inTcpdumpsForm : {}));
  else lab.keepalived(name, keepalivedText(name, vrrp));
}

testsInVm(import.meta.url, "vipward and keepalived as the two directors, both ways round, VRRP 2 and 3", () => {
  // Each pair on directors of its own; while one waits for VRRP's clock the other's programs start.
  for (const version of [2, 3] as const)
    describe(`VRRP ${version}`, { concurrency: 2 }, () => {
      for (const [first, second] of [
        ["vipward", "keepalived"],
        ["keepalived", "vipward"],
      ] as const)
        test(`${first} is preferred to ${second}: election, take-over, hand back`, async () => {
          const lab = new DirectorLab(`vw-i${version}${first.slice(0, 1)}-`);
          try {
            const captured = lab.capture("client", "proto", "112");
            start(lab, "lb1", first, version);
            await lab.until("lb1 holds the VIP", () => lab.holders().join() === "lb1", 200_000);
            start(lab, "lb2", second, version);
            await lab.until("lb2 runs", () => /backup|BACKUP/.test(lab.output.get("lb2") ?? ""), 200_000);
            lab.process("lb1").kill("SIGTERM");
            await lab.until("lb2 has taken over", () => lab.holders().join() === "lb2", 60_000);
            await lab.ended("lb1", 60_000);
            start(lab, "lb1", first, version);
            await lab.until("lb1 has it back, alone", () => lab.holders().join() === "lb1", 200_000);
            const by = first === "vipward" ? "lb1" : "lb2";
            const status = await lab.status(by);
            const [instance] = status.instances;
            assert.equal(instance?.phase, first === "vipward" ? "master" : "backup");
            const bad = Object.keys(instance?.counts ?? {}).filter((k) => k.startsWith("vrrp/"));
            assert.deepEqual(bad, [], "nothing of keepalived's was refused");
            assert.equal(instance?.vips.join(), vip);
            assert.equal(instance?.peers?.[0]?.checksum, version === 3 ? "pseudo-header" : "message");
            assert.match(lab.output.get(by) ?? "", /failover\/verified main: a neighbour has learned 10\.50\.0\.100/);
            assert.match(captured(), new RegExp(`VRRPv${version}, Advertisement`));
            assert.doesNotMatch(captured(), /bad vrrp cksum|truncated|\[\|vrrp\]/);
            if (version === 3 && first === "vipward") await inTheRfcsForm(lab, captured);
          } finally {
            await lab.close();
          }
        });
    });
});

/** keepalived refuses this form, and stands by all the same: vipward has heard it use the other one, and sends both. */
async function inTheRfcsForm(lab: DirectorLab, captured: () => string): Promise<void> {
  await lab.reload("lb1", clusterText({ version: 3, intervalMs: 1000 }));
  const before = captured().length;
  // Until keepalived's down interval would be over, had it heard nothing that it takes.
  await new Promise((resolve) => setTimeout(resolve, 5000));
  assert.match(captured().slice(before), /bad vrrp cksum/, "the twin: tcpdump would have complained");
  assert.equal(lab.holders().join(), "lb1");
}
