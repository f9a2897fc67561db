import {
  type AttributeRow,
  type Attributes,
  type AttributeTable,
  attributes,
  bytes,
  message,
  text,
} from "./attributes.ts";
import { fault } from "./fault.ts";
import type { Decoded, Layout, Table } from "./layout.ts";
import * as row from "./layout.ts";

/** Queueing disciplines, as far as labs need them: only written, never read. Source: uapi/linux/pkt_sched.h. */

const header = row.layout("traffic-control", 20, {
  family: row.u8(0),
  padding: row.unused(1, 3),
  linkIndex: row.hostS32(4),
  handle: row.host32(8),
  parent: row.host32(12),
  information: row.host32(16),
});

/** struct tc_netem_qopt. */
const netemFixed = row.layout("netem", 24, {
  latencyTicks: row.host32(0),
  limitPackets: row.host32(4),
  loss: row.host32(8),
  gap: row.host32(12),
  duplicate: row.host32(16),
  jitterTicks: row.host32(20),
});
const netemMore = attributes("netem", { latencyNs: bytes(10), jitterNs: bytes(11) });

const writeOnly = { read: () => fault("traffic-control/unread", "queueing disciplines are written only") } as const;

/** Options that are a structure with attributes behind it. */
function structThen<T extends Table, A extends AttributeTable>(
  type: number,
  fixed: Layout<T>,
  rest: Attributes<A>,
): AttributeRow<{ readonly fixed: Decoded<T>; readonly rest: Parameters<Attributes<A>["encode"]>[1] }> {
  return {
    type,
    ...writeOnly,
    write: (into, where, value) => {
      into.nest(where, () => {
        into.fixed(fixed, value.fixed);
        rest.encode(into, value.rest);
      });
    },
  };
}

export const netem = message(
  header,
  attributes("netem-qdisc", { kind: text(1), options: structThen(2, netemFixed, netemMore) }),
);
export const RTM_NEW_QDISC = 36;
export const ROOT = 0xffffffff;
