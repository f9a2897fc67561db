import type { IpBody } from "./frame.ts";

/** What it answers; undefined: nothing. */
export type UdpService = (packet: IpBody) => Uint8Array | undefined;
const discard: UdpService = () => undefined;

/** By port; discard is there from the beginning. The one asked for last is kept at hand. */
export class UdpServices {
  #port = 9;
  #service: UdpService | undefined = discard;
  #all: Map<number, UdpService> | undefined;

  get(port: number): UdpService | undefined {
    if (port !== this.#port) {
      this.#service = this.#all?.get(port) ?? (port === 9 ? discard : undefined);
      this.#port = port;
    }
    return this.#service;
  }

  touch(): number {
    return this.#port;
  }

  set(port: number, service: UdpService): void {
    this.#all ??= new Map();
    this.#all.set(port, service);
    this.#port = -1;
  }

  delete(port: number): void {
    this.#all?.delete(port);
    this.#port = -1;
  }
}
