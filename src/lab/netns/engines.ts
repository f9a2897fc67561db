import { ipvsEngine } from "../../host/engine/ipvs.ts";
import { nftEngine } from "../../host/engine/nft.ts";
import { loadModule } from "../../host/modules.ts";
import type { EngineMaker } from "./stage.ts";

export const ipvsEngineMaker = (): EngineMaker => {
  for (const module of ["ip_vs", "dummy", "ipip"]) loadModule(module);
  return (director) => ipvsEngine(director.namespace);
};

export const nftEngineMaker = (): EngineMaker => (director, link, macOf) =>
  nftEngine({ inside: (body) => director.namespace.run(body), link: link.name, linkMac: link.mac, macOf });
