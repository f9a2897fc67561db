import { attributes, host16, host32, list, message, text } from "./attributes.ts";
import { layout, u8, unused } from "./layout.ts";
import { MessageBuilder, NLM_F } from "./netlink.ts";

/** linux/genetlink.h. After the netlink header, before a family's attributes. */
export const genericHeader = layout("genetlink", 4, { command: u8(0), version: u8(1), reserved: unused(2, 2) });

/** The controller's own message type; other families get theirs from it. */
export const GENL_ID_CTRL = 16;
export const CTRL_CMD = {
  newFamily: 1,
  delFamily: 2,
  getFamily: 3,
  newOps: 4,
  delOps: 5,
  newGroup: 7,
  delGroup: 8,
} as const;

const operation = attributes("genetlink-operation", { id: host32(1), flags: host32(2) });
const group = attributes("genetlink-group", { name: text(1), id: host32(2) });
/** CTRL_ATTR_*. */
export const familyAttributes = attributes("genetlink-family", {
  id: host16(1),
  name: text(2),
  familyVersion: host32(3),
  headerOctets: host32(4),
  largestAttribute: host32(5),
  operations: list(6, operation),
  groups: list(7, group),
});
export const family = message(genericHeader, familyAttributes);

/** Asks which message type a family has; the kernel may load its module. ENOENT where there is none. */
export const getFamily = (name: string, sequence: number): Uint8Array =>
  family
    .encode(new MessageBuilder({ type: GENL_ID_CTRL, flags: NLM_F.ack, sequence }), {
      command: CTRL_CMD.getFamily,
      version: 2,
      name,
    })
    .finish();
/** Lists all families. */
export const dumpFamilies = (sequence: number): Uint8Array =>
  family
    .encode(new MessageBuilder({ type: GENL_ID_CTRL, flags: NLM_F.dump, sequence }), {
      command: CTRL_CMD.getFamily,
      version: 2,
    })
    .finish();
