/** What the model says of packets that a host hears, remembered: most are like one that came before. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { FrameKind } from "../model/answerArp.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import { type IpHeader, type IpVerdict, receive } from "../model/receive.ts";
import type { IpBody } from "./frame.ts";

const memoSize = 64;

interface Memo {
  readonly link: number;
  readonly frame: FrameKind;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly innerSource: number;
  readonly innerDestination: number;
  readonly verdict: IpVerdict;
}

const protocolNames: Readonly<Record<number, string>> = { 1: "icmp", 4: "ipip", 6: "tcp", 17: "udp" };
const nameOfProtocol = (protocol: number): string => protocolNames[protocol] ?? String(protocol);

const headerOf = (ip: IpBody): IpHeader => ({
  source: ip.source,
  destination: ip.destination,
  protocol: nameOfProtocol(ip.protocol),
  sourcePort: ip.sourcePort,
  destinationPort: ip.destinationPort,
  ...(ip.inner === undefined ? {} : { inner: headerOf(ip.inner) }),
});

const isAbout = (m: Memo, link: number, frame: FrameKind, ip: IpBody): boolean =>
  m.source === ip.source &&
  m.destination === ip.destination &&
  m.protocol === ip.protocol &&
  m.link === link &&
  m.frame === frame &&
  (ip.inner === undefined
    ? m.innerSource === 0 && m.innerDestination === 0
    : ip.inner.inner === undefined && m.innerSource === ip.inner.source && m.innerDestination === ip.inner.destination);

export class Verdicts {
  #model: Host;
  /** Ports and whatever else of a packet decide nothing, so that a verdict holds for all that are alike. */
  allowed = true;
  #last: Memo | undefined;
  #memo: (Memo | undefined)[] = [];

  constructor(model: Host) {
    this.#model = model;
    this.compiled(model);
  }

  /** Another model from now on: nothing of what was said before holds. */
  compiled(model: Host): void {
    this.#model = model;
    this.#memo = [];
    this.#last = undefined;
    const { filters } = model;
    this.allowed =
      filters.prerouting.length + filters.input.length + filters.forward.length === 0 &&
      !model.customRules &&
      model.facts.sockets === undefined;
  }

  of(link: Link, kind: FrameKind, ip: IpBody): IpVerdict {
    if (!this.allowed) return receive(this.#model, { ...headerOf(ip), link: link.index, frame: kind });
    const last = this.#last;
    if (last !== undefined && isAbout(last, link.index, kind, ip)) return last.verdict;
    const { inner } = ip;
    const innerSource = inner?.source ?? 0;
    const innerDestination = inner?.destination ?? 0;
    const at = (Math.imul(ip.source ^ innerSource, 0x9e3779b1) ^ Math.imul(ip.destination, 0x85ebca77)) >>> 26;
    const known = this.#memo[at % memoSize];
    if (known !== undefined && isAbout(known, link.index, kind, ip)) {
      this.#last = known;
      return known.verdict;
    }
    const verdict = receive(this.#model, { ...headerOf(ip), link: link.index, frame: kind });
    // tunnels in tunnels are rare: not remembered
    if (inner?.inner === undefined) {
      const memo: Memo = {
        link: link.index,
        frame: kind,
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        innerSource,
        innerDestination,
        verdict,
      };
      this.#memo[at % memoSize] = memo;
      this.#last = memo;
    }
    return verdict;
  }
}
