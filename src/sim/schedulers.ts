/**
 * IPVS's schedulers, one function each, after net/netfilter/ipvs/ip_vs_*.c. Hash schedulers give the very real server
 * that a 64-bit kernel from 4.18 on gives. A scheduler sees the real servers in the kernel's order: the last one added
 * stands first (__ip_vs_update_dest adds at the head of the list). What it keeps lasts as long as its service has it,
 * whatever becomes of the servers, as in the kernel: nothing else tells which one rr, wrr and lblc give after a change.
 */
import type { Ipv4 } from "../base/ipv4.ts";

/** One real server of one service, as a scheduler sees it. */
export interface Candidate {
  readonly rip: Ipv4;
  readonly port: number;
  weight: number;
  /** The last one that was not 0, or the one it was added with (dest->last_weight): mh's table. */
  lastWeight: number;
  /** Established connections, and the others in the table. */
  active: number;
  inactive: number;
  /** Above its upper threshold. */
  overloaded: boolean;
  /** Taken out of its service. */
  gone: boolean;
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

/** A service as its scheduler sees it, at any time as it then stands. */
export interface Served<C extends Candidate> {
  readonly destinations: readonly C[];
  readonly flags: SchedulerFlags;
}

/** The scheduler of one service, and what it keeps (svc->sched_data). */
export interface Scheduler<C extends Candidate> {
  /** undefined: none is available. */
  pick(asker: Asker): C | undefined;
  /** One more stands at the head of the list (add_dest). */
  added?(): void;
  /** One is no longer as it was (upd_dest). */
  edited?(): void;
  /** What stood there is out of the list (del_dest). */
  removed?(at: number): void;
}
type Make = <C extends Candidate>(service: Served<C>, nowMs: number) => Scheduler<C>;

const available = (c: Candidate): boolean => c.weight > 0 && !c.overloaded;
/** ip_vs_dest_conn_overhead: an established connection counts as 256 others. */
const overhead = (c: Candidate): number => c.active * 256 + c.inactive;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** One whose picks depend on nothing but how its servers are now. */
const stateless =
  (choose: <C extends Candidate>(list: readonly C[]) => C | undefined): Make =>
  ({ destinations }) => ({ pick: () => choose(destinations) });

/** One with a table of its servers, which any change makes anew: before the next pick is early enough. */
function tabled<C extends Candidate, T>(table: () => T, pick: (table: T, asker: Asker) => C | undefined): Scheduler<C> {
  let kept: T | undefined;
  const changed = (): void => {
    kept = undefined;
  };
  return {
    pick: (asker) => {
      kept ??= table();
      return pick(kept, asker);
    },
    added: changed,
    edited: changed,
    removed: changed,
  };
}

const rr: Make = ({ destinations: list }) => {
  // -1: the head of the list. A place, not a server: when the one there goes, its predecessor is the last.
  let last = -1;
  return {
    pick: () => {
      for (let step = 1; step <= list.length; step++) {
        const at = (last + step) % list.length;
        const candidate = list[at];
        if (candidate !== undefined && available(candidate)) {
          last = at;
          return candidate;
        }
      }
      return undefined;
    },
    added: () => {
      if (last >= 0) last++;
    },
    removed: (at) => {
      if (at <= last) last--;
    },
  };
};

const wrr: Make = ({ destinations: list }) => {
  let step = 1;
  let top = 0;
  /** Where it is in the list (cl), -1 at its head, and the weight that is asked for now (cw). */
  let at = -1;
  let level = 0;
  const measure = (): void => {
    step = list.reduce((g, c) => gcd(c.weight, g), 0) || 1;
    top = list.reduce((m, c) => Math.max(m, c.weight), 0) - (step - 1);
  };
  measure();
  level = top;
  const changed = (): void => {
    at = -1;
    measure();
    if (level > top || level === 0) level = top;
    else if (step > 1) level = Math.floor(level / step) * step + 1;
  };
  return {
    pick: () => {
      if (top === 0) return undefined;
      const first = at;
      let stop = -1;
      let isLastPass = false;
      let hasRestarted = false;
      for (;;) {
        for (at++; at < list.length; at++) {
          const candidate = list[at];
          if (candidate !== undefined && !candidate.overloaded && candidate.weight >= level) return candidate;
          if (at === stop) return undefined;
        }
        at = -1;
        level -= step;
        if (level <= 0) {
          level = top;
          if (isLastPass || first === -1) return undefined;
          hasRestarted = true;
        }
        isLastPass = level <= step;
        // the first pass at the last level saw only who stands behind the start
        if (isLastPass && hasRestarted) stop = first;
      }
    },
    added: changed,
    edited: changed,
    removed: changed,
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

const lc = stateless((list) => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (available(candidate) && (best === undefined || overhead(candidate) < overhead(best))) best = candidate;
  return best;
});
const wlc = stateless((list) => least(list, overhead));
/** What the connection to come would make of it. */
const sed = stateless((list) => least(list, (c) => c.active + 1));
const nq = stateless((list) => {
  for (const candidate of list) if (available(candidate) && candidate.active === 0) return candidate;
  return least(list, (c) => c.active + 1);
});

const shBits = 8;
/** hash_32 of linux/hash.h since 4.7. */
export const hash32Bits = (value: number, bits: number): number => Math.imul(value, 0x61c88647) >>> (32 - bits);

/** Each real server fills as many buckets as its weight says, and then the next one does. */
function shTable<C extends Candidate>(list: readonly C[]): readonly C[] {
  const buckets: C[] = [];
  for (let at = 0, filled = 0; buckets.length < 1 << shBits && list.length > 0; ) {
    const candidate = list[at % list.length] as C;
    buckets.push(candidate);
    if (++filled >= candidate.weight) {
      at++;
      filled = 0;
    }
  }
  return buckets;
}

const sh: Make = (service) => {
  const size = 1 << shBits;
  const keyOf = (source: Ipv4, port: number, offset: number): number =>
    (offset + hash32Bits((source + port) | 0, shBits)) & (size - 1);
  return tabled(
    () => shTable(service.destinations),
    (buckets, { source, sourcePort }) => {
      const port = service.flags.port ? sourcePort : 0;
      const home = keyOf(source, port, 0);
      const first = buckets[home];
      if (first === undefined || available(first)) return first;
      if (!service.flags.fallback) return undefined;
      for (let offset = 0; offset < size; offset++) {
        const candidate = buckets[keyOf(source, port, (offset + home) % size)];
        if (candidate !== undefined && available(candidate)) return candidate;
      }
      return undefined;
    },
  );
};

/** By destination, one bucket each in turn: weights play no part but zero. */
const dh: Make = ({ destinations: list }) => ({
  pick: ({ destination }) => {
    if (list.length === 0) return undefined;
    const candidate = list[hash32Bits(destination | 0, shBits) % list.length];
    return candidate !== undefined && available(candidate) ? candidate : undefined;
  },
});

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

/**
 * Maglev's table: each real server walks its own permutation and takes what is free, as often as its weight says. One
 * that is drained keeps its places.
 */
export function maglevTable<C extends Candidate>(list: readonly C[]): (C | undefined)[] {
  const table: (C | undefined)[] = new Array(mhSize).fill(undefined);
  const divisor = list.reduce((g, c) => gcd(c.lastWeight, g), 0);
  if (divisor < 1) return table;
  const most = list.reduce((m, c) => Math.max(m, c.lastWeight), 0);
  const shift = Math.max(0, 32 - Math.clz32(Math.floor(most / divisor)) - mhBits);
  const setups = list.map((candidate) => {
    const value = (candidate.rip + candidate.port) >>> 0;
    return {
      candidate,
      at: hsiphash(value, mhFirstKey) % mhSize,
      skip: (hsiphash(value, mhSecondKey) % (mhSize - 1)) + 1,
      turns: candidate.lastWeight === 0 ? 0 : Math.floor(candidate.lastWeight / divisor) >> shift || 1,
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

const mh: Make = (service) => {
  const keyOf = (source: Ipv4, port: number, offset: number): number =>
    hsiphash((source + port + offset) >>> 0, mhFirstKey) % mhSize;
  return tabled(
    () => maglevTable(service.destinations),
    (table, { source, sourcePort }) => {
      const port = service.flags.port ? sourcePort : 0;
      const home = keyOf(source, port, 0);
      const first = table[home];
      if (first === undefined) return undefined;
      if (available(first)) return first;
      if (!service.flags.fallback) return undefined;
      for (let offset = 0; offset < mhSize; offset++) {
        const candidate = table[keyOf(source, port, (offset + home) % mhSize)];
        if (candidate === undefined) return undefined;
        if (available(candidate)) return candidate;
      }
      return undefined;
    },
  );
};

/** Too many connections here while somebody is at half of what he could. */
const burdened = (list: readonly Candidate[], c: Candidate): boolean =>
  c.active > c.weight && list.some((other) => other.active * 2 < other.weight);

/** lblc_expiration and lblcr_expiration: a day; and every half hour the table is searched for what is older. */
const expirationMs = 24 * 3_600_000;
const searchMs = 30 * 60_000;
/** What lblc and lblcr know of each destination address, until that is unused for a day. */
class Homes<T> {
  readonly #madeMs: number;
  readonly #homes = new Map<Ipv4, { value: T; usedMs: number }>();

  constructor(madeMs: number) {
    this.#madeMs = madeMs;
  }

  get(destination: Ipv4, nowMs: number): T | undefined {
    const home = this.#homes.get(destination);
    if (home === undefined) return undefined;
    const searchedMs = nowMs - ((nowMs - this.#madeMs) % searchMs);
    if (searchedMs - home.usedMs >= expirationMs) {
      this.#homes.delete(destination);
      return undefined;
    }
    home.usedMs = nowMs;
    return home.value;
  }
  set(destination: Ipv4, value: T, nowMs: number): void {
    this.#homes.set(destination, { value, usedMs: nowMs });
  }
}

const lblc: Make = ({ destinations: list }, madeMs) => {
  const homes = new Homes<(typeof list)[number]>(madeMs);
  return {
    pick: ({ destination, nowMs }) => {
      const home = homes.get(destination, nowMs);
      // its threshold is not asked for
      if (home !== undefined && !home.gone && home.weight > 0 && !burdened(list, home)) return home;
      const chosen = least(list, overhead);
      if (chosen !== undefined && chosen !== home) homes.set(destination, chosen, nowMs);
      return chosen;
    },
  };
};

/** Who serves a destination address: the last to join first. */
interface HomeSet<C extends Candidate> {
  members: readonly C[];
  changedMs: number;
}
/** Of those with a weight the most burdened one, whether it is still there or not. */
function most<C extends Candidate>(list: readonly C[]): C | undefined {
  let worst: C | undefined;
  for (const candidate of list)
    if (candidate.weight > 0)
      if (worst === undefined || overhead(worst) * candidate.weight < overhead(candidate) * worst.weight)
        worst = candidate;
  return worst;
}

const lblcr: Make = ({ destinations: list }, madeMs) => {
  const sets = new Homes<HomeSet<(typeof list)[number]>>(madeMs);
  return {
    pick: ({ destination, nowMs }) => {
      const known = sets.get(destination, nowMs);
      const home =
        known &&
        least(
          known.members.filter((c) => !c.gone),
          overhead,
        );
      if (known !== undefined && known.members.length > 1 && nowMs - known.changedMs > expirationMs) {
        const worst = most(known.members);
        if (worst !== undefined) {
          known.members = known.members.filter((c) => c !== worst);
          known.changedMs = nowMs;
        }
      }
      if (home !== undefined && !burdened(list, home)) return home;
      const chosen = least(list, overhead);
      if (chosen === undefined) return undefined;
      if (known === undefined) sets.set(destination, { members: [chosen], changedMs: nowMs }, nowMs);
      else if (!known.members.includes(chosen)) {
        known.members = [chosen, ...known.members];
        known.changedMs = nowMs;
      }
      return chosen;
    },
  };
};

/** Always the one with the highest weight. */
const fo = stateless((list) => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (available(candidate) && (best === undefined || candidate.weight > best.weight)) best = candidate;
  return best;
});

/** The highest weight that is not over it: who has as many active connections as his weight gets one more. */
const ovf = stateless((list) => {
  let best: (typeof list)[number] | undefined;
  for (const candidate of list)
    if (
      available(candidate) &&
      candidate.active <= candidate.weight &&
      (best === undefined || candidate.weight > best.weight)
    )
      best = candidate;
  return best;
});

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
