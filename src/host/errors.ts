/** What a failed call means to a person: errno name -> why and remedy. "*" stands for any call. */
export interface Meaning {
  readonly why: string;
  readonly remedy: string;
}

const meanings: Record<string, Record<string, Meaning>> = {
  EPERM: {
    "*": { why: "not permitted", remedy: "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW" },
    socket: { why: "not permitted", remedy: "run as root, or give the process CAP_NET_RAW" },
    setns: { why: "not permitted", remedy: "run as root: entering a namespace needs CAP_SYS_ADMIN" },
    unshare: { why: "not permitted", remedy: "run as root: making a namespace needs CAP_SYS_ADMIN" },
    mount: { why: "not permitted", remedy: "run as root: naming a namespace needs CAP_SYS_ADMIN" },
    netlink: { why: "not permitted", remedy: "run as root, or give the process CAP_NET_ADMIN" },
    finit_module: { why: "not permitted", remedy: "load the module as root on the host (not inside a container)" },
  },
  EACCES: { "*": { why: "access denied", remedy: "run as root, or give the process CAP_NET_ADMIN" } },
  ENODEV: { "*": { why: "no such device", remedy: "list the interfaces with `ip link` and name one of them" } },
  ENOENT: { "*": { why: "it does not exist", remedy: "check the name" } },
  EEXIST: { "*": { why: "it exists already", remedy: "choose another name, or remove the old one first" } },
  EBUSY: { "*": { why: "it is in use", remedy: "end what uses it, then try again" } },
  ENETDOWN: { "*": { why: "the interface is down", remedy: "bring it up: `ip link set dev NAME up`" } },
  ENXIO: { "*": { why: "the interface went away", remedy: "check that the interface still exists" } },
  ENOBUFS: { "*": { why: "a kernel buffer overflowed", remedy: "slow down, or raise net.core.rmem_max / wmem_max" } },
  ENOMEM: { "*": { why: "the kernel is out of memory", remedy: "free memory, or ask for smaller buffers" } },
  EROFS: { "*": { why: "the file system is read-only", remedy: "inside a container, do this on the host instead" } },
  EADDRINUSE: {
    "*": { why: "the address is in use", remedy: "end the program that listens there, or choose another port" },
  },
  EADDRNOTAVAIL: { "*": { why: "the address is not on this host", remedy: "add the address first: `ip address`" } },
  EAFNOSUPPORT: {
    "*": { why: "this kernel does not support that", remedy: "load the module, or use a kernel that has it" },
  },
  EOPNOTSUPP: {
    "*": { why: "this kernel does not support that", remedy: "load the module, or use a kernel that has it" },
  },
  EPROTONOSUPPORT: {
    "*": { why: "this kernel does not support that", remedy: "load the module, or use a kernel that has it" },
  },
  EINVAL: {
    "*": {
      why: "the kernel refuses these values",
      remedy: "compare the values with each other and with what the kernel's version can do",
    },
  },
  ESRCH: { "*": { why: "no such entry", remedy: "list what is there, and name one of them" } },
  ERANGE: { "*": { why: "a number is out of range", remedy: "choose a smaller number; thresholds: lower <= upper" } },
  ENETUNREACH: {
    "*": {
      why: "the gateway is not reachable",
      remedy: "give the interface an address in the gateway's subnet and bring it up first, or mark the gateway onlink",
    },
  },
  EHOSTUNREACH: { "*": { why: "no route leads there", remedy: "add a route first: `ip route`" } },
  ENOTSUP: {
    "*": { why: "this kernel does not support that", remedy: "load the module, or use a kernel that has it" },
  },
  EMSGSIZE: { "*": { why: "the message is too long", remedy: "ask for fewer things at once" } },
  ETIMEDOUT: { "*": { why: "no answer in time", remedy: "try again; if it stays so, see the kernel's log (dmesg)" } },
  EMFILE: { "*": { why: "too many open files", remedy: "raise the limit: `ulimit -n`" } },
};

/** `call` is a libc name, or "netlink" for what a kernel answers there. */
function meaningOf(call: string, errnoName: string): Meaning {
  const perCall = meanings[errnoName];
  return perCall?.[call] ?? perCall?.["*"] ?? unknown;
}

const unknown: Meaning = { why: "the kernel refused", remedy: "see the manual page of the call for this error" };

/** A failure of the machine: a stable code, what was tried on which object, and the remedy. */
export class HostError extends Error {
  override readonly name: string = "HostError";
  /** Stable: "socket/EPERM", "netlink/EEXIST", "namespace/taken"; the message may be reworded. */
  readonly code: string;
  readonly remedy: string;
  constructor(code: string, message: string, options: { readonly remedy: string; readonly cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }
}

/** A system call that returned an errno. `call` is the libc name, `object` what it was about. */
export class SystemCallError extends HostError {
  override readonly name = "SystemCallError";
  readonly call: string;
  /** Positive number, as in errno(3). */
  readonly errno: number;
  /** "EPERM". */
  readonly errnoName: string;
  constructor(call: string, errno: number, errnoName: string, object: string, detail?: string) {
    const meaning = meaningOf(call, errnoName);
    super(`${call}/${errnoName}`, `${object}: ${detail ?? meaning.why} (${errnoName} from ${call})`, {
      remedy: meaning.remedy,
    });
    this.call = call;
    this.errno = errno;
    this.errnoName = errnoName;
  }
}

/** What was asked of the kernel over netlink, in the reader's words: "add address", "10.0.0.5/24 on eth0". */
export interface NetlinkTask {
  readonly operation: string;
  readonly object: string;
  /** What an errno means for this very operation, where the general words would mislead. */
  readonly meanings?: Readonly<Record<string, Meaning>>;
}

/** The kernel's "no" to one netlink request. Code: "netlink/EEXIST". */
export class NetlinkError extends HostError {
  override readonly name = "NetlinkError";
  readonly task: NetlinkTask;
  /** Positive number, as in errno(3). */
  readonly errno: number;
  readonly errnoName: string;
  /** The kernel's own sentence (extended ack), where it gave one. */
  readonly kernelText: string | undefined;
  constructor(
    task: NetlinkTask,
    errno: number,
    errnoName: string,
    options: { readonly kernelText?: string | undefined; readonly why?: string; readonly remedy?: string } = {},
  ) {
    const meaning = task.meanings?.[errnoName] ?? meaningOf("netlink", errnoName);
    const said = options.kernelText === undefined ? "" : `; the kernel says: ${options.kernelText}`;
    super(
      `netlink/${errnoName}`,
      `${task.operation} ${task.object}: ${options.why ?? meaning.why} (${errnoName}${said})`,
      { remedy: options.remedy ?? meaning.remedy },
    );
    this.task = { operation: task.operation, object: task.object };
    this.errno = errno;
    this.errnoName = errnoName;
    this.kernelText = options.kernelText;
  }
}
