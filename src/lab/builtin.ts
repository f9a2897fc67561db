/** The clusters of `vipward lab` without a file: the examples that come with the package, with more or fewer real servers. */
import { readFileSync } from "node:fs";
import { isMap, isScalar, type Pair, parseDocument } from "yaml";
import { formatIpv4, type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { covers, parsePrefix } from "../base/prefix.ts";
import type { ForwardingMethod } from "../ports/engine.ts";

const exampleOf = (forwarding: ForwardingMethod): string =>
  readFileSync(new URL(`../../examples/lvs-${forwarding}.yaml`, import.meta.url), "utf8");

/**
 * The example's text with `count` real servers: those of the file first, the ones on other networks kept, new ones
 * numbered on from the last on the LAN.
 */
export function builtinCluster(forwarding: ForwardingMethod, count: number): string {
  const document = parseDocument(exampleOf(forwarding));
  const servers = document.get("realServers");
  if (!isMap(servers)) throw new Error("the example's real servers are not a mapping");
  const lan = parsePrefix(String(document.getIn(["networks", "lan", "prefix"])));
  if (lan === undefined) throw new Error("the example has no network named lan");
  const items = servers.items as Pair[];
  const addressOf = (pair: Pair): Ipv4 => ipv4(isScalar(pair.value) ? String(pair.value.value) : "");
  const near = items.filter((pair) => covers(lan, addressOf(pair)));
  const far = items.filter((pair) => !covers(lan, addressOf(pair)));
  const lanCount = count - far.length;
  const last = addressOf(near.at(-1) as Pair);
  const added = Array.from({ length: Math.max(0, lanCount - near.length) }, (_, i) =>
    document.createPair(`web${items.length + 1 + i}`, formatIpv4(ipv4FromNumber(last + 1 + i))),
  );
  servers.items = [...near.slice(0, lanCount), ...far, ...added] as typeof servers.items;
  return document.toString();
}
