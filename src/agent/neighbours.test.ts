import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { twoNetworks } from "../testing/twoNetworks.ts";
import { dissect } from "../wire/frame.ts";
import { Neighbours } from "./neighbours.ts";

test("two networks on one link: each neighbour is asked for in the name of the address in its own network", () => {
  const asked: string[] = [];
  const neighbours = new Neighbours({
    macOf: () => mac("02:00:00:00:00:01"),
    sendFrame: (link, frame) => {
      const { inside } = dissect(frame);
      assert.equal(inside.kind, "arp");
      if (inside.kind === "arp")
        asked.push(`${link} who-has ${formatIpv4(inside.arp.targetIp)} tell ${formatIpv4(inside.arp.senderIp)}`);
    },
    sendPacket: () => {},
  });
  neighbours.load(...twoNetworks());
  for (const rip of ["10.50.0.11", "10.51.0.12"]) neighbours.send(ipv4(rip), new Uint8Array(20), 0);
  assert.deepEqual(asked, ["eth0 who-has 10.50.0.11 tell 10.50.0.2", "eth0 who-has 10.51.0.12 tell 10.51.0.2"]);
});
