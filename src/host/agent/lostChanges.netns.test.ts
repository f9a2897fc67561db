/** The failover thread that ships, when the kernel has more to tell than its socket holds (a real ENOBUFS). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { clusterText, DirectorLab, vip } from "../../testing/directorLab.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { ask } from "../rtnetlinkRequests.ts";

/** A single director: nobody else could put back what is taken. */
const cluster = clusterText({ version: 3, intervalMs: 100 })
  .replace(/\n {2}lb2: .*/, "")
  .replace(/failover:\n.*\n/, "")
  .replace("name: failover", "name: lost");

test("changes that are lost while the thread stands still: the VIP that went meanwhile is put back, and it says so", async (t) => {
  if (!needsRoot(t)) return;
  const lab = new DirectorLab(testPrefix("lost"));
  const netlink = openRtnetlink(lab.namespace("lb1"));
  const said = (): string => lab.output.get("lb1") ?? "";
  const holds = (): boolean => netlink.addresses({ link: "eth0" }).some((a) => a.address === ipv4(vip));
  try {
    lab.vipwardVrrp("lb1", cluster);
    await lab.until("it holds the VIP", holds, 30_000);
    netlink.removeAddress("eth0", { address: ipv4(vip), length: 32 });
    await lab.until("the twin: a change that is heard is answered at once", holds, 10_000);
    await lab.until("and told", () => said().includes("vip-restored"), 5_000);
    lab.output.set("lb1", "");

    lab.signal("lb1", "SIGSTOP");
    const lo = netlink.indexOf("lo");
    const all = Array.from({ length: 10_000 }, (_, i) => ({
      address: ipv4FromNumber(ipv4("10.99.0.0") + i),
      length: 32,
    }));
    // More than the four megabytes that wait for it at most, and the one that matters comes last.
    assert.deepEqual(netlink.batch(all.map((prefix) => ask.addAddress(lo, { prefix }))), []);
    netlink.removeAddress("eth0", { address: ipv4(vip), length: 32 });
    lab.signal("lb1", "SIGCONT");
    await lab.until("it is put back", holds, 20_000);
    await lab.until("it says that news were lost", () => said().includes('"netlink/lost"'), 5_000);
    await lab.until("and what was done", () => said().includes("vip-restored"), 5_000);
  } finally {
    netlink.close();
    await lab.close();
  }
});
