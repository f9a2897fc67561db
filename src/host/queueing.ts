/** A queueing discipline that makes a virtual wire behave like one of copper: tc-netem(8). */
import { writeHost64 } from "../wire/octets.ts";
import { netem, ROOT, RTM_NEW_QDISC } from "../wire/trafficControl.ts";
import { type NetlinkRequest, NLM_F, requestPayload } from "./netlink.ts";

export interface Delay {
  /** Nanoseconds; each packet is held for latency give or take jitter, evenly spread. */
  readonly latencyNs: number;
  readonly jitterNs: number;
}

const QUEUE_PACKETS = 10_000;

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
