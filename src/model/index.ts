/** `vipward/kernel`: what any Linux from 2.0 to today answers to ARP and does with a packet, and why. */

export { formatIpv4, type Ipv4, ipv4, parseIpv4 } from "../base/ipv4.ts";
export { BROADCAST_MAC, type Mac, mac, parseMac, ZERO_MAC } from "../base/mac.ts";
export {
  type AnnounceNothing,
  type AnnounceRequest,
  type AnnounceVerdict,
  announce,
  announcesByItself,
  type LinkEvent,
  type SelfAnnouncement,
  type Solicitation,
} from "./announce.ts";
export {
  type ArpPacket,
  type ArpReply,
  type ArpSilence,
  type ArpVerdict,
  answerArp,
  type CacheEffect,
  type FrameKind,
} from "./answerArp.ts";
export { compileHost } from "./compileHost.ts";
export * from "./facts.ts";
export { kernelRoutes, withAddress, withoutAddress } from "./factsEdit.ts";
export { checkFacts, type FactsProblem, type FactsResult, factsJsonSchema, parseFacts } from "./factsSchema.ts";
export { compareReleases, generationOf, parseRelease, type Release, releaseOf } from "./generation.ts";
export { type Host, linkAt, linkIndex } from "./host.ts";
export { ANY6, type Ipv6, parseIpv6, solicitedNode } from "./ipv6.ts";
export { type Address, type Conf, type Link, receiverOf } from "./link.ts";
export { addressType, isLocal, ownerOf } from "./localTable.ts";
export {
  announcesByItself6,
  answerNdp,
  type NdpFlag,
  type NdpVerdict,
  type Solicitation6,
  solicitSource6,
} from "./ndp.ts";
export {
  cacheOf,
  emptyCache,
  isValid,
  type NeighbourCache,
  type NeighbourEntry,
  neighbour,
  neighbourEntry,
  neighbourFlush,
  neighbourKey,
} from "./neighbour.ts";
export { neighbourDeadlineMs, neighbourTick, neighbourTimes, neighbourUse, type TimerStep } from "./neighbourTimers.ts";
export type { Flow } from "./policyRule.ts";
export {
  type Delivered,
  type Dropped,
  type Forwarded,
  type IpHeader,
  type IpPacket,
  type IpVerdict,
  receive,
} from "./receive.ts";
export { fibLookup, flowOf, outputDevice } from "./routes.ts";
export type { Route } from "./routingTable.ts";
export { isRuleId, type Rule, type RuleId, rules, rulesDocument, ruleText } from "./rules.ts";
export { selectSource } from "./selectSource.ts";
export { type Switches, type SwitchName, switchesOf, switchProblems, switchTable } from "./switches.ts";
export { type Combine, combine, effective, type SysctlName, sysctlTable } from "./sysctl.ts";
export { runVector, runVectors, type VectorCase, type VectorDifference, type VectorsReport } from "./vectors.ts";
