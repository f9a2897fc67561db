/** `vipward/kernel`: what any Linux from 2.0 to today answers to ARP and does with a packet, and why. */
export * from "./facts.ts";
export { checkFacts, type FactsProblem, type FactsResult, factsJsonSchema, parseFacts } from "./factsSchema.ts";
