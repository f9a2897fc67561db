/**
 * IPVS's schedulers, one function each, after net/netfilter/ipvs/ip_vs_*.c. Hash schedulers give the very real server
 * that a 64-bit kernel from 4.18 on gives. A scheduler sees the real servers in the kernel's order: the last one added
 * stands first (__ip_vs_update_dest adds at the head of the list).
 */
import type { Ipv4 } from "../base/ipv4.ts";

/** One real server of one service, as a scheduler sees it. */
export interface Candidate {
  readonly rip: Ipv4;
  readonly port: number;
  weight: number;
  /** Established connections, and the others in the table. */
  active: number;
  inactive: number;
  /** Above its upper threshold. */
  overloaded: boolean;
}

/** Who asks: the client's side of a new connection. */
export interface Asker {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly nowMs: number;
}

export interface SchedulerFlags {
  /** sh-port, mh-port. */
  readonly port: boolean;
  /** sh-fallback, mh-fallback. */
  readonly fallback: boolean;
}

/** Picks for one service; made anew when its real servers change. undefined: none is available. */
export type Schedule<C extends Candidate> = (asker: Asker) => C | undefined;
type Make = <C extends Candidate>(list: readonly C[], flags: SchedulerFlags) => Schedule<C>;

const available = (c: Candidate): boolean => c.weight > 0 && !c.overloaded;
/** ip_vs_dest_conn_overhead: an established connection counts as 256 others. */
const overhead = (c: Candidate): number => c.active * 256 + c.inactive;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

const rr: Make = (list) => {
  let last = -1;
  return () => {
    for (let step = 1; step <= list.length; step++) {
      const at = (last + step) % list.length;
      const candidate = list[at];
      if (candidate !== undefined && available(candidate)) {
        last = at;
        return candidate;
      }
    }
    return undefined;
  };
};

const wrr: Make = (list) => {
  const step = list.reduce((g, c) => gcd(c.weight, g), 0) || 1;
  const most = list.reduce((m, c) => Math.max(m, c.weight), 0);
  const top = most - (step - 1);
  let at = -1;
  let current = top;
  return () => {
    if (most === 0) return undefined;
    // every round at every level: after that all have been looked at for weight 1
    for (let passes = 0; passes <= most / step + 1; passes++) {
      for (at++; at < list.length; at++) {
        const candidate = list[at];
        if (candidate !== undefined && !candidate.overloaded && candidate.weight >= current) return candidate;
      }
      at = -1;
      current -= step;
      if (current <= 0) current = top;
    }
    return undefined;
  };
};

/** The one with the least `load` per weight; the first of equals. Weight 0 is left out. */
function least<C extends Candidate>(list: readonly C[], load: (c: C) => number): C | undefined {
  let best: C | undefined;
  for (const candidate of list) {
    if (!available(candidate)) continue;
    if (best === undefined || load(best) * candidate.weight > load(candidate) * best.weight) best = candidate;
  }
  return best;
}

const lc: Make = (list) => () => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (available(candidate) && (best === undefined || overhead(candidate) < overhead(best))) best = candidate;
  return best;
};
const wlc: Make = (list) => () => least(list, overhead);
/** What the connection to come would make of it. */
const sed: Make = (list) => () => least(list, (c) => c.active + 1);
const nq: Make = (list) => () => {
  for (const candidate of list) if (available(candidate) && candidate.active === 0) return candidate;
  return least(list, (c) => c.active + 1);
};

const shBits = 8;
/** hash_32 of linux/hash.h since 4.7. */
export const hash32Bits = (value: number, bits: number): number => Math.imul(value, 0x61c88647) >>> (32 - bits);

const sh: Make = (list, flags) => {
  type C = (typeof list)[number];
  const size = 1 << shBits;
  const buckets: C[] = [];
  for (let at = 0, filled = 0; buckets.length < size && list.length > 0; ) {
    const candidate = list[at % list.length] as C;
    buckets.push(candidate);
    if (++filled >= candidate.weight) {
      at++;
      filled = 0;
    }
  }
  const keyOf = (source: Ipv4, port: number, offset: number): number =>
    (offset + hash32Bits((source + port) | 0, shBits)) & (size - 1);
  return ({ source, sourcePort }) => {
    const port = flags.port ? sourcePort : 0;
    const home = keyOf(source, port, 0);
    const first = buckets[home];
    if (first === undefined || available(first)) return first;
    if (!flags.fallback) return undefined;
    for (let offset = 0; offset < size; offset++) {
      const candidate = buckets[keyOf(source, port, (offset + home) % size)];
      if (candidate !== undefined && available(candidate)) return candidate;
    }
    return undefined;
  };
};

/** By destination, one bucket each in turn: weights play no part but zero. */
const dh: Make = (list) => {
  const size = 1 << shBits;
  return ({ destination }) => {
    if (list.length === 0) return undefined;
    const candidate = list[(hash32Bits(destination | 0, shBits) & (size - 1)) % list.length];
    return candidate !== undefined && available(candidate) ? candidate : undefined;
  };
};

/** CONFIG_IP_VS_MH_TAB_INDEX 12: the fifth of the primes. */
const mhSize = 4093;
const mhBits = 6;
const mhFirstKey = 2_654_435_761n;
const mhSecondKey = 2_654_446_892n;

const mask64 = 0xffffffffffffffffn;
const rotate = (x: bigint, by: bigint): bigint => ((x << by) | (x >> (64n - by))) & mask64;

/** hsiphash_1u32 of a 64-bit kernel: SipHash-1-3 of four octets, cut to 32 bits. Both halves of the key are `key`. */
export function hsiphash(value: number, key: bigint): number {
  let v0 = 0x736f6d6570736575n ^ key;
  let v1 = 0x646f72616e646f6dn ^ key;
  let v2 = 0x6c7967656e657261n ^ key;
  let v3 = 0x7465646279746573n ^ key;
  const round = (): void => {
    v0 = (v0 + v1) & mask64;
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = (v2 + v3) & mask64;
    v3 = rotate(v3, 16n) ^ v2;
    v0 = (v0 + v3) & mask64;
    v3 = rotate(v3, 21n) ^ v0;
    v2 = (v2 + v1) & mask64;
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const block = (4n << 56n) | BigInt(value >>> 0);
  v3 ^= block;
  round();
  v0 ^= block;
  v2 ^= 0xffn;
  round();
  round();
  round();
  return Number((v0 ^ v1 ^ v2 ^ v3) & 0xffffffffn);
}

/** Maglev's table: each real server walks its own permutation and takes what is free, as often as its weight says. */
export function maglevTable<C extends Candidate>(list: readonly C[]): (C | undefined)[] {
  const table: (C | undefined)[] = new Array(mhSize).fill(undefined);
  const divisor = list.reduce((g, c) => gcd(c.weight, g), 0);
  if (divisor < 1) return table;
  const most = list.reduce((m, c) => Math.max(m, c.weight), 0);
  const shift = Math.max(0, 32 - Math.clz32(Math.floor(most / divisor)) - mhBits);
  const setups = list.map((candidate) => {
    const value = (candidate.rip + candidate.port) >>> 0;
    return {
      candidate,
      at: hsiphash(value, mhFirstKey) % mhSize,
      skip: (hsiphash(value, mhSecondKey) % (mhSize - 1)) + 1,
      turns: candidate.weight === 0 ? 0 : Math.floor(candidate.weight / divisor) >> shift || 1,
    };
  });
  const taken = new Uint8Array(mhSize);
  let filled = 0;
  while (filled < mhSize)
    for (const setup of setups)
      for (let turn = 0; turn < setup.turns && filled < mhSize; turn++) {
        while (taken[setup.at] === 1) setup.at = (setup.at + setup.skip) % mhSize;
        taken[setup.at] = 1;
        table[setup.at] = setup.candidate;
        filled++;
      }
  return table;
}

const mh: Make = (list, flags) => {
  const table = maglevTable(list);
  const keyOf = (source: Ipv4, port: number, offset: number): number =>
    hsiphash((source + port + offset) >>> 0, mhFirstKey) % mhSize;
  return ({ source, sourcePort }) => {
    const port = flags.port ? sourcePort : 0;
    const home = keyOf(source, port, 0);
    const first = table[home];
    if (first === undefined || available(first)) return first;
    if (!flags.fallback) return undefined;
    for (let offset = 0; offset < mhSize; offset++) {
      const candidate = table[keyOf(source, port, (offset + home) % mhSize)];
      if (candidate === undefined) return undefined;
      if (available(candidate)) return candidate;
    }
    return undefined;
  };
};

/** Too many connections here while somebody is at half of what he could. */
const burdened = (list: readonly Candidate[], c: Candidate): boolean =>
  c.active > c.weight && list.some((other) => other.active * 2 < other.weight);

const lblc: Make = (list) => {
  const homes = new Map<Ipv4, (typeof list)[number]>();
  return ({ destination }) => {
    const home = homes.get(destination);
    if (home !== undefined && available(home) && !burdened(list, home)) return home;
    const chosen = least(list, overhead);
    if (chosen !== undefined) homes.set(destination, chosen);
    return chosen;
  };
};

const lblcrShrinkMs = 24 * 3_600_000;
const lblcr: Make = (list) => {
  type C = (typeof list)[number];
  const sets = new Map<Ipv4, { members: C[]; changedMs: number }>();
  return ({ destination, nowMs }) => {
    const known = sets.get(destination);
    if (known !== undefined) {
      if (known.members.length > 1 && nowMs - known.changedMs > lblcrShrinkMs) {
        // the most burdened one leaves
        const worst = known.members.reduce((w, c) => (overhead(w) * c.weight < overhead(c) * w.weight ? c : w));
        known.members = known.members.filter((c) => c !== worst);
        known.changedMs = nowMs;
      }
      const chosen = least(known.members, overhead);
      if (chosen !== undefined && !burdened(list, chosen)) return chosen;
    }
    const chosen = least(list, overhead);
    if (chosen === undefined) return undefined;
    if (known === undefined) sets.set(destination, { members: [chosen], changedMs: nowMs });
    else if (!known.members.includes(chosen)) {
      known.members.push(chosen);
      known.changedMs = nowMs;
    }
    return chosen;
  };
};

/** Always the one with the highest weight. */
const fo: Make = (list) => () => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (available(candidate) && (best === undefined || candidate.weight > best.weight)) best = candidate;
  return best;
};

/** The highest weight that is not over it: who has as many active connections as his weight gets one more. */
const ovf: Make = (list) => () => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (
      available(candidate) &&
      candidate.active <= candidate.weight &&
      (best === undefined || candidate.weight > best.weight)
    )
      best = candidate;
  return best;
};

export const schedulers: Readonly<Record<string, Make>> = {
  rr,
  wrr,
  lc,
  wlc,
  sh,
  dh,
  mh,
  sed,
  nq,
  lblc,
  lblcr,
  fo,
  ovf,
};
