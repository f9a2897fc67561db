/** Generic netlink: families have names, and the kernel gives each a number when it appears. */
import { Attributes, AttributeWriter } from "../wire/netlinkAttributes.ts";
import { NetlinkError } from "./errors.ts";
import type { NetlinkSocket } from "./netlink.ts";

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 2;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const HEADER_OCTETS = 4;

/** The message type of a family; undefined when this kernel has none. Asking makes the kernel try modprobe. */
export function familyId(socket: NetlinkSocket, name: string): number | undefined {
  const payload = new AttributeWriter(Uint8Array.of(CTRL_CMD_GETFAMILY, CTRL_VERSION, 0, 0))
    .text(CTRL_ATTR_FAMILY_NAME, name)
    .finish();
  try {
    const [answer] = socket.call({
      type: GENL_ID_CTRL,
      flags: 0,
      payload,
      operation: "find netlink family",
      object: name,
    });
    return answer === undefined ? undefined : new Attributes(answer.payload, HEADER_OCTETS).u16(CTRL_ATTR_FAMILY_ID);
  } catch (error) {
    if (error instanceof NetlinkError && error.errnoName === "ENOENT") return undefined;
    throw error;
  }
}
