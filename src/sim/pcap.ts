/**
 * Capture files (pcapng, draft-ietf-opsawg-pcapng), Ethernet, microseconds: what Wireshark and tcpdump open. Each cable is
 * an interface with its name, so that the copies of one frame on several uplinks can be told apart.
 */
import { encodeFrame, type Frame, type Macs, nothing } from "./frame.ts";

const blocks = { section: 0x0a0d0d0a, interface: 1, packet: 6 } as const;
const byteOrder = 0x1a2b3c4d;
/** Version 1.0, and a section as long as the file, whatever that will be. */
const sectionBody = [byteOrder, 1 << 16, 0xffff_ffff, 0xffff_ffff];
const ethernet = 1;
const longestOctets = 262_144;
const options = { end: 0, name: 2 } as const;

const padded = (octets: number): number => (octets + 3) & ~3;

/** Collects frames; `octets()` is the file. Big-endian, so that it is the same on every machine. */
export class Pcap {
  #octets = new Uint8Array(65_536);
  #view = new DataView(this.#octets.buffer);
  #length = 0;
  readonly #macs: Macs;
  readonly #interfaces = new Map<string, number>();
  frames = 0;

  constructor(macs: Macs) {
    this.#macs = macs;
    this.#block(blocks.section, sectionBody);
  }

  #room(octets: number): void {
    if (this.#length + octets <= this.#octets.length) return;
    const wider = new Uint8Array(Math.max(this.#octets.length * 2, this.#length + octets));
    wider.set(this.#octets);
    this.#octets = wider;
    this.#view = new DataView(wider.buffer);
  }

  #word(value: number): void {
    this.#view.setUint32(this.#length, value >>> 0);
    this.#length += 4;
  }

  /** Its length stands at both ends of a block. */
  #block(type: number, words: readonly number[], octets: Uint8Array = nothing, after: readonly number[] = []): void {
    const length = 12 + 4 * (words.length + after.length) + padded(octets.length);
    this.#room(length);
    for (const word of [type, length, ...words]) this.#word(word);
    this.#octets.set(octets, this.#length);
    this.#length += padded(octets.length);
    for (const word of [...after, length]) this.#word(word);
  }

  #interfaceOf(cable: string): number {
    const known = this.#interfaces.get(cable);
    if (known !== undefined) return known;
    const name = new TextEncoder().encode(cable);
    this.#block(blocks.interface, [ethernet << 16, longestOctets, (options.name << 16) | name.length], name, [
      options.end,
    ]);
    this.#interfaces.set(cable, this.#interfaces.size);
    return this.#interfaces.size - 1;
  }

  add(timeUs: number, cable: string, frame: Frame): void {
    const octets = encodeFrame(frame, this.#macs);
    const on = this.#interfaceOf(cable);
    const [high, low] = [Math.floor(timeUs / 0x1_0000_0000), timeUs % 0x1_0000_0000];
    this.#block(blocks.packet, [on, high, low, octets.length, octets.length], octets);
    this.frames++;
  }

  octets(): Uint8Array {
    return this.#octets.slice(0, this.#length);
  }
}
