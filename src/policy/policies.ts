import { arpInvisible } from "./arpInvisible.ts";
import { arpSysctl } from "./arpSysctl.ts";
import { arptables } from "./arptables.ts";
import { fullArpFix } from "./fullArpFix.ts";
import { hidden } from "./hidden.ts";
import { localRoute } from "./localRoute.ts";
import { nature20 } from "./nature20.ts";
import { nftArp } from "./nftArp.ts";
import { noarpCarrier } from "./noarpCarrier.ts";
import type { Policy } from "./policy.ts";
import { redirect } from "./redirect.ts";

/** Every silence policy, oldest kernels first. To add one: its file, and a row here. */
export const policies: readonly Policy[] = [
  nature20,
  fullArpFix,
  arpInvisible,
  hidden,
  arpSysctl,
  nftArp,
  arptables,
  localRoute,
  noarpCarrier,
  redirect,
];

export const policyNamed = (name: string): Policy | undefined => policies.find((p) => p.name === name);
