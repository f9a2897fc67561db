import { existsSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import { readFacts } from "../../host/facts.ts";
import { Namespace } from "../../host/namespace.ts";
import type { HostFacts } from "../../model/facts.ts";

/** Of this thread's own namespace, or of a named one (`ip netns`). */
export function liveFacts(netns: string | undefined): HostFacts {
  const takenAt = new Date().toISOString();
  if (netns === undefined) return readFacts({ takenAt });
  if (!/^\w[\w.-]*$/.test(netns) || !existsSync(`/run/netns/${netns}`))
    throw new HostError("namespace/ENOENT", `there is no network namespace ${netns}`, {
      remedy: "list them with `ip netns`",
    });
  const namespace = new Namespace(netns);
  try {
    return readFacts({ takenAt, namespace });
  } finally {
    namespace.close();
  }
}
