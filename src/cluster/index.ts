export type * from "./cluster.ts";
export { virtualServersOf } from "./cluster.ts";
export { type Code, codes, type Severity } from "./codes.ts";
export { defaults } from "./defaults.ts";
export { type ClusterResult, parseCluster, refuseSize, sizeLimitOctets } from "./parse.ts";
export { formatProblem, type Problem } from "./problem.ts";
export { type Role, roleOf } from "./role.ts";
export { clusterJsonSchema } from "./schema.ts";
export * from "./words.ts";
