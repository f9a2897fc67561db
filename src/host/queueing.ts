/** Queueing disciplines that make a virtual wire behave like one of copper: tc-netem(8), tc-tbf(8). */
import { AttributeWriter, LITTLE_ENDIAN } from "../wire/netlinkAttributes.ts";
import { type NetlinkRequest, NLM_F } from "./netlink.ts";

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

const RTM_NEWQDISC = 36;
const TC_H_ROOT = 0xffffffff;
const TCA = { KIND: 1, OPTIONS: 2 } as const;
const NETEM = { LATENCY64: 10, JITTER64: 11 } as const;
const TBF = { PARMS: 1, BURST: 6 } as const;
const TC_LINKLAYER_ETHERNET = 1;
const QUEUE_PACKETS = 10_000;
const QUEUE_OCTETS = 1 << 20;

const nanoseconds = (value: number): Uint8Array => {
  const octets = new Uint8Array(8);
  new DataView(octets.buffer).setBigInt64(0, BigInt(value), LITTLE_ENDIAN);
  return octets;
};

function request(
  index: number,
  kind: string,
  linkName: string,
  options: Uint8Array,
  attributes: (w: AttributeWriter) => void,
): NetlinkRequest {
  const header = new Uint8Array(20); // struct tcmsg
  const view = new DataView(header.buffer);
  view.setInt32(4, index, LITTLE_ENDIAN);
  view.setUint32(12, TC_H_ROOT, LITTLE_ENDIAN);
  const payload = new AttributeWriter(header).text(TCA.KIND, kind).nest(TCA.OPTIONS, attributes, options).finish();
  return {
    type: RTM_NEWQDISC,
    flags: NLM_F.CREATE | NLM_F.REPLACE,
    payload,
    operation: `set ${kind}`,
    object: linkName,
  };
}

/** Delays what a link sends. The kernel says ENOENT where it has no sch_netem. Source: uapi/linux/pkt_sched.h. */
export function delayRequest(index: number, delay: Delay, linkName: string): NetlinkRequest {
  const options = new Uint8Array(24); // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
  new DataView(options.buffer).setUint32(4, QUEUE_PACKETS, LITTLE_ENDIAN);
  return request(index, "netem", linkName, options, (w) => {
    w.octets(NETEM.LATENCY64, nanoseconds(delay.latencyNs));
    w.octets(NETEM.JITTER64, nanoseconds(delay.jitterNs));
  });
}

/** Limits how fast a link sends; what waits keeps its order. The kernel says ENOENT where it has no sch_tbf. */
export function rateRequest(index: number, rate: Rate, linkName: string): NetlinkRequest {
  const parameters = new Uint8Array(36); // struct tc_tbf_qopt: two tc_ratespec of 12, limit, buffer, mtu
  const view = new DataView(parameters.buffer);
  view.setUint8(1, TC_LINKLAYER_ETHERNET); // a known link layer needs no rate table
  view.setUint32(8, rate.octetsPerSecond, LITTLE_ENDIAN);
  view.setUint32(24, QUEUE_OCTETS, LITTLE_ENDIAN);
  return request(index, "tbf", linkName, new Uint8Array(0), (w) => {
    w.octets(TBF.PARMS, parameters);
    w.u32(TBF.BURST, rate.burstOctets);
  });
}
