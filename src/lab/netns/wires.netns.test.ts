/** Switches, trunks and VLANs of the cluster file as bridges: who reaches whom. What wires.test.ts asks the model. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseCluster } from "../../cluster/index.ts";
import { echo } from "../../host/echo.ts";
import { HostError } from "../../host/errors.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { scenarioPlot } from "../plot.ts";
import { specOf } from "../spec.ts";
import { addressOn, type Topology } from "../topology.ts";
import { type BuiltNetwork, buildNetwork } from "./build.ts";

const trunkCut = readFileSync(new URL("../../../examples/trunk-cut.yaml", import.meta.url), "utf8");

function topologyOf(text: string): Topology {
  const read = parseCluster(text);
  assert.ok(read.ok, JSON.stringify(read));
  const spec = specOf(read.cluster, "tun");
  assert.ok(typeof spec !== "string", String(spec));
  return scenarioPlot(spec).topology;
}

test("VLANs of one switch stay apart, a trunk carries them, and cut it carries nothing", async (t) => {
  if (!needsRoot(t)) return;
  const topology = topologyOf(trunkCut.replace("web4: edge", "web4: { switch: edge, port: 7 }"));
  const network: BuiltNetwork = buildNetwork(topology, testPrefix("wires"));
  try {
    const addressOf = (name: string) => {
      const host = topology.hosts.find((h) => h.name === name);
      assert.ok(host);
      return addressOn(host, host.links[0]?.wire ?? "");
    };
    const reaches = async (from: string, to: string): Promise<boolean> => {
      const machine = network.machines.get(from);
      assert.ok(machine);
      for (const link of machine.host.links) machine.netlink.flushNeighbours(link.name);
      return machine.namespace.run(() => [echo(addressOf(from), addressOf(to), 1500)])[0] ?? false;
    };
    assert.ok(await reaches("lb1", "web4"), "over the trunk, in VLAN 10");
    assert.ok(await reaches("lb1", "web3"), "in VLAN 20, through the router");
    const router = network.machines.get("router");
    for (const link of router?.host.links ?? []) router?.netlink.setLink(link.name, { up: false });
    assert.equal(await reaches("lb1", "web3"), false);
    // web3 claims an address of the other network: were the VLANs one, web4 would hear it
    const web3 = network.machines.get("web3");
    web3?.netlink.addAddress("eth0", { prefix: { address: addressOf("lb1"), length: 24 } });
    const web4 = network.machines.get("web4");
    assert.ok(await reaches("web4", "lb1"));
    const heard = web4?.netlink.neighbours().find((n) => n.address === addressOf("lb1"))?.mac;
    assert.equal(heard, network.machines.get("lb1")?.host.links[0]?.mac);
    assert.ok(network.plugUplink("edge", false));
    assert.equal(await reaches("lb1", "web4"), false);
    assert.ok(await reaches("client", "web4"), "on its own side");
    assert.ok(network.plugUplink("edge", true));
    // the kernel tells a bridge of a carrier that came back within seconds, not at once
    let isBack = false;
    for (let tries = 0; tries < 10 && !isBack; tries++) isBack = await reaches("lb1", "web4");
    assert.ok(isBack);
    assert.equal(network.plugUplink("core", false), false, "it has no uplink");
    const edge = network.switches.find((s) => s.name === "edge");
    const port = edge?.netlink.links().find((l) => l.name === "port7");
    assert.equal(edge?.machineOfPort.get(port?.index ?? -1), "web4");
  } finally {
    network.remove({ keep: false });
  }
});

test("what only the simulator can do is refused by name, before anything is made", () => {
  const text = trunkCut
    .replace("web4: edge", "web4: { switch: edge, lossPercent: 1, mtu: 1400 }")
    .replace("core: {}", "core: { ageingSeconds: 15 }");
  assert.throws(
    () => buildNetwork(topologyOf(text), testPrefix("refused")).remove({ keep: false }),
    (error: unknown) =>
      error instanceof HostError &&
      error.code === "lab/unavailable" &&
      ["lab.links.web4.lossPercent", "lab.links.web4.mtu", "lab.switches.core.ageingSeconds"].every((key) =>
        error.message.includes(key),
      ),
  );
});
