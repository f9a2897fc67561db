/** A check of the cluster file as a question to one real server. */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import { ZERO_MAC } from "../base/mac.ts";
import type { Check, HttpCheck } from "../cluster/cluster.ts";
import { icmpCheck, udpCheck } from "../machine/health/datagram.ts";
import { dnsCheck } from "../machine/health/dns.ts";
import { execCheck } from "../machine/health/exec.ts";
import { type HttpQuestion, type HttpTools, httpCheck } from "../machine/health/http.ts";
import type { Checker } from "../machine/health/probe.ts";
import type { SharedCheck } from "../machine/health/sharing.ts";
import { tcpCheck } from "../machine/health/tcp.ts";
import { tlsCheck } from "../machine/health/tls.ts";
import { vipPathCheck } from "../machine/health/vipPath.ts";

export interface CheckerTools extends HttpTools {
  /** The director's own address that this real server answers to. */
  readonly dipFor: (rip: Ipv4) => Ipv4;
}

const octetsOf = (hex: string): Uint8Array =>
  Uint8Array.from({ length: hex.length >> 1 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));

export const httpQuestion = (check: HttpCheck, address: Ipv4): HttpQuestion => ({
  ...check,
  address,
  tls: check.type === "https" ? { sni: check.sni, verify: check.verify } : undefined,
});

/** Checkers keep their own states apart; whoever drives them need not know which is which. */
export function checkerOf(
  { check, realServer, path, toldVip }: SharedCheck<Check>,
  tools: CheckerTools,
): Checker<unknown> {
  const address = realServer.rip;
  const any = <S>(checker: Checker<S>): Checker<unknown> => checker as Checker<unknown>;
  switch (check.type) {
    case "tcp":
      return any(tcpCheck({ address, port: check.port }));
    case "http":
    case "https":
      return any(httpCheck(httpQuestion(check, address), tools));
    case "tls":
      return any(tlsCheck({ ...check, address }));
    case "dns":
      return any(dnsCheck({ ...check, address }));
    case "udp":
      return any(udpCheck({ ...check, address, payload: octetsOf(check.payloadHex) }));
    case "icmp":
      return any(icmpCheck({ address }));
    case "exec":
      return any(
        execCheck({
          command: check.command,
          user: check.user,
          environment: {
            VIPWARD_NAME: realServer.name,
            VIPWARD_RIP: formatIpv4(address),
            ...(toldVip !== undefined && { VIPWARD_VIP: formatIpv4(toldVip) }),
            ...(check.port !== undefined && { VIPWARD_PORT: `${check.port}` }),
          },
        }),
      );
    case "vip-path": {
      if (path === undefined) return any(tcpCheck({ address, port: check.port }));
      // The MAC is filled in where the packet is sent: a neighbour's may change while the check stays.
      const { tunnel } = path;
      const way = tunnel === undefined ? ({ kind: "dr", mac: ZERO_MAC } as const) : ({ kind: "tun", tunnel } as const);
      return any(vipPathCheck({ vip: path.vip, port: check.port, dip: tools.dipFor(address), rip: address, way }));
    }
  }
}
