/** Which services a lab or a simulation cannot try, for want of a client. */
import type { Context } from "./context.ts";
import type { ClusterInput } from "./schema.ts";

/** Says of each service by sctp that it is left out, and where nothing else is there, that this cannot be. */
export function saySctp(context: Context, { services }: ClusterInput): void {
  const code = services.every((s) => s.protocol === "sctp") ? "only-sctp" : "sctp-left-out";
  for (const [i, { name, protocol }] of services.entries())
    if (protocol === "sctp") {
      const what = name === undefined ? "this service" : `the service ${name}`;
      const effect = code === "only-sctp" ? "and no other service is there" : "so it is left out";
      context.add(
        code,
        ["services", i, "protocol"],
        `${what} is by sctp, which no lab or simulation speaks, ${effect}`,
      );
    }
}
