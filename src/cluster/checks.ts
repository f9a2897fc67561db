import { isAnyPort } from "../base/anyPort.ts";
import type { Check, CheckTiming, Match } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Path } from "./problem.ts";
import type { CheckInput, ClusterInput } from "./schema.ts";
import type { Forwarding } from "./words.ts";

type HealthInput = NonNullable<ClusterInput["health"]>;
type CheckObject = Exclude<CheckInput, string>;

/** Of what a service is, the part its checks depend on. */
export interface Checked {
  readonly match: Match;
  /** Those in use among its destinations. */
  readonly forwardings: ReadonlySet<Forwarding>;
}

/** The checks of one service; `input` undefined means nobody said any. */
export function readChecks(context: Context, input: HealthInput | undefined, path: Path, service: Checked): Check[] {
  if (input === undefined) return [{ ...timing({}), ...defaultCheck(service), isServicePort: true }];
  if (input === "none") return [];
  const isList = Array.isArray(input);
  const items = isList ? input : [input];
  return items.flatMap((item, i) => {
    const itemPath = isList ? [...path, i] : path;
    const check = readCheck(
      context,
      typeof item === "string" ? ({ type: item } as CheckObject) : item,
      itemPath,
      service,
    );
    return check === undefined ? [] : [check];
  });
}

function defaultCheck({ match, forwardings }: Checked): { type: "vip-path" | "tcp"; port: number } | { type: "icmp" } {
  const port = firstPort(match);
  if (port === undefined || match.protocol !== "tcp") return { type: "icmp" };
  return { type: forwardings.has("nat") ? "tcp" : "vip-path", port };
}

/** The port that a check asks where it names none; undefined: a fwmark has none, and of all ports none is the one. */
function firstPort(match: Match): number | undefined {
  const range = match.kind === "ports" ? match.ports[0] : undefined;
  return range === undefined || isAnyPort(range) ? undefined : range.first;
}

function timing(input: Partial<Record<keyof CheckTiming, number | undefined>>): CheckTiming {
  return {
    intervalMs: input.intervalMs ?? defaults.healthIntervalMs,
    timeoutMs: input.timeoutMs ?? Math.min(defaults.healthTimeoutMs, input.intervalMs ?? defaults.healthIntervalMs),
    rise: input.rise ?? defaults.healthRise,
    fall: input.fall ?? defaults.healthFall,
    jitterPercent: input.jitterPercent ?? defaults.healthJitterPercent,
    slowStartMs: input.slowStartMs ?? defaults.healthSlowStartMs,
  };
}

function readCheck(context: Context, input: CheckObject, path: Path, service: Checked): Check | undefined {
  const isServicePort = !("port" in input && input.port !== undefined);
  const time = { ...timing(input), isServicePort };
  if (time.timeoutMs > time.intervalMs)
    context.add(
      "health-timeout",
      [...path, "timeoutMs"],
      `timeout ${time.timeoutMs} ms, but a check every ${time.intervalMs} ms`,
    );
  if (input.type === "icmp") return { ...time, type: "icmp" };
  if (input.type === "exec")
    return {
      ...time,
      type: "exec",
      command: input.command,
      user: readUser(context, input.user, path),
      port: firstPort(service.match),
    };

  const port = input.port ?? firstPort(service.match);
  if (port === undefined) {
    const known = service.match.kind === "fwmark" ? "is known by a fwmark" : "takes any port";
    const message = `a ${input.type} check of a service that ${known} needs a port`;
    context.add("health-needs-port", path, message, `write {type: ${input.type}, port: N}`);
    return undefined;
  }
  switch (input.type) {
    case "tcp":
      return { ...time, type: "tcp", port };
    case "vip-path": {
      const why =
        service.match.protocol !== "tcp"
          ? `it makes a TCP handshake and the service is ${service.match.protocol}`
          : service.forwardings.has("nat")
            ? "real servers behind nat do not hold the VIP"
            : undefined;
      if (why !== undefined) context.add("health-not-possible", path, `vip-path cannot check this service: ${why}`);
      return { ...time, type: "vip-path", port };
    }
    case "http":
    case "https": {
      const { host, bodyRegex, bodySha256 } = input;
      const asked = bodyRegex !== undefined ? "bodyRegex" : bodySha256 !== undefined ? "bodySha256" : undefined;
      if (input.method === "HEAD" && asked !== undefined)
        context.add("health-not-possible", [...path, asked], `an answer to HEAD has no body for ${asked} to look at`);
      if (bodyRegex !== undefined) sayIfBadRegex(context, bodyRegex, [...path, "bodyRegex"]);
      const question = {
        ...time,
        port,
        host,
        bodyRegex,
        path: input.path ?? defaults.httpPath,
        method: input.method ?? defaults.httpMethod,
        status: readStatus(input.status ?? defaults.httpStatus),
        bodySha256: bodySha256?.toLowerCase(),
      };
      if (input.type === "http") return { ...question, type: "http" };
      return {
        ...question,
        type: "https",
        sni: input.sni ?? host?.replace(/:\d+$/, ""),
        verify: input.verify ?? false,
      };
    }
    case "tls": {
      const minimumDaysLeft = input.minimumDaysLeft ?? defaults.tlsMinimumDaysLeft;
      return { ...time, type: "tls", port, sni: input.sni, verify: input.verify ?? false, minimumDaysLeft };
    }
    case "dns": {
      const { name = defaults.dnsName, recordType = defaults.dnsRecordType, expect } = input;
      return { ...time, type: "dns", port, name, recordType, expect };
    }
    case "udp":
      return {
        ...time,
        type: "udp",
        port,
        payloadHex: input.payloadHex ?? "",
        requireReply: input.requireReply ?? false,
      };
  }
}

function readStatus(input: string | number | readonly (string | number)[]) {
  const items = typeof input === "object" ? input : [input];
  return items.map((item) => {
    const [first, last] = String(item).split("-").map(Number);
    return { first: first ?? 200, last: last ?? first ?? 200 };
  });
}

/** Who a program of the file's runs as: never root. The agent looks at the number, too. */
export function readUser(context: Context, user: string | undefined, path: Path): string {
  if (user === "root" || user === "0")
    context.add("runs-as-root", [...path, "user"], `\`user: ${user}\`: programs of a cluster file do not run as root`);
  return user ?? defaults.execUser;
}

function sayIfBadRegex(context: Context, source: string, path: Path): void {
  try {
    new RegExp(source);
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^Invalid regular expression: /, "") : "";
    context.add("bad-regex", path, `not a regular expression: ${why.slice(0, 120)}`);
  }
}
