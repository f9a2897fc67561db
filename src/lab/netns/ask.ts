import { setTimeout as sleep } from "node:timers/promises";
import type { Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import * as libc from "../../host/libc.ts";
import type { Namespace } from "../../host/namespace.ts";
import { ARP_REPLY, decodeArp } from "../../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../../wire/ethernet.ts";
import { arpRequest } from "../../wire/frame.ts";
import type { Answers } from "../stage.ts";

const roundMs = 60;
const lastRoundMs = 1000; // a VM without hardware support may take its time

export interface Question {
  readonly namespace: Namespace;
  readonly link: string;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targets: readonly Ipv4[];
  readonly times: number;
}

export async function askWhoHas(q: Question): Promise<Answers[]> {
  const fd = q.namespace.run(() => openArp(q.link));
  const by = new Map(q.targets.map((t) => [t, new Map<Mac, { answers: number; first: number }>()]));
  const answered = new Set<Ipv4>();
  const buffer = new Uint8Array(2048);
  const watch = libc.onReadable(fd, () => {
    for (;;) {
      const length = libc.recv(fd, buffer, 0, "who-has");
      if (length === undefined) return;
      const frame = buffer.subarray(0, length);
      const link = decodeEthernet(frame);
      if (!link.ok || link.value.etherType !== ETHERTYPE.arp) continue;
      const arp = decodeArp(frame, link.value.payloadOffset);
      if (!arp.ok || arp.value.operation !== ARP_REPLY || arp.value.targetMac !== q.senderMac) continue;
      const counts = by.get(arp.value.senderIp);
      if (counts === undefined) continue;
      const count = counts.get(arp.value.senderMac) ?? { answers: 0, first: 0 };
      count.answers += 1;
      if (!answered.has(arp.value.senderIp)) count.first += 1;
      answered.add(arp.value.senderIp);
      counts.set(arp.value.senderMac, count);
    }
  });
  try {
    for (let round = 0; round < q.times; round++) {
      answered.clear();
      for (const targetIp of q.targets)
        libc.send(fd, arpRequest({ senderMac: q.senderMac, senderIp: q.senderIp, targetIp }), 0, "who-has");
      await sleep(round === q.times - 1 ? lastRoundMs : roundMs);
    }
  } finally {
    watch.close();
    libc.close(fd);
  }
  return [...by].map(([target, counts]) => ({
    target,
    asked: q.times,
    by: [...counts].map(([mac, c]) => ({ mac, ...c })),
  }));
}

function openArp(link: string): number {
  const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, `packet socket on ${link}`);
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, libc.AF_PACKET, true);
  view.setUint16(2, 0x0608, true);
  view.setInt32(4, libc.interfaceIndex(link), true);
  libc.bind(fd, address, `packet socket on ${link}`);
  return fd;
}
