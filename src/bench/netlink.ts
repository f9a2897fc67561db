import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIpv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { prefix } from "../base/prefix.ts";
import { ask } from "../host/rtnetlink.ts";
import { type Bench, byTurns, nowMs, rateRow } from "./measure.ts";
import { inPlace, type Place } from "./place.ts";

const addressCount = 2000;
const linkChanges = 2000;
const rounds = 5;

function ipBatch(place: Place, lines: readonly string[]): number {
  const folder = mkdtempSync(join(tmpdir(), "vipward-bench-"));
  try {
    const file = join(folder, "batch");
    writeFileSync(file, `${lines.join("\n")}\n`);
    const startMs = nowMs();
    place.run("ip", ["-batch", file]);
    return (lines.length * 1000) / (nowMs() - startMs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function timed(count: number, body: () => readonly { readonly error: Error }[]): number {
  const startMs = nowMs();
  const [failure] = body();
  const perSecond = (count * 1000) / (nowMs() - startMs);
  if (failure !== undefined) throw failure.error;
  return perSecond;
}

export const netlinkBench: Bench = {
  name: "netlink",
  title: "address and link changes, against `ip -batch` (its start included)",
  run: (say) =>
    inPlace(prefix("10.76.0.1/24"), prefix("10.76.0.2/24"), async (place) => {
      const { rt } = place;
      const index = rt.indexOf("eth0");
      const address = (i: number) => ({ address: ipv4FromNumber(ipv4("10.77.0.0") + i), length: 32 });
      const numbers = Array.from({ length: addressCount }, (_, i) => i);
      const removeAll = (): void => {
        rt.batch(numbers.map((i) => ask.removeAddress(index, address(i))));
      };
      say(`${addressCount} addresses`);
      const addresses = await byTurns(
        rounds,
        () => {
          const perSecond = timed(addressCount, () =>
            rt.batch(numbers.map((i) => ask.addAddress(index, { prefix: address(i) }))),
          );
          removeAll();
          return perSecond;
        },
        () => {
          const perSecond = ipBatch(
            place,
            numbers.map((i) => `address add ${formatIpv4(address(i).address)}/32 dev eth0`),
          );
          removeAll();
          return perSecond;
        },
      );
      say(`${linkChanges} link changes`);
      const mtu = (i: number): number => 1400 + (i % 2);
      const changes = Array.from({ length: linkChanges }, (_, i) => i);
      const links = await byTurns(
        rounds,
        () => timed(linkChanges, () => rt.batch(changes.map((i) => ask.setLink(index, { mtu: mtu(i) }, "eth0")))),
        () =>
          ipBatch(
            place,
            changes.map((i) => `link set dev eth0 mtu ${mtu(i)}`),
          ),
      );
      return [
        rateRow("addresses added", "changes/s", addresses, "ip -batch"),
        rateRow("link changes (MTU)", "changes/s", links, "ip -batch"),
      ];
    }),
};
