import type { Mac } from "../base/mac.ts";
import type { MacId } from "./frame.ts";

/** A network card of a host. */
export interface Nic {
  readonly index: number;
  /** Name of the link in the facts. */
  readonly link: string;
  readonly mac: Mac;
  readonly macId: MacId;
  /** Port of the LAN. */
  readonly port: number;
  /** Of the link, as the facts have it. */
  mtuOctets: number;
}
