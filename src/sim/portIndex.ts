import type { Ipv4 } from "../base/ipv4.ts";

/** Ports by address. Most addresses have one port, so that one is kept bare. */
export class PortIndex {
  readonly #ports = new Map<Ipv4, number | Set<number>>();

  add(ip: Ipv4, port: number): void {
    const known = this.#ports.get(ip);
    if (known === undefined) this.#ports.set(ip, port);
    else if (typeof known !== "number") known.add(port);
    else if (known !== port) this.#ports.set(ip, new Set([known, port]));
  }

  remove(ip: Ipv4, port: number): void {
    const known = this.#ports.get(ip);
    if (typeof known === "number" ? known === port : known?.delete(port) === true && known.size === 0)
      this.#ports.delete(ip);
  }

  addTo(ip: Ipv4, list: number[]): void {
    const known = this.#ports.get(ip);
    if (typeof known === "number") list.push(known);
    else if (known !== undefined) for (const port of known) list.push(port);
  }
}
