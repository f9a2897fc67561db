/** Queueing disciplines that make a virtual wire behave like one of copper: tc-netem(8), tc-tbf(8). */
import { writeHost64 } from "../wire/octets.ts";
import { LINK_LAYER_ETHERNET, netem, ROOT, RTM_NEW_QDISC, tbf, tbfParameters } from "../wire/trafficControl.ts";
import { type NetlinkRequest, NLM_F, requestPayload } from "./netlink.ts";

export interface Delay {
  /** Nanoseconds; each packet is held for latency give or take jitter, evenly spread. */
  readonly latencyNs: number;
  readonly jitterNs: number;
}

export interface Rate {
  readonly octetsPerSecond: number;
  /** What may leave at once after a pause; at least the MTU and its header. */
  readonly burstOctets: number;
}

const QUEUE_PACKETS = 10_000;
const QUEUE_OCTETS = 1 << 20;

const nanoseconds = (value: number): Uint8Array => {
  const octets = new Uint8Array(8);
  writeHost64(octets, 0, BigInt(value));
  return octets;
};

const request = (kind: string, linkName: string, payload: Uint8Array): NetlinkRequest => ({
  type: RTM_NEW_QDISC,
  flags: NLM_F.create | NLM_F.replace,
  payload,
  operation: `set ${kind}`,
  object: linkName,
});
const rootOf = (linkIndex: number) => ({ family: 0, linkIndex, handle: 0, parent: ROOT, information: 0 });

/** Delays what a link sends. The kernel says ENOENT where it has no sch_netem. */
export function delayRequest(index: number, delay: Delay, linkName: string): NetlinkRequest {
  const fixed = { latencyTicks: 0, limitPackets: QUEUE_PACKETS, loss: 0, gap: 0, duplicate: 0, jitterTicks: 0 };
  const rest = { latencyNs: nanoseconds(delay.latencyNs), jitterNs: nanoseconds(delay.jitterNs) };
  const payload = requestPayload(netem, { ...rootOf(index), kind: "netem", options: { fixed, rest } });
  return request("netem", linkName, payload);
}

/** Limits how fast a link sends; what waits keeps its order. The kernel says ENOENT where it has no sch_tbf. */
export function rateRequest(index: number, rate: Rate, linkName: string): NetlinkRequest {
  const parameters = tbfParameters.encode({
    cellLog: 0,
    linkLayer: LINK_LAYER_ETHERNET,
    overhead: 0,
    cellAlign: 0,
    smallestOctets: 0,
    octetsPerSecond: rate.octetsPerSecond,
    limitOctets: QUEUE_OCTETS,
    bufferTicks: 0,
    mtu: 0,
  });
  const options = { parameters, burstOctets: rate.burstOctets };
  return request("tbf", linkName, requestPayload(tbf, { ...rootOf(index), kind: "tbf", options }));
}
