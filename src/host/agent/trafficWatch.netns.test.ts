import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { mac } from "../../base/mac.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";
import { ipv4Frame, udpPacket } from "../../wire/frame.ts";
import { openPacketSocket } from "../packetSocket.ts";
import { TrafficWatch } from "./trafficWatch.ts";

test("traffic for an awaited VIP is seen when it comes to our MAC, and only while it is awaited", async (t) => {
  if (!needsRoot(t)) return;
  const wires = buildWires(testPrefix("traffic"), { lb1: [], client: [] });
  const client = openPacketSocket({ interface: "eth0", namespace: wires.machine("client") });
  const seen: Ipv4[] = [];
  const [vip, other] = [ipv4("10.50.0.100"), ipv4("10.50.0.101")];
  const watch = new TrafficWatch("eth0", (v) => void seen.push(v));
  const inside = (action: () => void): void => wires.machine("lb1").run(action);
  const send = async (destination: Ipv4, to: string): Promise<Ipv4[]> => {
    const packet = udpPacket(
      { source: ipv4("10.50.0.200"), destination },
      { sourcePort: 1, destinationPort: 2 },
      new Uint8Array(400),
    );
    client.send([ipv4Frame({ source: mac("02:00:00:00:00:02"), destination: mac(to) }, packet)]);
    await within(300, () => seen.length > 0);
    return seen.splice(0);
  };
  const [lb1, elsewhere] = ["02:00:00:00:00:01", "02:00:00:00:00:77"];
  try {
    assert.deepEqual(await send(vip, lb1), []);
    inside(() => watch.watch([vip]));
    assert.deepEqual(await send(vip, lb1), [vip]);
    assert.deepEqual(await send(other, lb1), []);
    assert.deepEqual(await send(vip, elsewhere), [], "flooded by the switch, and for another machine");
    inside(() => watch.watch([]));
    assert.deepEqual(await send(vip, lb1), []);
  } finally {
    watch.close();
    client.close();
    wires.close();
  }
});
