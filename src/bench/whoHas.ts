import { setTimeout as sleep } from "node:timers/promises";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { prefix } from "../base/prefix.ts";
import { HostError } from "../host/errors.ts";
import { openPacketSocket, type ReceivedFrame, SendBatch } from "../host/packetSocket.ts";
import { ask } from "../host/rtnetlink.ts";
import { whoHas } from "../host/whoHas.ts";
import { ARP_REQUEST, decodeArp } from "../wire/arp.ts";
import { arpRequest } from "../wire/frame.ts";
import { filterProgram, isArp } from "../wire/packetFilter.ts";
import { type Bench, median, nowMs, rateRow } from "./measure.ts";
import { inPlace, type Place } from "./place.ts";

const count = 4096;
const rounds = 7;
const first = ipv4("10.77.0.1");
const vips = Array.from({ length: count }, (_, i) => ipv4FromNumber(first + i));

interface Rate {
  /** On the wire, as stamped at its far end. */
  readonly perSecond: number;
  /** By the program's own account. */
  readonly ownPerSecond: number;
  readonly answered: number;
}

/** A socket at the far end that only gathers: both programs are timed by the kernel's stamps of what reached it. */
function gatherAt({ there }: Place): { read(): number; close(): void } {
  const socket = openPacketSocket({
    namespace: there,
    interface: "eth0",
    filter: filterProgram(isArp),
    receiveBufferOctets: 64 << 20,
  });
  return {
    /** Questions a second, from the first stamp to the last, since it was read before. */
    read() {
      let questions = 0;
      let firstUs = Number.POSITIVE_INFINITY;
      let lastUs = 0;
      const visit = (frame: ReceivedFrame): void => {
        const arp = decodeArp(frame.octets, 14);
        if (!arp.ok || arp.value.operation !== ARP_REQUEST) return;
        questions += 1;
        firstUs = Math.min(firstUs, frame.timeUs);
        lastUs = Math.max(lastUs, frame.timeUs);
      };
      while (socket.receive(visit) > 0);
      return (questions * 1e6) / (lastUs - firstUs);
    },
    close: () => socket.close(),
  };
}
type Gather = ReturnType<typeof gatherAt>;

async function ours({ here }: Place, gather: Gather): Promise<Rate> {
  const report = await whoHas({
    vips,
    namespace: here,
    interface: "eth0",
    source: "own",
    count: 1,
    timeoutMs: 200,
    decoys: 0,
  });
  const answered = report.links[0]?.vips.filter((v) => v.verdict === "one-owner").length ?? 0;
  const { questions, durationUs } = report.links[0]?.sending ?? { questions: 0, durationUs: 1 };
  return { perSecond: gather.read(), ownPerSecond: (questions * 1e6) / durationUs, answered };
}

/** How many answered is its own word: "4096 hosts scanned in 0.5 seconds (8192 hosts/sec). 4096 responded". */
function arpScan({ run }: Place, speed: string, gather: Gather): Rate {
  const args = [
    "--interface=eth0",
    "--quiet",
    "--numeric",
    "--retry=1",
    "--timeout=200",
    speed,
    "10.77.0.1-10.77.16.0",
  ];
  const said = /\(([\d.]+) hosts\/sec\)\. (\d+) responded/.exec(run("arp-scan", args));
  if (said === null)
    throw new HostError("bench/arp-scan", "arp-scan said nothing that can be read", { remedy: "run it by hand" });
  return { perSecond: gather.read(), ownPerSecond: Number(said[1]), answered: Number(said[2]) };
}

/** Frames a second through the same veth with nothing to compute and nobody to answer: the limit. */
async function limit({ here }: Place): Promise<number> {
  const socket = openPacketSocket({ namespace: here, interface: "eth0", bypassQueue: true });
  const batch = new SendBatch(128, 60);
  try {
    const frame = new Uint8Array(60);
    frame.set(arpRequest({ senderMac: socketMac, senderIp: ipv4("10.76.0.1"), targetIp: ipv4("10.99.0.1") }));
    for (let slot = 0; slot < 128; slot++) batch.put(slot, frame);
    const startMs = nowMs();
    let sent = 0;
    while (nowMs() - startMs < 300) sent += socket.sendBatch(batch, 0, 128);
    const perSecond = (sent * 1000) / (nowMs() - startMs);
    await sleep(50);
    return perSecond;
  } finally {
    batch.close();
    socket.close();
  }
}
const socketMac = "02:00:00:00:00:01" as Parameters<typeof arpRequest>[0]["senderMac"];

export const whoHasBench: Bench = {
  name: "who-has",
  title: `who-has over ${count} VIPs, against arp-scan at its fastest`,
  run: (say) =>
    inPlace(prefix("10.76.0.1/8"), prefix("10.76.0.2/8"), async (place) => {
      const lo = place.far.indexOf("lo");
      place.far.batch(vips.map((address) => ask.addAddress(lo, { prefix: { address, length: 32 } })));
      say("trying arp-scan's speeds");
      const gather = gatherAt(place);
      const speeds = ["--interval=1u", "--bandwidth=1000000000", "--bandwidth=10000M"];
      const best = speeds
        .map((speed) => ({ speed, ...arpScan(place, speed, gather) }))
        .sort((a, b) => b.perSecond - a.perSecond)[0];
      if (best === undefined) throw new Error("no speed");
      const mine: Rate[] = [];
      const theirs: Rate[] = [];
      for (let round = 0; round < rounds; round++) {
        say(`round ${round + 1} of ${rounds}`);
        mine.push(await ours(place, gather));
        theirs.push(arpScan(place, best.speed, gather));
      }
      gather.close();
      const missed = (rates: readonly Rate[]): number => rates.reduce((sum, r) => sum + count - r.answered, 0);
      const peer = `arp-scan ${best.speed}`;
      const medians = (of: (rate: Rate) => number) => ({ ours: median(mine.map(of)), peer: median(theirs.map(of)) });
      return [
        rateRow(
          "questions, on the wire",
          "questions/s",
          medians((r) => r.perSecond),
          peer,
          {
            limit: { name: "the same frames through this veth, answered by nobody", value: await limit(place) },
            note: `missed in ${rounds} rounds: ours ${missed(mine)}, arp-scan ${missed(theirs)}, of ${rounds * count} each`,
          },
        ),
        rateRow(
          "questions, own account",
          "questions/s",
          medians((r) => r.ownPerSecond),
          peer,
        ),
      ];
    }),
};
