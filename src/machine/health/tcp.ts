import type { Ipv4 } from "../../base/ipv4.ts";
import { type Checker, down, refused, up } from "./probe.ts";

/** Up as soon as the connection stands; what the service says on it is not read. */
export const tcpCheck = (question: { readonly address: Ipv4; readonly port: number }): Checker<null> => ({
  name: "tcp",
  begin: () => ({ state: null, effects: [{ kind: "connect", ...question, tls: undefined }] }),
  on(state, event) {
    if (event.kind === "connected") return { state, judgement: up("connected") };
    if (event.kind === "failed") return { state, judgement: refused("tcp", event.error) };
    if (event.kind === "closed") return { state, judgement: down("tcp/closed", "closed before it was connected") };
    return { state };
  },
});
