import * as z from "zod";
import { defaults } from "./defaults.ts";
import {
  carriers,
  dnsRecordTypes,
  engines,
  faultActions,
  forwardings,
  guardKinds,
  protocols,
  schedulerFlags,
  schedulers,
  silencePolicies,
  tunnelChecksums,
  tunnelTypes,
} from "./words.ts";

// A file is read once: compiling a checker for each object of it takes longer than the check, however large the file.
z.config({ jitless: true });

// The form of the file, nothing about what it means: no defaults are filled in and no value is changed, so this is also
// the schema that editors get. An error text "@code|phrase" names an entry of codes.ts (see shape.ts).

const as = (code: string, phrase: string) => ({
  error: (issue: { readonly input?: unknown }) => (issue.input === undefined ? undefined : `@${code}|${phrase}`),
});

interface Words {
  /** Also shown in docs/cluster-file.md. */
  readonly default?: unknown;
  readonly example: unknown;
}

/** A key that may be left out. */
const may = <T extends z.ZodType>(schema: T, description: string, { default: fallback, example }: Words) =>
  schema
    .optional()
    .meta({ description, examples: [example], ...(fallback === undefined ? {} : { default: fallback }) });
/** A key that must be there. */
const must = <T extends z.ZodType>(schema: T, description: string, example: unknown) =>
  schema.meta({ description, examples: [example] });

const whole = (min: number, max: number, code = "number-range", unit = "") => {
  const phrase = `from ${min} to ${max}${unit}`;
  return z.int().min(min, as(code, phrase)).max(max, as(code, phrase));
};
const timeMs = (min: number, max: number) => whole(min, max, "interval-range", " milliseconds");
const percent = whole(0, 100, "number-range", " percent");
/** Any number between the two. */
const number = (min: number, max: number, unit = "") => {
  const phrase = `from ${min} to ${max}${unit}`;
  return z.number().min(min, as("number-range", phrase)).max(max, as("number-range", phrase));
};
const oneOf = <const T extends readonly string[]>(words: T, code = "unknown-value") =>
  z.enum(words, as(code, words.join(", ")));
const oneOrMore = <T extends z.ZodType>(item: T) =>
  z.union([item, z.array(item).min(1, as("number-range", "at least one"))]);
const text = (max: number) =>
  z
    .string()
    .min(1, as("bad-text", "not empty"))
    .max(max, as("bad-text", `at most ${max} characters`));

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const name = z.string(as("bad-name", "a name")).regex(namePattern, as("bad-name", "a name"));
const ref = text(63);
/** IFNAMSIZ is 16 with the final zero; the kernel refuses white space, slash and colon (dev_valid_name). */
const iface = z.string().regex(/^(?!\.{1,2}$)[^\s/:]{1,15}$/, as("bad-interface", "an interface name"));
const address = z
  .string(as("bad-address", "an IPv4 address"))
  .regex(/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/, as("bad-address", "an IPv4 address"));
const prefixText = z
  .string(as("bad-prefix", "an IPv4 prefix"))
  .regex(/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}\/\d{1,2}$/, as("bad-prefix", "an IPv4 prefix"));
const portNumber = whole(1, 65535, "bad-port");
const portItem = z.union(
  [portNumber, z.string().regex(/^\d{1,5}(-\d{1,5})?$|^any$/, as("bad-port", "a port"))],
  as("bad-port", "a port"),
);
const ports = z.union([portItem, z.array(portItem).min(1)], as("bad-port", "a port"));
const argv = z
  .array(text(4096))
  .min(1, as("number-range", "at least the program's path"))
  .max(256, as("number-range", "at most 256 arguments"));

/** name -> value, or a list of objects that carry their name. */
const named = <V extends z.ZodType, I extends z.ZodType>(value: V, item: I) =>
  z.union([z.record(name, value), z.array(item)]);

const networkKeys = {
  prefix: must(prefixText, "The subnet, its first address and length.", "10.10.0.0/24"),
  router: may(address, "The router's address in this subnet; real servers answer clients through it.", {
    example: "10.10.0.1",
  }),
};
const network = z
  .strictObject(networkKeys)
  .meta({ id: "network", description: "A LAN subnet. Short form: the prefix alone." });
const networkItem = z.strictObject({ name: must(name, "Its name.", "lan"), ...networkKeys });

const hostAddress = z
  .strictObject({
    address: must(address, "The further address.", "10.20.0.2"),
    interface: may(iface, "The interface that has it.", { default: "the host's interface", example: "eth1" }),
  })
  .meta({ id: "hostAddress", description: "A further address of a host. Short form: the address alone." });
const furtherAddresses = may(
  z.array(z.union([address, hostAddress])).max(128, as("number-range", "at most 128 further addresses")),
  "Further addresses of the host, for instance one in another LAN.",
  { default: [], example: [{ address: "10.20.0.2", interface: "eth1" }] },
);
/** From 2.0 on; of what stands after a plus, a 2.x kernel's patch is one that the model knows. */
const kernelText = z
  .string()
  .regex(
    /^(2\.[0-9][0-9A-Za-z._~-]{0,47}(\+(hidden|arp_invisible|fullarpfix|sdw))?|([3-9]|[1-9][0-9])\.[0-9][0-9A-Za-z._+~-]{0,59})$/,
    as("bad-text", "a kernel release from 2.0 on, such as 6.1, 2.4.20+hidden or 2.2.13+arp_invisible"),
  );
const kernel = may(
  kernelText,
  "Kernel release or generation, for the simulator and `plan --facts`; a live host is asked itself. In quotes.",
  { example: "2.2.14" },
);

const directorKeys = {
  dip: must(address, "The director's own address (DIP).", "10.10.0.2"),
  interface: may(iface, "The interface that has the DIP and takes the VIPs.", {
    default: defaults.interface,
    example: "eth0",
  }),
  addresses: furtherAddresses,
  priority: may(whole(1, 255, "priority-range"), "VRRP priority; the highest that lives owns the VIPs.", {
    default: "150 for the first, 10 less for each that follows, never below 1",
    example: 200,
  }),
  kernel,
};
const director = z
  .strictObject(directorKeys)
  .meta({ id: "director", description: "A director. Short form: its DIP alone." });
const directorItem = z.strictObject({ name: must(name, "Its name.", "lb1"), ...directorKeys });

const policyOptions = z
  .strictObject({
    name: must(oneOf(silencePolicies, "unknown-policy"), "The silence policy.", "arp-sysctl"),
    scope: may(oneOf(["minimal", "all"]), "arp-sysctl only: set the LAN interfaces, or `conf/all`.", {
      default: defaults.policyScope,
      example: "all",
    }),
  })
  .meta({ id: "policy", description: "How real servers keep silent on ARP for the VIPs. Short form: the name alone." });
const policy = z.union([oneOf(silencePolicies, "unknown-policy"), policyOptions]);

const weight = whole(0, 65535, "weight-range");

const realServerKeys = {
  rip: must(address, "The real server's own address (RIP).", "10.10.0.11"),
  interface: may(iface, "The interface that has the RIP.", { default: defaults.interface, example: "eth0" }),
  network: may(ref, "The network of the RIP, to be checked against it.", {
    default: "found by the RIP",
    example: "lan",
  }),
  addresses: furtherAddresses,
  weight: may(weight, "Its share where the scheduler looks at weights; 0 drains.", {
    default: defaults.weight,
    example: 3,
  }),
  carrier: may(oneOf(carriers), "The device that holds the VIPs here.", {
    default: "tunl0 if a tun service with ipip reaches this server, else lo",
    example: "dummy0",
  }),
  policy: may(policy, "The silence policy here.", { default: "the cluster's `policy`", example: "nft-arp" }),
  kernel,
  httpPort: may(portNumber, "Where a lab's HTTP server listens besides the services' ports.", {
    default: defaults.httpPort,
    example: 8080,
  }),
};
const realServer = z
  .strictObject(realServerKeys)
  .meta({ id: "realServer", description: "A real server. Short form: its RIP alone." });
const realServerItem = z.strictObject({ name: must(name, "Its name.", "web1"), ...realServerKeys });

const vipKeys = {
  address: must(address, "The VIP.", "10.10.0.100"),
  network: may(ref, "The network of the VIP, to be checked against it.", {
    default: "found by the VIP",
    example: "lan",
  }),
  router: may(address, "The router that clients' packets for the VIP come through.", {
    default: "the network's router",
    example: "10.10.0.1",
  }),
};
const vip = z.strictObject(vipKeys).meta({ id: "vip", description: "A VIP. Short form: its address alone." });
const vipItem = z.strictObject({
  name: may(name, "Its name.", { default: "its address as text", example: "web" }),
  ...vipKeys,
});

const checkKeys = {
  intervalMs: may(timeMs(10, 86_400_000), "Time between two checks.", {
    default: defaults.healthIntervalMs,
    example: 1000,
  }),
  timeoutMs: may(timeMs(1, 3_600_000), "How long one check may take.", {
    default: defaults.healthTimeoutMs,
    example: 500,
  }),
  rise: may(whole(1, 1000), "Good checks in a row until it is taken in.", { default: defaults.healthRise, example: 2 }),
  fall: may(whole(1, 1000), "Bad checks in a row until it is taken out.", { default: defaults.healthFall, example: 3 }),
  jitterPercent: may(percent, "Random part of the interval, so that checks do not bunch.", {
    default: defaults.healthJitterPercent,
    example: 20,
  }),
  slowStartMs: may(timeMs(0, 86_400_000), "Time over which a returned server's weight grows to full.", {
    default: defaults.healthSlowStartMs,
    example: 30_000,
  }),
};
const checkPort = may(portNumber, "The port to check.", { default: "the service's first port", example: 8080 });
const sni = may(text(253), "Server name sent in the TLS greeting.", {
  default: "the `host` if given",
  example: "www.example.com",
});
const verify = may(z.boolean(), "Demand a certificate that a known authority signed.", {
  default: false,
  example: true,
});
const regex = text(4096);
const httpKeys = {
  path: may(z.string().regex(/^\/[^\s]{0,2047}$/, as("bad-text", "a path that starts with /")), "What to ask for.", {
    default: defaults.httpPath,
    example: "/healthz",
  }),
  method: may(oneOf(["GET", "HEAD"]), "The HTTP method.", { default: defaults.httpMethod, example: "HEAD" }),
  host: may(text(253), "The virtual host asked.", { default: "the RIP", example: "www.example.com" }),
  status: may(
    oneOrMore(
      z.union([
        whole(100, 599),
        z.string().regex(/^[1-5]\d\d(-[1-5]\d\d)?$/, as("bad-text", "a status or a range, such as 200-299")),
      ]),
    ),
    "Which answers are good.",
    { default: defaults.httpStatus, example: [200, "300-308"] },
  ),
  bodyRegex: may(regex, "A regular expression that the body must match.", { example: "^OK" }),
  bodySha256: may(
    z.string().regex(/^[0-9a-fA-F]{64}$/, as("bad-text", "64 hexadecimal digits")),
    "SHA-256 of the body.",
    {
      example: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    },
  ),
};
const check = <const T extends string, S extends z.ZodRawShape>(type: T, description: string, keys: S) =>
  z
    .strictObject({ type: must(z.literal(type), "The kind of check.", type), ...keys, ...checkKeys })
    .meta({ id: `check-${type}`, description });

const checkObject = z
  .discriminatedUnion("type", [
    check("tcp", "A connection to the RIP and port.", { port: checkPort }),
    check("http", "An HTTP request to the RIP.", { port: checkPort, ...httpKeys }),
    check("https", "An HTTPS request to the RIP.", { port: checkPort, ...httpKeys, sni, verify }),
    check("tls", "A TLS greeting: is the certificate there, and for how long yet?", {
      port: checkPort,
      sni,
      verify,
      minimumDaysLeft: may(whole(0, 3650), "Days the certificate must still be valid.", {
        default: defaults.tlsMinimumDaysLeft,
        example: 14,
      }),
    }),
    check("dns", "A DNS question over UDP.", {
      port: checkPort,
      name: may(text(255), "The name asked for.", { default: defaults.dnsName, example: "example.com" }),
      recordType: may(oneOf(dnsRecordTypes), "The record type asked for.", {
        default: defaults.dnsRecordType,
        example: "A",
      }),
      expect: may(text(255), "A record that the answer must hold.", { example: "192.0.2.1" }),
    }),
    check("udp", "A datagram; an ICMP error, or silence where an answer is demanded, is a failure.", {
      port: checkPort,
      payloadHex: may(
        z.string().regex(/^([0-9a-fA-F]{2}){0,512}$/, as("bad-text", "pairs of hexadecimal digits")),
        "What to send.",
        {
          default: "",
          example: "00ff",
        },
      ),
      requireReply: may(z.boolean(), "An answer must come.", { default: false, example: true }),
    }),
    check("icmp", "An ICMP echo to the RIP.", {}),
    check("exec", "A program of yours; exit status 0 is good. Run without a shell, never as root.", {
      command: must(
        argv,
        "Program and arguments. In its environment: VIPWARD_NAME and _RIP of the real server, _VIP, and _PORT (the real server's; not of a fwmark or any port).",
        ["/usr/local/bin/check-web", "--fast"],
      ),
      user: may(text(32), "The user it runs as.", { default: defaults.execUser, example: "checker" }),
    }),
    check(
      "vip-path",
      "A TCP handshake for the VIP itself, sent the way clients' packets come: to the server's MAC (dr) or in IPIP (tun). A server that is a director too is asked by tcp instead.",
      {
        port: checkPort,
      },
    ),
  ])
  .meta({ id: "check", description: "One way to check a real server; `type` says which. Short form: the type alone." });
const checkWord = oneOf(["tcp", "http", "https", "tls", "dns", "udp", "icmp", "vip-path"]);
const checkItem = z.union([checkWord, checkObject]);
const health = z.union([z.literal("none"), checkWord, checkObject, z.array(checkItem)]);

const tunnel = z
  .strictObject({
    type: may(oneOf(tunnelTypes), "The encapsulation.", { default: defaults.tunnelType, example: "gue" }),
    port: may(portNumber, "gue only, and needed there: its UDP port.", { example: 6080 }),
    checksum: may(oneOf(tunnelChecksums), "Checksum of the outer header; `remote` is gue's offload.", {
      default: defaults.tunnelChecksum,
      example: "checksum",
    }),
  })
  .meta({ id: "tunnel", description: "How tun forwarding wraps packets. Short form: the type alone." });
const tunnelValue = z.union([oneOf(tunnelTypes), tunnel]);

/** What Linux takes since 2026, and older ones understand: INT_MAX. */
const threshold = whole(0, 0x7fffffff);
const destinationKeys = {
  weight: may(weight, "Its weight in this service.", { default: "the real server's", example: 3 }),
  forwarding: may(oneOf(forwardings, "unknown-forwarding"), "How packets reach it.", {
    default: "the service's",
    example: "tun",
  }),
  port: may(portNumber, "nat only: its port, where it differs.", { default: "the service's port", example: 8080 }),
  upperThreshold: may(threshold, "Connections at which it gets no more new ones; 0 means no limit.", {
    default: 0,
    example: 2000,
  }),
  lowerThreshold: may(threshold, "Connections at which it gets new ones again; 0 means three quarters of the upper.", {
    default: 0,
    example: 1500,
  }),
  tunnel: may(tunnelValue, "Its encapsulation.", { default: "the service's", example: "gre" }),
};
const destination = z.strictObject(destinationKeys).meta({
  id: "destination",
  description: "A real server as one service sees it. Short forms: its name, or name and weight.",
});
const destinationItem = z.strictObject({ name: must(ref, "The real server.", "web1"), ...destinationKeys });
const destinations = z.union([
  z.literal("all"),
  z.array(z.union([ref, destinationItem])),
  z.record(name, z.union([weight, destination])),
]);

const sorryServer = z
  .strictObject({
    address: must(z.union([address, ref]), "Its address, or the name of a real server.", "10.10.0.50"),
    port: may(portNumber, "nat only: its port, where it differs.", { default: "the service's port", example: 8080 }),
    forwarding: may(oneOf(forwardings, "unknown-forwarding"), "How packets reach it.", {
      default: "the service's",
      example: "nat",
    }),
  })
  .meta({ id: "sorryServer", description: "Takes the traffic while the quorum is lost. Short form: address or name." });

const persistence = z
  .strictObject({
    timeoutSeconds: must(
      whole(1, 2_147_483, "interval-range", " seconds"),
      "How long a client stays with its real server.",
      360,
    ),
    netmask: may(
      z.union([whole(1, 32), z.string()], as("bad-netmask", "a netmask")),
      "Clients that share this part of the address stay together.",
      {
        default: defaults.persistenceNetmask,
        example: "255.255.255.0",
      },
    ),
  })
  .meta({ id: "persistence", description: "Sticky clients. Short form: the seconds alone." });

const quorum = z
  .strictObject({
    minimum: may(whole(1, 0xffffffff), "Weight that must be healthy for the service to count as up.", {
      default: defaults.quorumMinimum,
      example: 2,
    }),
    hysteresis: may(whole(0, 0xffffffff), "Added on the way up, subtracted on the way down.", {
      default: defaults.quorumHysteresis,
      example: 1,
    }),
  })
  .meta({ id: "quorum", description: "When a service counts as up. Short form: the minimum alone." });

const killSwitch = z
  .strictObject({
    sharePercent: may(percent, "More than this share failing together is taken for a broken checker.", {
      default: defaults.killSwitchSharePercent,
      example: 60,
    }),
    withinMs: may(timeMs(0, 3_600_000), "How near in time the failures must be.", {
      default: defaults.killSwitchWithinMs,
      example: 10_000,
    }),
  })
  .meta({ id: "killSwitch", description: "Keeps the rest in, and raises the alarm, when too many fail at once." });

const service = z
  .strictObject({
    name: may(name, "Its name in messages and metrics.", {
      default: "made from VIP, protocol and port",
      example: "web",
    }),
    vip: may(oneOrMore(ref), "The VIPs it is reached at: a name, an address, a list of these, or `all`.", {
      default: "all",
      example: "web",
    }),
    protocol: may(oneOf(protocols), "The protocol.", { default: defaults.protocol, example: "udp" }),
    port: may(ports, "Port, range, a list of these, or `any`. Needed unless `fwmark` is given.", {
      example: [80, "8000-8010"],
    }),
    fwmark: may(whole(1, 0xffffffff), "Takes packets with this firewall mark instead of ports.", { example: 7 }),
    scheduler: may(oneOf(schedulers, "unknown-scheduler"), "Who gets the next connection.", {
      default: defaults.scheduler,
      example: "rr",
    }),
    schedulerFlags: may(z.array(oneOf(schedulerFlags)), "Options of the scheduler.", {
      default: [],
      example: ["sh-port"],
    }),
    forwarding: may(oneOf(forwardings, "unknown-forwarding"), "How packets reach the real servers.", {
      default: "the cluster's `forwarding`",
      example: "tun",
    }),
    tunnel: may(tunnelValue, "Encapsulation of tun forwarding.", {
      default: defaults.tunnelType,
      example: { type: "gue", port: 6080 },
    }),
    persistence: may(z.union([whole(1, 2_147_483, "interval-range", " seconds"), persistence]), "Sticky clients.", {
      default: "none",
      example: 360,
    }),
    onePacket: may(z.boolean(), "udp: schedule each datagram by itself.", { default: false, example: true }),
    realServers: may(destinations, "Who serves it.", { default: "all", example: { web1: 3, web2: 1 } }),
    sorryServer: may(z.union([ref, sorryServer]), "Takes the traffic while the quorum is lost.", {
      default: "none",
      example: "10.10.0.50",
    }),
    quorum: may(z.union([whole(1, 0xffffffff), quorum]), "When the service counts as up.", {
      default: defaults.quorumMinimum,
      example: 2,
    }),
    health: may(health, "Its checks; a real server must pass them all.", {
      default: "the cluster's `health`",
      example: ["tcp", "vip-path"],
    }),
    onFailure: may(oneOf(["drain", "remove"]), "A failed real server: weight 0, or out of the table.", {
      default: defaults.onFailure,
      example: "remove",
    }),
    drainTimeoutMs: may(timeMs(0, 604_800_000), "How long connections may last after a real server left.", {
      default: defaults.drainTimeoutMs,
      example: 300_000,
    }),
    killSwitch: may(killSwitch, "Against a broken checker.", {
      default: "50 percent within 5 s",
      example: { sharePercent: 60 },
    }),
    engine: may(oneOf(engines), "What forwards it.", { default: "the cluster's `engine`", example: "ipvs" }),
  })
  .meta({ id: "service", description: "A virtual service." });

const garp = z
  .strictObject({
    count: may(whole(1, 100), "How many per VIP at take-over.", { default: defaults.garpCount, example: 5 }),
    intervalMs: may(timeMs(0, 60_000), "Time between them.", { default: defaults.garpIntervalMs, example: 200 }),
    refreshMs: may(timeMs(0, 86_400_000), "Repeat one this often while owner; 0 never.", {
      default: defaults.garpRefreshMs,
      example: 30_000,
    }),
    form: may(oneOf(["both", "request", "reply"]), "The ARP operation it is written as.", {
      default: defaults.garpForm,
      example: "request",
    }),
  })
  .meta({ id: "garp", description: "Gratuitous ARP of the new owner." });

const trackKeys = {
  weight: may(
    whole(-253, 253),
    "Added to the priority while bad (negative) or good (positive); 0 means bad is a fault.",
    {
      default: 0,
      example: -50,
    },
  ),
};
const track = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: must(z.literal("interface"), "What is watched.", "interface"),
      interface: must(iface, "The link.", "eth1"),
      ...trackKeys,
    })
    .meta({ id: "track-interface", description: "Watches a link." }),
  z
    .strictObject({
      type: must(z.literal("quorum"), "What is watched.", "quorum"),
      service: must(ref, "The service.", "web"),
      ...trackKeys,
    })
    .meta({ id: "track-quorum", description: "Watches a service's quorum." }),
  z
    .strictObject({
      type: must(z.literal("script"), "What is watched.", "script"),
      command: must(argv, "Program and arguments; exit status 0 is good.", ["/usr/local/bin/uplink-ok"]),
      intervalMs: may(timeMs(10, 86_400_000), "Time between two runs.", {
        default: defaults.healthIntervalMs,
        example: 1000,
      }),
      timeoutMs: may(timeMs(1, 3_600_000), "How long one run may take.", {
        default: defaults.healthTimeoutMs,
        example: 500,
      }),
      rise: may(whole(1, 1000), "Good runs in a row until good.", { default: defaults.healthRise, example: 2 }),
      fall: may(whole(1, 1000), "Bad runs in a row until bad.", { default: defaults.healthFall, example: 3 }),
      user: may(text(32), "The user it runs as.", { default: defaults.execUser, example: "checker" }),
      ...trackKeys,
    })
    .meta({ id: "track-script", description: "Watches a program of yours." }),
]);

const vrid = whole(1, 255, "vrid-range");
const vrrpKeys = {
  version: may(z.union([z.literal(2), z.literal(3)], as("unknown-value", "2, 3")), "VRRP version on the wire.", {
    default: defaults.vrrpVersion,
    example: 3,
  }),
  intervalMs: may(
    timeMs(10, 255_000),
    "Time between adverts: version 3 from 10 to 40950 in steps of 10, version 2 whole seconds.",
    {
      default: defaults.vrrpIntervalMs,
      example: 100,
    },
  ),
  preempt: may(z.boolean(), "A director with a higher priority takes over from one with a lower.", {
    default: defaults.vrrpPreempt,
    example: false,
  }),
  preemptDelayMs: may(timeMs(0, 1_000_000), "How long it waits before it does so.", {
    default: defaults.vrrpPreemptDelayMs,
    example: 30_000,
  }),
  unicast: may(
    z.union([z.boolean(), z.array(address).min(1, as("number-range", "at least one peer"))]),
    "Send adverts to the other directors' DIPs (or the peers listed) instead of multicast.",
    {
      default: defaults.vrrpUnicast,
      example: true,
    },
  ),
  accept: may(z.boolean(), "The owner takes packets for the VIPs itself too (Accept_Mode).", {
    default: defaults.vrrpAccept,
    example: true,
  }),
  downAdverts: may(whole(1, 100), "Missed adverts until the owner is taken for dead.", {
    default: defaults.vrrpDownAdverts,
    example: 3,
  }),
  checksum: may(
    oneOf(["message", "pseudo-header"]),
    "What the version 3 checksum covers: RFC 9568's message, or keepalived's form.",
    {
      default: defaults.vrrpChecksum,
      example: "pseudo-header",
    },
  ),
  garp: may(garp, "Gratuitous ARP.", { default: {}, example: { count: 5, refreshMs: 30_000 } }),
  track: may(z.array(track), "What lowers or raises the priority.", {
    default: [],
    example: [{ type: "interface", interface: "eth1" }],
  }),
};
const vrrp = z
  .strictObject({
    id: may(vrid, "Virtual router id, alone on its LAN.", {
      default: `${defaults.vrrpId}, with a warning`,
      example: 77,
    }),
    ...vrrpKeys,
  })
  .meta({ id: "vrrp", description: "VRRP between the directors; also the defaults of `instances`." });
const instance = z
  .strictObject({
    name: must(name, "Its name.", "inside"),
    id: must(vrid, "Virtual router id, alone on its LAN.", 77),
    vips: must(z.array(ref).min(1, as("number-range", "at least one VIP")), "The VIPs that move together.", ["web"]),
    interface: may(iface, "The interface it speaks on.", { default: "the director's", example: "eth1" }),
    priorities: may(z.record(name, whole(1, 255, "priority-range")), "Priority by director.", {
      default: "the directors' priorities",
      example: { lb1: 100, lb2: 200 },
    }),
    ...vrrpKeys,
  })
  .meta({ id: "instance", description: "One of several VRRP instances." });
const syncGroup = z
  .strictObject({
    name: must(name, "Its name.", "both-sides"),
    instances: must(
      z.array(ref).min(1, as("number-range", "at least one instance")),
      "Instances that change state together.",
      ["inside", "outside"],
    ),
  })
  .meta({ id: "syncGroup", description: "VRRP instances that move as one." });
const connectionSync = z
  .strictObject({
    enabled: may(z.boolean(), "Copy the connection table to the standby.", {
      default: defaults.syncEnabled,
      example: true,
    }),
    interface: may(iface, "The interface it goes over.", { default: "the director's", example: "eth1" }),
    id: may(whole(0, 255), "IPVS sync id.", { default: defaults.syncId, example: 1 }),
    group: may(address, "Multicast group.", { default: defaults.syncGroup, example: "224.0.0.81" }),
    port: may(portNumber, "UDP port.", { default: defaults.syncPort, example: 8848 }),
    ttl: may(whole(1, 255), "Time to live of its packets.", { default: defaults.syncTtl, example: 1 }),
  })
  .meta({ id: "connectionSync", description: "IPVS connection synchronisation." });
const failover = z
  .strictObject({
    vrrp: may(vrrp, "VRRP between the directors.", { default: {}, example: { id: 77 } }),
    instances: may(z.array(instance), "Several instances, each with its VIPs.", {
      default: "one, named main, with all VIPs",
      example: [{ name: "inside", id: 78, vips: ["db"] }],
    }),
    syncGroups: may(z.array(syncGroup), "Instances that move as one.", {
      default: [],
      example: [{ name: "both", instances: ["inside", "outside"] }],
    }),
    connectionSync: may(connectionSync, "IPVS connection synchronisation.", {
      default: {},
      example: { interface: "eth1" },
    }),
  })
  .meta({
    id: "failover",
    description: "How directors take over from each other. Counts only with two directors or more.",
  });

const endpoint = z.string().regex(/^\[?[0-9A-Fa-f.:]+\]?:\d{1,5}$/, as("bad-endpoint", "ADDRESS:PORT"));
const absolutePath = z.string().regex(/^\/[^\0]{1,4094}$/, as("bad-text", "an absolute path"));
const agent = z
  .strictObject({
    socket: may(absolutePath, "Control socket.", {
      default: "/run/vipward/control.sock",
      example: "/run/vipward/lan.sock",
    }),
    metrics: may(endpoint, "Where Prometheus metrics are served; nowhere unless given.", {
      default: "off",
      example: "127.0.0.1:9112",
    }),
    https: may(
      z
        .strictObject({
          listen: must(endpoint, "Where it listens.", "10.10.0.2:9113"),
          tokenFile: must(absolutePath, "File with the token that callers must show.", "/etc/vipward/token"),
          certificateFile: must(absolutePath, "PEM certificate chain.", "/etc/vipward/cert.pem"),
          keyFile: must(absolutePath, "PEM key.", "/etc/vipward/key.pem"),
        })
        .meta({ id: "https", description: "Control over HTTPS." }),
      "Control over HTTPS; off unless given.",
      {
        default: "off",
        example: {
          listen: "10.10.0.2:9113",
          tokenFile: "/etc/vipward/token",
          certificateFile: "/etc/vipward/cert.pem",
          keyFile: "/etc/vipward/key.pem",
        },
      },
    ),
    journalMaxOctets: may(whole(65_536, 1_073_741_824), "The event journal on disk stays below this.", {
      default: 16_777_216,
      example: 1_048_576,
    }),
  })
  .meta({ id: "agent", description: "The agent's doors." });

const silenceCheck = z
  .strictObject({
    intervalMs: may(timeMs(0, 86_400_000), "How often the owner asks who-has for its VIPs; 0 never.", {
      default: defaults.silenceCheckIntervalMs,
      example: 10_000,
    }),
    action: may(oneOf(["report", "remove"]), "What happens to a real server that answers.", {
      default: defaults.silenceCheckAction,
      example: "remove",
    }),
  })
  .meta({ id: "silenceCheck", description: "The director's watch over the real servers' silence." });

const labHost = z.record(name, address);
const fault = z
  .strictObject({
    at: must(number(0, 86_400), "Seconds since the beginning of the scenario, within it.", 60),
    do: must(oneOf(faultActions), "What happens.", "crash"),
    host: must(name, "To which host; a switch's name means its uplink.", "lb1"),
    name: may(text(64), "sysctl only: which, as in the facts.", { example: "eth0.arp_announce" }),
    value: may(
      z.number(),
      "sysctl: its value; loss, duplicate, reorder: percent; delay: ms; mtu: octets; drift: millionths; answers: the HTTP status, without it as it should; apply, undo: killed at which call.",
      { default: "needed but for answers, apply and undo", example: 2 },
    ),
  })
  .meta({ id: "fault", description: "Something done to one host of a simulated LAN." });
const scenario = z
  .strictObject({
    seconds: must(number(1, 86_400), "How long the scenario lasts, in virtual time.", 60),
    faults: may(z.array(fault).max(1000), "What happens, in any order.", {
      default: [],
      example: [{ at: 10, do: "crash", host: "lb1" }],
    }),
    seed: may(whole(0, 0xffffffff), "The seed, unless `--seed` is given: `vipward explore` prints that of its story.", {
      default: 1,
      example: 7,
    }),
    connectEveryMs: may(timeMs(1, 86_400_000), "A short connection every so often.", {
      default: "a 500th of the scenario, at least 250",
      example: 1000,
    }),
    longLived: may(whole(0, 1000), "Connections that stay open.", { default: defaults.scenarioLongLived, example: 0 }),
    askEveryMs: may(timeMs(1, 86_400_000), "The router asks for every VIP so often.", {
      default: "a 500th of the scenario, at least 2000",
      example: 5000,
    }),
    guard: may(oneOf(guardKinds), "Real servers run `vipward guard`; heal: with --heal.", {
      default: "no guard",
      example: "heal",
    }),
  })
  .meta({ id: "scenario", description: "A run of the simulator with faults, instead of the lab's story." });

const vlan = whole(1, 4094);
const cableKeys = {
  delayMs: may(number(0, 60_000), "What the cable adds, each way.", {
    default: `${defaults.linkDelayMs}; between switches ${defaults.uplinkDelayMs}`,
    example: 2,
  }),
  lossPercent: may(number(0, 100), "Frames lost; for the simulator.", { default: 0, example: 0.1 }),
  duplicatePercent: may(number(0, 100), "Frames that arrive twice; for the simulator.", { default: 0, example: 1 }),
  reorderPercent: may(number(0, 100), "Frames held back for 2 ms; for the simulator.", { default: 0, example: 1 }),
  mtu: may(whole(68, 65_535), "Longer packets are thrown away, and nobody is told; for the simulator.", {
    default: defaults.linkMtu,
    example: 1400,
  }),
};
const linkKeys = {
  switch: may(ref, "The switch it is plugged into.", { default: "the only one", example: "edge" }),
  vlan: may(vlan, "The VLAN of its port.", { default: "its network's, by `vlans`", example: 10 }),
  port: may(whole(1, 1024), "The port of the switch, as it is called.", { default: "a free one", example: 3 }),
  ...cableKeys,
  jitterMs: may(number(0, 60_000), "Up to so much more, different for each frame that the host sends.", {
    default: defaults.linkJitterMs,
    example: 0.2,
  }),
};
const link = z
  .strictObject(linkKeys)
  .meta({ id: "link", description: "A host's cable into a switch. Short form: the switch alone." });
const linkItem = z.strictObject({ network: must(ref, "The network it is for.", "lan"), ...linkKeys });
const uplink = z
  .strictObject({
    to: must(ref, "The switch at the other end.", "core"),
    vlans: may(z.array(vlan).min(1, as("number-range", "at least one")), "The VLANs it carries.", {
      default: "all",
      example: [10, 20],
    }),
    ...cableKeys,
  })
  .meta({ id: "uplink", description: "A trunk to another switch, tagged. Short form: the other switch alone." });
const labSwitch = z
  .strictObject({
    uplink: may(z.union([ref, uplink]), "The trunk towards the other switches.", { default: "none", example: "core" }),
    ageingSeconds: may(whole(1, 1_000_000), "A MAC not heard for so long is forgotten; for the simulator.", {
      default: defaults.switchAgeingSeconds,
      example: 15,
    }),
  })
  .meta({ id: "switch", description: "A switch of the lab, aware of VLANs. Short form: its uplink alone." });

const lab = z
  .strictObject({
    clients: may(z.union([whole(1, 250), labHost]), "Clients: how many, or name and address of each.", {
      default: defaults.labClients,
      example: { client: "10.10.0.200" },
    }),
    router: may(name, "Name of the host that has all the routers' addresses.", {
      default: defaults.labRouterName,
      example: "router",
    }),
    kernels: may(z.record(name, kernelText), "Kernels of clients and of the router; for the simulator.", {
      default: {},
      example: { router: "2.0.36" },
    }),
    ignoresGratuitous: may(z.boolean(), "The switches throw gratuitous ARP away; for the simulator.", {
      default: false,
      example: true,
    }),
    switches: may(z.record(name, z.union([ref, labSwitch])), "The switches, and the trunks between them.", {
      default: "one for each network",
      example: { core: {}, edge: { uplink: "core" } },
    }),
    vlans: may(z.record(name, vlan), "The VLAN of each network, where `switches` are given.", {
      default: "1 for the first network, 2 for the second, and so on",
      example: { lan: 10 },
    }),
    links: may(
      z.record(name, z.union([ref, link, z.array(linkItem).min(1, as("number-range", "at least one"))])),
      "What each host is plugged into, and how; a list for a host in several networks.",
      { default: "the only switch", example: { web1: { switch: "edge", delayMs: 2 } } },
    ),
    redirectPort: may(portNumber, "The policy redirect takes this port only, by tcp and by udp; for the simulator.", {
      default: "all ports, a rule for each protocol",
      example: 80,
    }),
    scenario: may(scenario, "A run with faults instead of the story; for the simulator.", {
      default: "the story",
      example: { seconds: 60, faults: [{ at: 10, do: "crash", host: "lb1" }] },
    }),
  })
  .meta({ id: "lab", description: "Hosts that only a lab has." });

/** The whole file. */
export const clusterSchema = z
  .strictObject({
    version: must(z.literal(1, as("bad-version", "1")), "Version of this form; always 1.", 1),
    name: must(name, "The cluster's name.", "shop"),
    engine: may(oneOf(engines), "What forwards on the director.", { default: defaults.engine, example: "ipvs" }),
    forwarding: may(oneOf(forwardings, "unknown-forwarding"), "Forwarding of services that do not say theirs.", {
      default: defaults.forwarding,
      example: "tun",
    }),
    policy: may(policy, "The silence policy of real servers.", {
      default: defaults.policy,
      example: { name: "arp-sysctl", scope: "all" },
    }),
    networks: must(named(z.union([prefixText, network]), networkItem), "The LAN subnets, by name.", {
      lan: { prefix: "10.10.0.0/24", router: "10.10.0.1" },
    }),
    directors: must(named(z.union([address, director]), directorItem), "The directors; the first is preferred.", {
      lb1: "10.10.0.2",
      lb2: "10.10.0.3",
    }),
    realServers: must(
      named(z.union([address, realServer]), realServerItem),
      "The real servers. One with a director's name and address is the same host.",
      { web1: "10.10.0.11" },
    ),
    vips: must(
      z.union([z.record(name, z.union([address, vip])), z.array(z.union([address, vipItem]))]),
      "The virtual addresses.",
      { web: "10.10.0.100" },
    ),
    services: must(z.array(service), "The virtual services.", [{ vip: "web", port: 80, scheduler: "rr" }]),
    health: may(health, "Checks of services that do not say theirs.", {
      default: "vip-path for tcp with dr or tun, tcp for tcp with nat, else icmp",
      example: "tcp",
    }),
    silenceCheck: may(silenceCheck, "The director's watch over the real servers' silence.", {
      default: {},
      example: { action: "remove" },
    }),
    failover: may(failover, "How directors take over from each other.", {
      default: {},
      example: { vrrp: { id: 77, intervalMs: 100 } },
    }),
    reload: may(
      z
        .strictObject({
          maximumDeleteSharePercent: may(percent, "A reload that would delete more of the services needs --force.", {
            default: defaults.reloadDeleteSharePercent,
            example: 20,
          }),
        })
        .meta({ id: "reload", description: "Limits of a reload." }),
      "Limits of a reload.",
      { default: {}, example: { maximumDeleteSharePercent: 20 } },
    ),
    agent: may(agent, "The agent's doors.", { default: {}, example: { metrics: "127.0.0.1:9112" } }),
    lab: may(lab, "Hosts that only a lab has.", { default: {}, example: { clients: 3 } }),
  })
  .meta({
    title: "vipward cluster file",
    description: "One cluster: directors, real servers, VIPs and services. The same file on every host.",
  });

/** A file of the right form, as written. */
export type ClusterInput = z.infer<typeof clusterSchema>;
export type ServiceInput = z.infer<typeof service>;
export type CheckInput = z.infer<typeof checkItem>;
export type TunnelInput = z.infer<typeof tunnelValue>;
export type VrrpInput = Omit<z.infer<typeof vrrp>, "id">;
export type TrackInput = z.infer<typeof track>;
export type PolicyInput = z.infer<typeof policy>;

/** The published JSON Schema (draft 2020-12); schema/cluster.schema.json is this. */
export function clusterJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(clusterSchema, { io: "input" });
}
