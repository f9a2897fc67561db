import type { Ipv4 } from "../../base/ipv4.ts";
import { type Checker, down, refused, type Turn, up } from "./probe.ts";

/** Up as soon as the connection stands; what the service says on it is not read. */
export function tcpCheck(question: { readonly address: Ipv4; readonly port: number }): Checker<null> {
  // The same words each time: thousands a second are asked and answered.
  const asked: Turn<null> = { state: null, effects: [{ kind: "connect", ...question, tls: undefined }] };
  return {
    name: "tcp",
    begin: () => asked,
    on(state, event) {
      if (event.kind === "connected") return connected;
      if (event.kind === "failed") return { state, judgement: refused("tcp", event.error) };
      if (event.kind === "closed") return { state, judgement: down("tcp/closed", "closed before it was connected") };
      return { state };
    },
  };
}
const connected: Turn<null> = { state: null, judgement: up("connected") };
