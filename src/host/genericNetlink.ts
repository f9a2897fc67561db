/** Generic netlink: families have names, and the kernel gives each a number when it appears. */
import { CTRL_CMD, family, GENL_ID_CTRL } from "../wire/genetlink.ts";
import { NetlinkError } from "./errors.ts";
import { type NetlinkSocket, requestPayload } from "./netlink.ts";

const CTRL_VERSION = 2;

/** The message type of a family; undefined when this kernel has none. Asking makes the kernel try modprobe. */
export function familyId(socket: NetlinkSocket, name: string): number | undefined {
  const payload = requestPayload(family, { command: CTRL_CMD.getFamily, version: CTRL_VERSION, name });
  try {
    const [answer] = socket.call({
      type: GENL_ID_CTRL,
      flags: 0,
      payload,
      operation: "find netlink family",
      object: name,
    });
    const read = answer && family.decode(answer.payload);
    return read?.ok ? read.value.id : undefined;
  } catch (error) {
    if (error instanceof NetlinkError && error.errnoName === "ENOENT") return undefined;
    throw error;
  }
}
