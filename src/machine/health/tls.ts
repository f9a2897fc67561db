import type { Ipv4 } from "../../base/ipv4.ts";
import { type Certificate, type Checker, down, type Judgement, refused, up } from "./probe.ts";

export interface TlsQuestion {
  readonly address: Ipv4;
  readonly port: number;
  readonly sni: string | undefined;
  readonly verify: boolean;
  readonly minimumDaysLeft: number;
}
const dayMs = 86_400_000;

/** Down when it is not valid yet, no longer, or for fewer days than are asked for. */
export function judgeCertificate(c: Certificate, minimumDaysLeft: number): Judgement {
  if (!Number.isFinite(c.notAfterEpochMs) || !Number.isFinite(c.notBeforeEpochMs))
    return down("tls/certificate", "the certificate's dates cannot be read");
  if (c.nowEpochMs < c.notBeforeEpochMs) return down("tls/not-yet-valid", "the certificate is not valid yet");
  const daysLeft = Math.floor((c.notAfterEpochMs - c.nowEpochMs) / dayMs);
  if (c.nowEpochMs > c.notAfterEpochMs) return down("tls/expired", `the certificate expired ${-daysLeft} days ago`);
  if (daysLeft < minimumDaysLeft)
    return down("tls/expires-soon", `the certificate expires in ${daysLeft} days, fewer than ${minimumDaysLeft}`);
  return up(`the certificate is valid for ${daysLeft} days`);
}

export const tlsCheck = ({ minimumDaysLeft, address, port, sni, verify }: TlsQuestion): Checker<null> => ({
  name: "tls",
  begin: () => ({ state: null, effects: [{ kind: "connect", address, port, tls: { sni, verify } }] }),
  on(state, event) {
    if (event.kind === "connected")
      return {
        state,
        judgement:
          event.certificate === undefined
            ? down("tls/certificate", "the server showed no certificate")
            : judgeCertificate(event.certificate, minimumDaysLeft),
      };
    if (event.kind === "failed") return { state, judgement: refused("tls", event.error) };
    if (event.kind === "closed") return { state, judgement: down("tls/closed", "closed during the handshake") };
    return { state };
  },
});
