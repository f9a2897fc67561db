/** `vipward who-has`: reads options, asks, prints, chooses the exit status. */
import { closeSync, openSync, readSync } from "node:fs";
import { formatIpv4, type Ipv4, parseIpv4 } from "../../base/ipv4.ts";
import { type Mac, parseMac } from "../../base/mac.ts";
import { HostError } from "../../host/errors.ts";
import { Namespace } from "../../host/namespace.ts";
import { type WhoHasOptions, type WhoHasReport, whoHas } from "../../host/whoHas.ts";
import type { Asking } from "../../machine/whoHas.ts";
import type { SourceChoice } from "../../machine/whoHasPlan.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import { reportFailure } from "../failure.ts";
import type { Io } from "../io.ts";
import { unreadable } from "./inputFile.ts";
import { ethersBook, joinBooks, type NameBook } from "./names.ts";
import { expandVips, LARGEST_FILE_OCTETS, MOST_VIPS, readVipList } from "./vipList.ts";
import { countVerdicts, eventJson, eventText, reportJson, reportText, type Telling } from "./whoHasText.ts";
import { forReader } from "./wrap.ts";

/** As commander gives them: texts, or true for flags. */
export interface WhoHasFlags {
  readonly interface?: string;
  readonly from?: string;
  readonly expect?: string;
  readonly count?: string;
  readonly interval?: string;
  readonly timeout?: string;
  readonly source?: string;
  readonly unicast?: string;
  readonly rate?: string;
  readonly decoy?: boolean;
  readonly watch?: boolean;
  readonly netns?: string;
  readonly json?: boolean;
}

const refuse = (why: string, remedy: string, kind: "usage" | "bad-data" | "no-input" = "usage"): HostError =>
  new HostError(`who-has/${kind}`, why, { remedy });

function wholeNumber(text: string, option: string, lowest: number, highest: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= lowest && value <= highest))
    throw refuse(
      `${option} ${text}: not a whole number from ${lowest} to ${highest}`,
      `give such a number to ${option}`,
    );
  return value;
}

/** At most LARGEST_FILE_OCTETS, whatever the file is: a device or a pipe has no size to ask for. */
function readBounded(path: string): string {
  let fd: number;
  try {
    fd = path === "-" ? 0 : openSync(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const buffer = new Uint8Array(LARGEST_FILE_OCTETS + 1);
    let length = 0;
    while (length < buffer.length) {
      const got = readSync(fd, buffer, length, buffer.length - length, null);
      if (got === 0) break;
      length += got;
    }
    if (length > LARGEST_FILE_OCTETS)
      throw refuse(
        `${path} is larger than ${LARGEST_FILE_OCTETS >> 20} MiB`,
        `give a list of VIPs: ${MOST_VIPS} addresses at most`,
        "bad-data",
      );
    return new TextDecoder().decode(buffer.subarray(0, length));
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw unreadable(path === "-" ? "standard input" : path, error);
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}

function vipsOf(given: readonly string[], from: string | undefined): Ipv4[] {
  const texts = [...given];
  if (from !== undefined) {
    const list = readVipList(readBounded(from));
    if (list.problems.length > 0)
      throw refuse(
        list.problems.map((p) => `${from}:${p.line}: ${p.why}`).join("\nvipward: "),
        "write an address (10.0.0.100), a range (10.0.0.10-10.0.0.20) or a prefix (10.0.0.0/28) a line",
        "bad-data",
      );
    if (list.texts.length === 0)
      throw refuse(`${from} holds no VIP`, "write a VIP a line, such as 10.0.0.100", "bad-data");
    texts.push(...list.texts);
  }
  if (texts.length === 0) throw refuse("no VIP was given", "name one, such as 10.0.0.100, or a file: --from FILE");
  const vips = expandVips(texts);
  if (!vips.ok)
    throw refuse(
      vips.why,
      "give addresses such as 10.0.0.100, 10.0.0.10-10.0.0.20 or 10.0.0.0/28; split what is too much into several runs",
    );
  return vips.value;
}

function macOf(text: string, option: string): Mac {
  const mac = parseMac(text);
  if (mac === undefined) throw refuse(`${option} ${text}: not a MAC address`, "write it as 52:54:00:12:34:56");
  return mac;
}

function expectedOf(text: string, names: NameBook): ReadonlySet<Mac> {
  const mac = parseMac(text);
  if (mac !== undefined) return new Set([mac]);
  const macs = names.macsOf(text);
  if (macs.length === 0)
    throw refuse(
      `--expect ${text}: neither a MAC address nor a known name`,
      "give the MAC, or add the name to /etc/ethers",
    );
  return new Set(macs);
}

function sourceOf(text: string): SourceChoice {
  if (text === "auto" || text === "own" || text === "probe") return text;
  const address = parseIpv4(text);
  if (address === undefined)
    throw refuse(`--source ${text}: not one of auto, own, probe, nor an address`, "leave it out for auto");
  return { address };
}

function optionsOf(vips: readonly string[], flags: WhoHasFlags, names: NameBook): Omit<WhoHasOptions, "namespace"> {
  const watch = flags.watch ?? false;
  return {
    vips: vipsOf(vips, flags.from),
    count: wholeNumber(flags.count ?? "3", "--count", 1, 1000),
    intervalMs: wholeNumber(flags.interval ?? (watch ? "1000" : "100"), "--interval", 1, 3_600_000),
    timeoutMs: wholeNumber(flags.timeout ?? "1000", "--timeout", 1, 600_000),
    source: sourceOf(flags.source ?? "auto"),
    decoys: flags.decoy === false ? 0 : 2,
    watch,
    ...(flags.interface !== undefined && { interface: flags.interface }),
    ...(flags.rate !== undefined && { questionsPerSecond: wholeNumber(flags.rate, "--rate", 1, 100_000_000) }),
    ...(flags.unicast !== undefined && { unicastTo: macOf(flags.unicast, "--unicast") }),
    ...(flags.expect !== undefined && { expected: expectedOf(flags.expect, names) }),
  };
}

/** 1 before 2: a race is worse news than a silence. */
export function statusOf(report: WhoHasReport): number {
  const counts = countVerdicts(report);
  // A second claim to a VIP spoils it, whoever answers.
  const claimed = report.links.some((l) => l.vips.some((v) => v.findings.some((f) => f.bad)));
  if (counts.race > 0 || counts["wrong-owner"] > 0 || claimed) return exitCode("no");
  return counts.nobody > 0 ? exitCode("other") : exitCode("ok");
}

/** The block under the news on a terminal: one line a VIP, drawn over itself. */
class LiveBlock {
  readonly #io: Io;
  readonly #tell: Telling;
  readonly #timer: NodeJS.Timeout;
  #askings: readonly Asking[] = [];
  #lines = 0;
  constructor(io: Io, tell: Telling) {
    this.#io = io;
    this.#tell = tell;
    this.#timer = setInterval(() => this.draw(), 250);
  }
  watch(askings: readonly Asking[]): void {
    this.#askings = askings;
  }
  clear(): void {
    if (this.#lines > 0) this.#io.out(`\x1b[${this.#lines}A\x1b[J`);
    this.#lines = 0;
  }
  draw(): void {
    this.clear();
    const { paint: p, names } = this.#tell;
    const rows = this.#askings.flatMap((a) => a.present());
    const shown = rows.slice(0, 20).map(({ vip, macs }) => {
      const who = macs.map((m) => names.nameOf(m) ?? m).join(", ");
      const state = macs.length === 0 ? p.yellow("nobody") : macs.length === 1 ? p.green(who) : p.red(`RACE ${who}`);
      return `${formatIpv4(vip).padEnd(15)}  ${state}`;
    });
    if (rows.length > 20) shown.push(p.dim(`and ${rows.length - 20} more`));
    shown.push(p.dim("Ctrl-C ends with a summary"));
    this.#io.out(`${shown.join("\n")}\n`);
    this.#lines = shown.length;
  }
  end(): void {
    clearInterval(this.#timer);
    this.clear();
  }
}

async function ask(options: WhoHasOptions, flags: WhoHasFlags, io: Io, tell: Telling): Promise<WhoHasReport> {
  if (flags.watch !== true) return whoHas({ ...options, signal: io.signal });
  const live = io.isTerminal && flags.json !== true ? new LiveBlock(io, tell) : undefined;
  try {
    return await whoHas({
      ...options,
      signal: io.signal,
      onAsking: (askings) => live?.watch(askings),
      onEvents: (events) => {
        live?.clear();
        for (const event of events)
          io.out(flags.json === true ? `${JSON.stringify(eventJson(event))}\n` : `${eventText(event, tell)}\n`);
        live?.draw();
      },
    });
  } finally {
    live?.end();
  }
}

function openNamespace(name: string): Namespace {
  if (!/^[^/\0]+$/.test(name) || name === "." || name === "..")
    throw refuse(`"${name}" cannot name a network namespace`, "list them with `ip netns`");
  try {
    return new Namespace(name);
  } catch (error) {
    if (!(error instanceof HostError) || !error.code.endsWith("ENOENT")) throw error;
    throw refuse(`there is no network namespace ${name}`, "list them with `ip netns`", "no-input");
  }
}

/** Gives the exit status; prints results to `io.out`, failures and their remedies to `io.err`. */
export async function runWhoHas(
  vips: readonly string[],
  flags: WhoHasFlags,
  io: Io,
  books: readonly NameBook[] = [],
): Promise<number> {
  io.endsInOrder(); // at once, and its threads by themselves: one that is stopped while it loads may abort the process
  let namespace: Namespace | undefined;
  try {
    const names = joinBooks([...books, ethersBook()]);
    const tell: Telling = { paint: paint(io.colour), names };
    const options = optionsOf(vips, flags, names);
    namespace = flags.netns === undefined ? undefined : openNamespace(flags.netns);
    const report = await ask(namespace === undefined ? options : { ...options, namespace }, flags, io, tell);
    const status = report.interrupted ? exitCode("interrupted") : statusOf(report);
    if (flags.json === true)
      io.out(`${JSON.stringify(reportJson(report, status, tell), null, flags.watch === true ? 0 : 2)}\n`);
    else io.out(forReader(io, reportText(report, tell)));
    return status;
  } catch (error) {
    return reportFailure(error, io);
  } finally {
    namespace?.close();
  }
}
