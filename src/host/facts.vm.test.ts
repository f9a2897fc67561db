import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostFacts } from "../model/facts.ts";
import { parseFacts } from "../model/factsSchema.ts";
import { runInVm } from "./vm/machine.ts";
import { projectInside } from "./vm/rootfs.ts";

/** Runs inside: a director with one service, a tunnel, a dummy and a VLAN; prints what readFacts says. */
const inside = `
  const from = (file) => import("${projectInside}/dist/" + file);
  const [{ readFacts }, { openIpvs }, { openRtnetlink }, { ipv4 }, { prefix }] = await Promise.all(
    ["host/facts.js", "host/ipvs.js", "host/rtnetlink.js", "base/ipv4.js", "base/prefix.js"].map(from));
  const rt = openRtnetlink();
  rt.createDummy("vip0"); // the module makes a dummy0 of its own
  rt.addAddress("vip0", { prefix: prefix("10.0.0.100/32") });
  rt.createIpip("tun5", { local: ipv4("10.0.0.2"), remote: ipv4("10.0.0.3") });
  const service = { protocol: "tcp", address: ipv4("10.0.0.100"), port: 80, scheduler: "rr" };
  const ipvs = openIpvs();
  ipvs.addService(service);
  ipvs.addDestination(service, { address: ipv4("10.0.0.11"), port: 80, forwarding: "dr", weight: 3 });
  ipvs.addDestination(service, { address: ipv4("10.0.0.12"), port: 80, forwarding: "tun" });
  console.log(JSON.stringify(readFacts()));
`;

test("IPVS services, tunnels and modules of a distribution kernel", async () => {
  const lines: string[] = [];
  const result = await runInVm({
    command: ["node", "--input-type=module", "-e", inside],
    timeoutMs: 200_000,
    onLine: (_, line) => lines.push(line),
  });
  assert.equal(result.exitCode, 0, lines.join("\n"));
  const parsed = parseFacts(lines.at(-1) ?? "");
  assert.ok(parsed.ok, lines.at(-1));
  const facts: HostFacts = parsed.value;
  const [service] = facts.ipvs?.services ?? [];
  assert.deepEqual(
    [service?.protocol, service?.vip, service?.port, service?.scheduler],
    ["tcp", "10.0.0.100", 80, "rr"],
  );
  const destinations = [...(service?.destinations ?? [])].sort((a, b) => a.rip.localeCompare(b.rip));
  assert.deepEqual(destinations, [
    { rip: "10.0.0.11", port: 80, method: "dr", weight: 3 },
    { rip: "10.0.0.12", port: 80, method: "tun", weight: 1 },
  ]);
  assert.deepEqual(facts.links.find((l) => l.name === "tun5")?.tunnel, { local: "10.0.0.2", remote: "10.0.0.3" });
  assert.equal(facts.links.find((l) => l.name === "tun5")?.mac, null);
  assert.ok(facts.modules?.includes("ip_vs"));
  assert.equal(facts.kernel.generation, "6.x");
});
