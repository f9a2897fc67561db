/** What a failed call means to a person: errno name -> why and remedy. "*" stands for any call. */
interface Meaning {
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
  EMFILE: { "*": { why: "too many open files", remedy: "raise the limit: `ulimit -n`" } },
};

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
    const perCall = meanings[errnoName];
    const meaning = perCall?.[call] ?? perCall?.["*"] ?? unknown;
    super(`${call}/${errnoName}`, `${object}: ${detail ?? meaning.why} (${errnoName} from ${call})`, {
      remedy: meaning.remedy,
    });
    this.call = call;
    this.errno = errno;
    this.errnoName = errnoName;
  }
}
