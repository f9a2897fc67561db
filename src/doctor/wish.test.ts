import assert from "node:assert/strict";
import { test } from "node:test";
import { address, cluster, clusterText, director, edit, RIP, realServer, tunnelServer, VIP } from "./testing/hosts.ts";
import { wishFromCluster, wishFromVips } from "./wish.ts";

test("a real server finds its VIPs, services and method by its address", () => {
  const wish = wishFromCluster(realServer.facts, cluster(), undefined);
  assert.ok(wish.ok);
  const { input } = wish;
  assert.deepEqual(
    [input.realServer, input.director, input.self, input.vips, input.methods],
    [true, false, "web1", [VIP], ["dr"]],
  );
  assert.deepEqual(input.services[0]?.ports, [[80, 80]]);
});

test("a director gets every VIP, --as overrules the addresses, and a name nobody has is said", () => {
  const wish = wishFromCluster(director.facts, cluster(), undefined);
  assert.ok(wish.ok && wish.input.director && !wish.input.realServer);
  const other = wishFromCluster(director.facts, cluster(), "web2");
  assert.ok(other.ok && other.input.realServer && other.input.self === "web2");
  const slip = wishFromCluster(director.facts, cluster(), "wbe2");
  assert.ok(!slip.ok);
  assert.match(slip.remedy, /web2/);
});

test("a host the cluster does not know, or knows twice, is refused with a remedy", () => {
  const stranger = wishFromCluster(
    edit(realServer, { addresses: [address("eth0", "192.0.2.1/24")] }).facts,
    cluster(),
    undefined,
  );
  assert.ok(!stranger.ok);
  assert.match(stranger.remedy, /--as/);
  const two = edit(realServer, { addresses: [address("eth0", `${RIP}/24`), address("eth0", "10.10.0.12/24")] });
  assert.ok(!wishFromCluster(two.facts, cluster(), undefined).ok);
});

test("tunnelling comes from the cluster file, or from a VIP held on a tunnel", () => {
  const wish = wishFromCluster(tunnelServer.facts, cluster(clusterText("forwarding: tun\n")), undefined);
  assert.ok(wish.ok);
  assert.deepEqual(wish.input.methods, ["tun"]);
  assert.deepEqual(wishFromVips(tunnelServer.facts, [VIP], "real-server", undefined).methods, ["tun"]);
  assert.deepEqual(wishFromVips(tunnelServer.facts, [VIP], "real-server", "dr").methods, ["dr"]);
  assert.deepEqual(wishFromVips(realServer.facts, [VIP], "real-server", undefined).methods, ["dr"]);
});

test("without a cluster file a director's services are those of its IPVS table", () => {
  const input = wishFromVips(director.facts, [VIP], "director", undefined);
  assert.deepEqual(
    input.services.map((s) => [s.protocol, s.ports, s.methods]),
    [["tcp", [[80, 80]], ["dr"]]],
  );
});
