// who-has over 4,096 VIPs against arp-scan at its fastest, on the same veth pair, in the same run. Needs root, arp-scan
// and a build. Probes a second are taken from the wire, for both in the same way: from the kernel's stamp of the first
// question that reached the far end to that of the last. A socket there only gathers; it is read when all is over.
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { ipv4FromNumber } from "../../dist/base/ipv4.js";
import { prefix } from "../../dist/base/prefix.js";
import { createNamespace, removeNamespace } from "../../dist/host/namespace.js";
import { openPacketSocket } from "../../dist/host/packetSocket.js";
import { ask, openRtnetlink } from "../../dist/host/rtnetlink.js";
import { whoHas } from "../../dist/host/whoHas.js";
import { filterProgram, isArp } from "../../dist/wire/packetFilter.js";

const first = 0x0a090001; // 10.9.0.1
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Questions and their time on the wire since `gather` was opened or last read. */
function onTheWire(gather) {
  let questions = 0;
  let firstUs = Infinity;
  let lastUs = 0;
  gather.receive(({ octets, timeUs }) => {
    if (octets[21] !== 1) return;
    questions++;
    firstUs = Math.min(firstUs, timeUs);
    lastUs = Math.max(lastUs, timeUs);
  }, 1e6);
  return { questions, seconds: (lastUs - firstUs) / 1e6 };
}

/** Gives `{ whoHas, arpScan, ratio, ... }`; arpScan is null where the program is not installed. */
export async function benchWhoHas({ vips = 4096, runs = 7 } = {}) {
  const near = createNamespace(`vw-bench${process.pid}-a`);
  const far = createNamespace(`vw-bench${process.pid}-b`);
  const open = [];
  try {
    const nearLink = openRtnetlink(near);
    const farLink = openRtnetlink(far);
    open.push(nearLink, farLink);
    nearLink.createVeth({ name: "v0" }, { name: "v0", namespace: far });
    nearLink.addAddress("v0", { prefix: prefix("10.9.240.1/16") });
    nearLink.setLink("v0", { up: true });
    farLink.setLink("v0", { up: true });
    const index = farLink.indexOf("v0");
    const addresses = Array.from({ length: vips }, (_, i) => ipv4FromNumber(first + i));
    const refused = farLink.batch(
      addresses.map((address) => ask.addAddress(index, { prefix: { address, length: 16 } }, "v0")),
    );
    if (refused.length > 0) throw new Error(`${refused.length} addresses were refused`);
    const gather = openPacketSocket({
      interface: "v0",
      namespace: far,
      filter: filterProgram(isArp),
      receiveBufferOctets: 64 << 20,
    });
    open.push(gather);
    await new Promise((resolve) => setTimeout(resolve, 300));

    const ours = [];
    const theirs = [];
    let missed = 0;
    const last = ipv4FromNumber(first + vips - 1);
    const range = `10.9.0.1-10.9.${(last >>> 8) & 255}.${last & 255}`;
    const args = ["-I", "v0", "-N", "-q", "-B", "10000M", "--retry=1", "--timeout=100", range];
    for (let run = 0; run < runs; run++) {
      onTheWire(gather);
      const report = await whoHas({
        vips: addresses,
        namespace: near,
        source: process.env.SRC ?? "own",
        count: 1,
        timeoutMs: 100,
        decoys: 0,
      });
      const wire = onTheWire(gather);
      missed += vips - report.links[0].vips.filter((v) => v.verdict === "one-owner").length;
      if (wire.questions !== vips) missed += Math.abs(vips - wire.questions);
      ours.push(wire.questions / wire.seconds);
      try {
        const text = near.run(() =>
          execFileSync("arp-scan", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
        );
        const scan = onTheWire(gather);
        const own = /\(([\d.]+) hosts\/sec\)/.exec(text);
        theirs.push({ wire: scan.questions / scan.seconds, own: Number(own?.[1]) });
      } catch (error) {
        if (error.code !== "ENOENT") throw error;
      }
    }
    const whoHasRate = Math.round(median(ours));
    const arpScan =
      theirs.length === 0
        ? null
        : { wire: Math.round(median(theirs.map((t) => t.wire))), own: Math.round(median(theirs.map((t) => t.own))) };
    return {
      vips,
      runs,
      cores: cpus().length,
      whoHas: { probesPerSecond: whoHasRate, best: Math.round(Math.max(...ours)), missed },
      arpScan: arpScan && { probesPerSecond: arpScan.wire, byItsOwnAccount: arpScan.own },
      ratio: arpScan && Math.round((whoHasRate / arpScan.wire) * 10) / 10,
      ratioToItsOwnAccount: arpScan && Math.round((whoHasRate / arpScan.own) * 10) / 10,
    };
  } finally {
    for (const each of open) each.close();
    for (const namespace of [near, far]) {
      namespace.close();
      removeNamespace(namespace.name);
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(JSON.stringify(await benchWhoHas(), null, 2));
