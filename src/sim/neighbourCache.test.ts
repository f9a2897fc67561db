/** Neighbours of a simulated host: what waits for them, and their timers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { sketchFacts } from "../testing/modelHosts.ts";
import { BROADCAST_ID } from "./frame.ts";
import { SimHost } from "./host.ts";
import { Lan, plainCable } from "./lan.ts";

/** Host number one asks, number two answers; see their releases. */
function pair(...releases: readonly (string | undefined)[]): { readonly lan: Lan; readonly hosts: readonly SimHost[] } {
  const lan = new Lan({ seed: 1 });
  const at = lan.addSwitch("switch");
  const hosts = [1, 2].map((n) => {
    const own = mac(`02:00:00:00:00:0${n}`);
    const links = [{ name: "eth0", mac: own }];
    const release = releases[n - 1] ?? "6.18.0";
    const host = new SimHost(lan, { ...sketchFacts({ release, eth0: [`10.0.0.${n}/24`], links }), hostname: `h${n}` });
    host.wire("eth0", lan.plug(host.id, 0, own, at, plainCable));
    return host;
  });
  return { lan, hosts };
}
const [own, other] = [ipv4("10.0.0.1"), ipv4("10.0.0.2")];

for (const [release, most] of [
  ["2.0.36", 200],
  ["2.4.20", 3],
  ["3.2.102", 3],
  ["3.3.0", 31],
  ["6.18.0", 101],
] as const)
  test(`${release}: of 200 packets that wait for a neighbour's MAC ${most} are sent (unres_qlen)`, () => {
    const { lan, hosts } = pair(release);
    const [one, two] = hosts;
    assert.ok(one && two);
    let heard = 0;
    two.serveUdp(9, () => {
      heard++;
      return undefined;
    });
    for (let i = 0; i < 200; i++) one.sendUdp(own, other, 1000 + i, 9);
    lan.run(1_000_000);
    assert.equal(heard, most);
  });

test("a fast clock ages neighbours sooner, as a slow one ages them later", () => {
  const reachableFor = (ppm: number): number => {
    const { lan, hosts } = pair();
    hosts[0]?.drift(ppm);
    hosts[0]?.icmp.sendEcho(own, other, 1);
    for (;;) {
      lan.run(lan.nowUs + 10_000);
      if (hosts[0]?.neighbourOf(other)?.state === "STALE") return lan.nowUs / 1_000_000;
    }
  };
  const right = reachableFor(0);
  assert.ok(right > 15 && right < 46);
  for (const [ppm, factor] of [
    [-500_000, 2],
    [1_000_000, 0.5],
  ] as const) {
    const took = reachableFor(ppm);
    assert.ok(Math.abs(took - factor * right) < 0.05, `${ppm}: ${took} s, ${right} s by a right clock`);
  }
});

/** When and how the first host asks for the second, in seconds. */
function asked({ lan, hosts }: ReturnType<typeof pair>): string[] {
  const said: string[] = [];
  lan.taps.push((timeUs, from, { to, body }) => {
    if (from === hosts[0]?.name && body.kind === "arp" && body.operation === 1)
      said.push(`${Math.floor(timeUs / 1_000_000)} ${to === BROADCAST_ID ? "all" : "him"}`);
  });
  return said;
}

test("2.0 asks a neighbour after 300 s, at the next look a minute; one that is silent is dead, and comes back", () => {
  const place = pair("2.0.36");
  const { lan, hosts } = place;
  const [one, two] = hosts;
  assert.ok(one && two);
  const said = asked(place);
  for (let s = 0; s < 900; s++) lan.at(s * 1_000_000, () => one.sendUdp(own, other, 1000, 9));
  lan.run(400_000_000);
  assert.deepEqual(said, ["0 all", "360 him"], "he answered");
  assert.equal(one.neighbourOf(other)?.state, "COMPLETE");
  two.crash();
  lan.run(720_000_000 - 1);
  const macOfTwo = two.nics[0]?.mac;
  assert.equal(one.neighbourOf(other)?.mac, macOfTwo, "kept as long as nobody asks");
  said.length = 0;
  lan.run(800_500_000);
  assert.deepEqual(said, ["720 him", "725 all", "730 all", "735 all", "740 all", "800 all"]);
  assert.equal(one.neighbourOf(other)?.mac, undefined);
  assert.ok((one.drops["neighbour does not answer"] ?? 0) >= 79, "what waited, and what came after");
  two.restart();
  lan.run(860_500_000);
  assert.equal(one.neighbourOf(other)?.mac, macOfTwo, "the next question");
});

test("2.0 forgets whom nobody used for 600 s, and whom nobody needs it asks three times for, not for ever", () => {
  const place = pair("2.0.36");
  const { lan, hosts } = place;
  const [one, two] = hosts;
  assert.ok(one && two);
  const said = asked(place);
  one.sendUdp(own, other, 1000, 9);
  lan.run(659_000_000);
  assert.deepEqual(said, ["0 all", "360 him"]);
  assert.equal(one.neighbours.size, 1);
  lan.run(661_000_000);
  assert.equal(one.neighbours.size, 0);
  two.crash();
  said.length = 0;
  one.sendUdp(own, other, 1000, 9);
  lan.run(2_000_000_000);
  const first = ["661 all", "666 all", "671 all"];
  assert.deepEqual(said, [...first, ...["676", "736", "796", "856", "916"].map((s) => `${s} all`)]);
  assert.equal(one.neighbours.size, 0, "the route is forgotten, and its neighbour");
});
