/** The classic capture file (libpcap 2.4), microseconds, Ethernet: what Wireshark and tcpdump open. */
import { encodeFrame, type Frame, type Macs } from "./frame.ts";

const magicUs = 0xa1b2c3d4;
const ethernet = 1;

/** Collects frames; `octets()` is the file. Big-endian, so that it is the same on every machine. */
export class Pcap {
  #octets = new Uint8Array(65_536);
  #length = 0;
  readonly #macs: Macs;
  frames = 0;

  constructor(macs: Macs) {
    this.#macs = macs;
    for (const word of [magicUs, (2 << 16) | 4, 0, 0, 262_144, ethernet]) this.#word(word);
  }

  #room(octets: number): void {
    if (this.#length + octets <= this.#octets.length) return;
    const wider = new Uint8Array(Math.max(this.#octets.length * 2, this.#length + octets));
    wider.set(this.#octets);
    this.#octets = wider;
  }

  #word(value: number): void {
    this.#room(4);
    new DataView(this.#octets.buffer).setUint32(this.#length, value >>> 0);
    this.#length += 4;
  }

  add(timeUs: number, frame: Frame): void {
    const octets = encodeFrame(frame, this.#macs);
    this.#word(Math.floor(timeUs / 1_000_000));
    this.#word(timeUs % 1_000_000);
    this.#word(octets.length);
    this.#word(octets.length);
    this.#room(octets.length);
    this.#octets.set(octets, this.#length);
    this.#length += octets.length;
    this.frames++;
  }

  octets(): Uint8Array {
    return this.#octets.slice(0, this.#length);
  }
}
