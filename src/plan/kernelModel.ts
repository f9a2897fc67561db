import { type Mac, parseMac, ZERO_MAC } from "../base/mac.ts";
import { announce } from "../model/announce.ts";
import { answerArp } from "../model/answerArp.ts";
import { compileHost } from "../model/compileHost.ts";
import type { HostFacts } from "../model/facts.ts";
import { linkIndex } from "../model/host.ts";
import { type IpHeader, receive } from "../model/receive.ts";
import type { Announcement, AnnounceQuestion, Answer, ArpQuestion, Kernel, PacketQuestion } from "./kernel.ts";

/** A locally administered MAC (RFC 7042) for the neighbour that a proof puts on the wire. */
const ASKER = parseMac("02:00:00:00:00:01") as Mac;
const CLIENT_PORT = 40000;

interface Doubt {
  readonly unconfirmed?: true;
  readonly notUnderstood?: readonly string[];
}

function doubts(v: Doubt): { uncertain?: string } {
  const [rule] = v.notUnderstood ?? [];
  if (rule !== undefined) return { uncertain: `a filter rule on the way could not be read: ${rule}` };
  if (v.unconfirmed === true) return { uncertain: "this kernel's patch could not be read: its rules are inferred" };
  return {};
}

/** The model of Linux as a proof asks it. */
export const kernelModel: Kernel = (facts: HostFacts) => {
  const host = compileHost(facts);
  const answers = (q: ArpQuestion): Answer => {
    const v = answerArp(host, {
      link: linkIndex(host, q.link),
      frame: q.unicast ? "unicast" : "broadcast",
      operation: 1,
      senderMac: ASKER,
      senderIp: q.sender,
      targetMac: ZERO_MAC,
      targetIp: q.target,
    });
    return { yes: v.kind === "reply", rule: v.rule, because: v.because, ...doubts(v) };
  };
  const announces = (q: AnnounceQuestion): Announcement => {
    const v = announce(host, { link: linkIndex(host, q.link), packetSource: q.source, nextHop: q.target });
    const sender = v.kind === "request" ? v.senderIp : undefined;
    return { sender, rule: v.rule, because: v.because, ...doubts(v) };
  };
  const receives = (q: PacketQuestion): Answer => {
    const packet: IpHeader = {
      source: q.source,
      destination: q.destination,
      protocol: q.protocol,
      sourcePort: CLIENT_PORT,
      destinationPort: q.port,
    };
    const header: IpHeader = q.outer ? { ...q.outer, protocol: "ipip", inner: packet } : packet;
    const v = receive(host, { ...header, link: linkIndex(host, q.link), frame: "unicast" });
    const yes = v.kind === "deliver" && v.transparent !== true;
    const because = v.kind === "forward" ? `forwarded out of ${v.out}: ${v.because}` : v.because;
    return { yes, rule: v.rule, because, ...doubts(v) };
  };
  return { answers, announces, receives };
};
