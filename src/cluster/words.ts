// The closed vocabularies of the cluster file, in the order the documentation prints them.

/** IPVS schedulers by their kernel names. */
export const schedulers = [
  "rr",
  "wrr",
  "lc",
  "wlc",
  "lblc",
  "lblcr",
  "dh",
  "sh",
  "mh",
  "sed",
  "nq",
  "fo",
  "ovf",
] as const;
export type Scheduler = (typeof schedulers)[number];

/** Scheduler flags as ipvsadm names them; sh-* and mh-* are names for flag-1 and flag-2. */
export const schedulerFlags = [
  "sh-fallback",
  "sh-port",
  "mh-fallback",
  "mh-port",
  "flag-1",
  "flag-2",
  "flag-3",
] as const;
export type SchedulerFlag = (typeof schedulerFlags)[number];

export const forwardings = ["dr", "tun", "nat"] as const;
export type Forwarding = (typeof forwardings)[number];

export const carriers = ["lo", "dummy0", "tunl0"] as const;
export type Carrier = (typeof carriers)[number];

export const protocols = ["tcp", "udp", "sctp"] as const;
export type Protocol = (typeof protocols)[number];

export const engines = ["auto", "ipvs", "nft"] as const;
export type Engine = (typeof engines)[number];

export const silencePolicies = [
  "auto",
  "nature-2.0",
  "fullarpfix",
  "arp-invisible",
  "hidden",
  "arp-sysctl",
  "nft-arp",
  "arptables",
  "noarp-carrier",
  "redirect",
  "local-route",
] as const;
export type SilencePolicyName = (typeof silencePolicies)[number];

export const tunnelTypes = ["ipip", "gue", "gre"] as const;
export type TunnelType = (typeof tunnelTypes)[number];

export const tunnelChecksums = ["none", "checksum", "remote"] as const;
export type TunnelChecksum = (typeof tunnelChecksums)[number];

export const dnsRecordTypes = ["A", "AAAA", "NS", "SOA", "CNAME", "MX", "TXT"] as const;
export type DnsRecordType = (typeof dnsRecordTypes)[number];

/** What can happen to the uplink of a switch as to a host's cables. */
export const cableFaults = ["cut", "mend", "loss", "duplicate", "reorder", "delay", "mtu"] as const;

/** What a scenario may do to the LAN, and to whom. */
export const faultActions = [
  "crash",
  "restart",
  "pause",
  "resume",
  ...cableFaults,
  "drift",
  "sysctl",
  "add-vip",
  "remove-vip",
  "flush",
  "take-over",
  "release",
  "speak",
  "announce",
  "answers",
  "apply",
  "undo",
] as const;
export type FaultAction = (typeof faultActions)[number];

/** How `vipward guard` runs on a scenario's real servers: without --heal, or with it. */
export const guardKinds = ["watch", "heal"] as const;
export type GuardKind = (typeof guardKinds)[number];

/** What a fault needs besides its host: a value from the first number to the second, or none at all. */
export const faultValues: Readonly<
  Partial<
    Record<
      FaultAction,
      {
        readonly from: number;
        readonly to: number;
        readonly what: string;
        readonly optional?: true;
        readonly whole?: true;
      }
    >
  >
> = {
  loss: { from: 0, to: 100, what: "percent" },
  duplicate: { from: 0, to: 100, what: "percent" },
  reorder: { from: 0, to: 100, what: "percent" },
  delay: { from: 0, to: 60_000, what: "milliseconds" },
  mtu: { from: 68, to: 65_535, what: "octets" },
  drift: { from: -900_000, to: 1_000_000, what: "millionths" },
  sysctl: { from: -0x80000000, to: 0x7fffffff, what: "the sysctl's value", whole: true },
  answers: { from: 200, to: 599, what: "an HTTP status", optional: true, whole: true },
  apply: { from: 0, to: 1_000_000, what: "calls", optional: true },
  undo: { from: 0, to: 1_000_000, what: "calls", optional: true },
};

/** Who each fault can happen to, where not to every host. */
export const faultVictims: Readonly<Partial<Record<FaultAction, "director" | "real server">>> = {
  "take-over": "director",
  release: "director",
  answers: "real server",
  apply: "real server",
  undo: "real server",
};

export type CableFault = (typeof cableFaults)[number];
export const isCableFault = (action: FaultAction): action is CableFault =>
  (cableFaults as readonly FaultAction[]).includes(action);
