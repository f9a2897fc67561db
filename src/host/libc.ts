/**
 * The one file that touches the FFI: libc through koffi, a few microseconds a call.
 *
 * Every function throws SystemCallError when libc says no. `object` says what the call was about, for the message.
 * File descriptors are plain numbers; whoever opens one closes it. Calls block the calling thread, so descriptors are
 * opened non-blocking and `wouldBlock` is a value, not an error.
 */
import type Koffi from "koffi";
import { SystemCallError } from "./errors.ts";
import { isLinux, needLinux } from "./linux.ts";

/** On other systems nothing is bound, and each call says so. */
const nowhere = { os: { errno: {} }, load: () => ({ func: () => needLinux }), alloc: needLinux };
const koffi = isLinux ? (await import("koffi")).default : (nowhere as unknown as typeof Koffi);

const lib = koffi.load(null);
const errnoNames = new Map<number, string>(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
/** Where two names share a number, the one that people know. */
for (const name of ["EAGAIN", "EOPNOTSUPP", "EDEADLK"]) {
  const number = (koffi.os.errno as Record<string, number>)[name];
  if (number !== undefined) errnoNames.set(number, name);
}
const EAGAIN = koffi.os.errno.EAGAIN as number;
const EINTR = koffi.os.errno.EINTR as number;
const EINPROGRESS = koffi.os.errno.EINPROGRESS as number;

export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`;
export const errnoNumber = (name: string): number => (koffi.os.errno as Record<string, number>)[name] ?? 0;

const raw = {
  socket: lib.func("int socket(int, int, int)"),
  bind: lib.func("int bind(int, const void *, uint32_t)"),
  connect: lib.func("int connect(int, const void *, uint32_t)"),
  listen: lib.func("int listen(int, int)"),
  accept4: lib.func("int accept4(int, void *, void *, int)"),
  getsockname: lib.func("int getsockname(int, void *, void *)"),
  getsockopt: lib.func("int getsockopt(int, int, int, void *, void *)"),
  setsockopt: lib.func("int setsockopt(int, int, int, const void *, uint32_t)"),
  send: lib.func("int64_t send(int, const void *, size_t, int)"),
  sendto: lib.func("int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)"),
  recv: lib.func("int64_t recv(int, void *, size_t, int)"),
  sendmmsg: lib.func("int sendmmsg(int, uint64_t, uint32_t, int)"),
  recvmmsg: lib.func("int recvmmsg(int, uint64_t, uint32_t, int, uint64_t)"),
  poll: lib.func("int poll(void *, uint64_t, int)"),
  epoll_create1: lib.func("int epoll_create1(int)"),
  epoll_ctl: lib.func("int epoll_ctl(int, int, int, const void *)"),
  epoll_wait: lib.func("int epoll_wait(int, void *, int, int)"),
  open: lib.func("int open(const char *, int, uint32_t)"),
  close: lib.func("int close(int)"),
  read: lib.func("int64_t read(int, void *, size_t)"),
  write: lib.func("int64_t write(int, const void *, size_t)"),
  flock: lib.func("int flock(int, int)"),
  ioctl: lib.func("int ioctl(int, uint64_t, void *)"),
  setns: lib.func("int setns(int, int)"),
  unshare: lib.func("int unshare(int)"),
  mount: lib.func("int mount(const char *, const char *, const char *, uint64_t, const char *)"),
  umount2: lib.func("int umount2(const char *, int)"),
  finit_module: lib.func("long syscall(long, int, const char *, int)"),
  if_nametoindex: lib.func("uint32_t if_nametoindex(const char *)"),
  prctl: lib.func("int prctl(int, uint64_t, uint64_t, uint64_t, uint64_t)"),
  sched_setscheduler: lib.func("int sched_setscheduler(int, int, const void *)"),
  clock_gettime: lib.func("int clock_gettime(int, void *)"),
} as const;

function failed(call: string, object: string): never {
  const errno = koffi.errno();
  throw new SystemCallError(call, errno, errnoName(errno), object);
}

function checked(call: string, result: number, object: string): number {
  return result < 0 ? failed(call, object) : result;
}

/** For calls on non-blocking descriptors: undefined means "not now". */
function unlessBlocked(call: string, result: number, object: string): number | undefined {
  if (result >= 0) return result;
  const errno = koffi.errno();
  if (errno === EAGAIN || errno === EINTR) return undefined;
  throw new SystemCallError(call, errno, errnoName(errno), object);
}

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const CLONE_NEWNET = 0x40000000;
export const O_RDONLY = 0;
export const O_CLOEXEC = 0o2000000;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;

export const socket = (domain: number, type: number, protocol: number, object: string): number =>
  checked("socket", raw.socket(domain, type | SOCK_CLOEXEC, protocol), object);

export const bind = (fd: number, address: Uint8Array, object: string): void => {
  checked("bind", raw.bind(fd, address, address.length), object);
};

/** True when connected at once, false when a non-blocking connect is under way. */
export function connect(fd: number, address: Uint8Array, object: string): boolean {
  if (raw.connect(fd, address, address.length) >= 0) return true;
  if (koffi.errno() === EINPROGRESS) return false;
  return failed("connect", object);
}

export const listen = (fd: number, backlog: number, object: string): void => {
  checked("listen", raw.listen(fd, backlog), object);
};

/** The next connection of a non-blocking listener; undefined: none waits. */
export const accept = (fd: number, object: string): number | undefined =>
  unlessBlocked("accept4", raw.accept4(fd, null, null, SOCK_CLOEXEC), object);

/** The raw socket address, cut to the length that the kernel gave. */
export function getsockname(fd: number, object: string): Uint8Array {
  const address = new Uint8Array(128);
  const length = new Uint32Array([address.length]);
  checked("getsockname", raw.getsockname(fd, address, length), object);
  return address.subarray(0, length[0]);
}

export function getsockopt(fd: number, level: number, option: number, sizeOctets: number, object: string): Uint8Array {
  const value = new Uint8Array(sizeOctets);
  const length = new Uint32Array([sizeOctets]);
  checked("getsockopt", raw.getsockopt(fd, level, option, value, length), object);
  return value.subarray(0, length[0]);
}

export function setsockopt(
  fd: number,
  level: number,
  option: number,
  value: number | Uint8Array,
  object: string,
): void {
  const octets = typeof value === "number" ? new Int32Array([value]) : value;
  checked("setsockopt", raw.setsockopt(fd, level, option, octets, octets.byteLength), object);
}

export const send = (fd: number, octets: Uint8Array, flags: number, object: string): number | undefined =>
  unlessBlocked("send", Number(raw.send(fd, octets, octets.length, flags)), object);

export const sendto = (fd: number, octets: Uint8Array, to: Uint8Array, object: string): number | undefined =>
  unlessBlocked("sendto", Number(raw.sendto(fd, octets, octets.length, 0, to, to.length)), object);

/** Octets received into `into`; undefined when nothing waits. With MSG_TRUNC in flags the real length, even if cut. */
export const recv = (fd: number, into: Uint8Array, flags: number, object: string): number | undefined =>
  unlessBlocked("recv", Number(raw.recv(fd, into, into.length, flags)), object);

/** `headers` points to `count` struct mmsghdr in memory from allocate(). */
export const sendmmsg = (fd: number, headers: bigint, count: number, object: string): number | undefined =>
  unlessBlocked("sendmmsg", raw.sendmmsg(fd, headers, count, MSG_DONTWAIT), object);

export const recvmmsg = (fd: number, headers: bigint, count: number, object: string): number | undefined =>
  unlessBlocked("recvmmsg", raw.recvmmsg(fd, headers, count, MSG_DONTWAIT, 0n), object);

export const POLLIN = 1;

/** Blocks the calling thread, so only for workers: the events that became ready, 0 on time-out. */
export function poll(fd: number, events: number, timeoutMs: number): number {
  const entry = new DataView(new ArrayBuffer(8));
  entry.setInt32(0, fd, true);
  entry.setInt16(4, events, true);
  const ready = unlessBlocked("poll", raw.poll(new Uint8Array(entry.buffer), 1, timeoutMs), "descriptor");
  return ready === undefined || ready === 0 ? 0 : entry.getInt16(6, true);
}

export const EPOLL = { IN: 1, OUT: 4, ERR: 8, HUP: 16 } as const;
export const EPOLL_CTL = { ADD: 1, DEL: 2, MOD: 3 } as const;

export const epollCreate = (object: string): number => checked("epoll_create1", raw.epoll_create1(O_CLOEXEC), object);

/** `event` is one struct epoll_event, which is packed on x86-64 alone. */
export const epollControl = (epoll: number, what: number, fd: number, event: Uint32Array, object: string): void => {
  checked("epoll_ctl", raw.epoll_ctl(epoll, what, fd, event), object);
};

/** Does not block: how many of `most` structs in `events` were filled in. */
export const epollReady = (epoll: number, events: Uint32Array, most: number, object: string): number =>
  unlessBlocked("epoll_wait", raw.epoll_wait(epoll, events, most, 0), object) ?? 0;

export interface Watch {
  /** Ends the watch; the descriptor stays open. */
  close(): void;
}

/** Calls back on the event loop of this thread whenever `fd` is readable, or an error waits to be read from it. */
export function onReadable(fd: number, ready: () => void): Watch {
  const wish = { readable: true };
  let closed = false;
  // An error on the socket (ENOBUFS, ENETDOWN) makes libuv stop polling (uv__poll_io), told by a negative status, which
  // koffi passes first although its types do not say so. Reading takes the error away: then go on.
  const onEvent = (status: unknown): void => {
    ready();
    if (!closed && typeof status === "number" && status < 0) handle.start(wish, onEvent);
  };
  const handle = koffi.node.poll(fd, wish, onEvent);
  return {
    close: () => {
      closed = true;
      handle.close();
    },
  };
}

export const open = (path: string, flags: number): number =>
  checked("open", raw.open(path, flags | O_CLOEXEC, 0o600), path);

export const close = (fd: number): void => {
  raw.close(fd); // Linux frees the descriptor even when it reports an error
};

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks the open file for this process alone until it is closed or the process dies; false: someone else has it. */
export const tryLock = (fd: number, object: string): boolean =>
  unlessBlocked("flock", raw.flock(fd, LOCK_EX | LOCK_NB), object) !== undefined;

export const ioctl = (fd: number, request: number, argument: Uint8Array, object: string): number =>
  checked("ioctl", raw.ioctl(fd, request, argument), object);

export const setns = (fd: number, type: number, object: string): void => {
  checked("setns", raw.setns(fd, type), object);
};

export const unshare = (flags: number, object: string): void => {
  checked("unshare", raw.unshare(flags), object);
};

export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MS_SHARED = 1 << 20;
export const MNT_DETACH = 2;

export const mount = (source: string, target: string, type: string | null, flags: number): void => {
  checked("mount", raw.mount(source, target, type, flags, null), target);
};

export const umount = (target: string, flags: number): void => {
  checked("umount2", raw.umount2(target, flags), target);
};

/** 0 when there is no such interface in the thread's namespace. */
export const interfaceIndex = (name: string): number => raw.if_nametoindex(name);

const CLOCK_REALTIME = 0;
const timespec = new BigInt64Array(2);

/** Microseconds since the epoch on the clock of the kernel's packet timestamps; exact to a quarter of one. */
const PR_CAP_AMBIENT = 47;
const ambient = { isSet: 1, raise: 2, lower: 3 } as const;
/** More than any kernel has; the kernel says EINVAL where its own end. */
const capabilityLimit = 64;

/**
 * Runs `body` while this thread hands no capability to the programs that it starts: those of an agent that is not root
 * are ambient, and whoever is executed would have them all. They are back afterwards.
 */
export function withoutAmbientCapabilities<T>(body: () => T): T {
  const had: number[] = [];
  for (let capability = 0; capability < capabilityLimit; capability++) {
    const set = raw.prctl(PR_CAP_AMBIENT, ambient.isSet, capability, 0, 0);
    if (set < 0) break;
    if (set === 1) had.push(capability);
  }
  for (const capability of had)
    checked("prctl", raw.prctl(PR_CAP_AMBIENT, ambient.lower, capability, 0, 0), "ambient capabilities");
  try {
    return body();
  } finally {
    for (const capability of had)
      checked("prctl", raw.prctl(PR_CAP_AMBIENT, ambient.raise, capability, 0, 0), "ambient capabilities");
  }
}

const SCHED_RR = 2;
/** This thread runs before all that is not realtime, from now on (sched(7)). */
export function setRealtime(priority: number): void {
  const call = "sched_setscheduler";
  checked(call, raw.sched_setscheduler(0, SCHED_RR, new Int32Array([priority])), `realtime priority ${priority}`);
}

export function realtimeUs(): number {
  checked("clock_gettime", raw.clock_gettime(CLOCK_REALTIME, timespec), "clock");
  return Number(timespec[0]) * 1e6 + Number(timespec[1]) / 1e3;
}

const SYS_FINIT_MODULE: Record<string, number> = { x64: 313, arm64: 273 };

/** Loads one kernel module file; false when it is loaded already. */
export function loadModuleFile(path: string, parameters: string, architecture: string): boolean {
  const number = SYS_FINIT_MODULE[architecture];
  if (number === undefined) throw new SystemCallError("finit_module", 38, "ENOSYS", path);
  const fd = open(path, O_RDONLY);
  try {
    if (raw.finit_module(number, fd, parameters, 0) >= 0) return true;
    if (errnoName(koffi.errno()) === "EEXIST") return false;
    return failed("finit_module", path);
  } finally {
    close(fd);
  }
}

export interface NativeMemory {
  readonly address: bigint;
  readonly octets: Uint8Array;
}

/** Memory that does not move, for structures that hold pointers. Freed only by release(). */
export function allocate(sizeOctets: number): NativeMemory {
  const address = koffi.alloc("uint8_t", sizeOctets) as bigint;
  const octets = new Uint8Array(koffi.view(address, sizeOctets));
  octets.fill(0);
  return { address, octets };
}

/** The view in `memory.octets` must not be used afterwards. */
export const release = (memory: NativeMemory): void => koffi.free(memory.address);
