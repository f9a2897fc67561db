/** The ends of cables as numbers side by side, because every frame asks for nearly all of them; and the cables. */

/** Both directions of one cable. Shares are in millionths; times in microseconds. */
export interface CableOptions {
  readonly delayUs: number;
  /** Up to so much more, different for each frame; frames keep their order. Only what a host sends is delayed by it. */
  readonly jitterUs: number;
  readonly lossPpm: number;
  readonly duplicatePpm: number;
  /** Frames that are held back by `reorderUs`, so that later ones overtake them. */
  readonly reorderPpm: number;
  readonly reorderUs: number;
  /** Longest payload of a frame; longer ones are thrown away, as a switch does. */
  readonly mtuOctets: number;
}

export const plainCable: CableOptions = {
  delayUs: 5,
  jitterUs: 0,
  lossPpm: 0,
  duplicatePpm: 0,
  reorderPpm: 0,
  reorderUs: 0,
  mtuOctets: 1500,
};

// Of one port, in `Ports.numbers`: half a line of cache, and nothing else is asked of a port on the way of a frame.
/** Station index, or -1 - switch index. */
export const OWNER = 0;
/** Of a host's port: number of the NIC on its host. */
export const NIC = 1;
/** Of a switch's port: the VLAN of an access port, 0 for a trunk, -1 as long as it is neither. */
export const VLAN = 1;
/** Port at the other end. */
export const PEER = 2;
/** UP, FAULTY, NARROW, CAPTURED. */
export const FLAGS = 3;
export const DELAY = 4;
export const JITTER = 5;
export const PORT_WIDTH = 8;
/** Of one port, in `Ports.times`: when the last frame sent by it arrives, as none overtakes it. Words 6 and 7. */
export const LAST = 3;
export const TIMES_WIDTH = PORT_WIDTH / 2;

export const UP = 1;
/** Loses, doubles or reorders frames. */
export const FAULTY = 2;
/** Throws away packets that Ethernet carries. */
export const NARROW = 4;
/** Whatever is sent by this port is written down. */
export const CAPTURED = 8;
/** Longest packet of Ethernet: what is longer is looked at on every cable. */
export const ethernetMtu = 1500;

export class Ports {
  numbers = new Int32Array(64 * PORT_WIDTH);
  /** The same memory. */
  times = new Float64Array(this.numbers.buffer);
  count = 0;

  add(owner: number, nicOrVlan: number): number {
    const port = this.count++;
    if (port * PORT_WIDTH === this.numbers.length) {
      const numbers = new Int32Array(this.numbers.length * 2);
      numbers.set(this.numbers);
      this.numbers = numbers;
      this.times = new Float64Array(numbers.buffer);
    }
    this.numbers[port * PORT_WIDTH + OWNER] = owner;
    this.numbers[port * PORT_WIDTH + NIC] = nicOrVlan;
    this.numbers[port * PORT_WIDTH + PEER] = -1;
    return port;
  }

  get(port: number, what: number): number {
    return this.numbers[port * PORT_WIDTH + what] as number;
  }

  set(port: number, what: number, value: number): void {
    this.numbers[port * PORT_WIDTH + what] = value;
  }
}

/** Two ports that are connected. */
export class Cable {
  readonly ends: readonly [number, number];
  readonly #ports: Ports;
  readonly #nowUs: () => number;
  #options: CableOptions = plainCable;
  /** When it was cut or mended last. */
  #changedUs = Number.NEGATIVE_INFINITY;

  constructor(ports: Ports, ends: readonly [number, number], options: CableOptions, nowUs: () => number) {
    this.#ports = ports;
    this.ends = ends;
    this.#nowUs = nowUs;
    for (const [i, end] of ends.entries()) ports.set(end, PEER, ends[1 - i] as number);
    for (const end of ends) ports.set(end, FLAGS, UP);
    this.options = options;
  }

  get options(): CableOptions {
    return this.#options;
  }

  set options(options: CableOptions) {
    this.#options = options;
    const faulty = options.lossPpm > 0 || options.duplicatePpm > 0 || options.reorderPpm > 0;
    const flags = (faulty ? FAULTY : 0) | (options.mtuOctets < ethernetMtu ? NARROW : 0);
    for (const end of this.ends) {
      this.#ports.set(end, FLAGS, (this.#ports.get(end, FLAGS) & (UP | CAPTURED)) | flags);
      this.#ports.set(end, DELAY, options.delayUs);
      this.#ports.set(end, JITTER, options.jitterUs);
    }
  }

  get up(): boolean {
    return (this.#ports.get(this.ends[0], FLAGS) & UP) !== 0;
  }

  set up(up: boolean) {
    if (up === this.up) return;
    this.#changedUs = this.#nowUs();
    for (const end of this.ends) {
      const flags = this.#ports.get(end, FLAGS);
      this.#ports.set(end, FLAGS, up ? flags | UP : flags & ~UP);
    }
  }

  /** Whether it was whole at a time not long ago. */
  wasUp(atUs: number): boolean {
    return this.#changedUs <= atUs ? this.up : !this.up;
  }
}
