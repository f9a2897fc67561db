/**
 * After an apply: what the wire says of the VIPs. A host does not hear its own answers, so this tells who else answers:
 * the director, nobody yet, or a second machine that should be silent. That this host is silent, its facts have shown.
 */
import { formatIpv4, type Ipv4, parseIpv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import { HostError } from "../../host/errors.ts";
import { whoHas } from "../../host/whoHas.ts";
import type { Verdict } from "../../machine/whoHasReport.ts";
import { ethersBook } from "./names.ts";

export type WireWord =
  | { readonly asked: false; readonly why: string }
  | {
      readonly asked: true;
      readonly vips: readonly { readonly vip: string; readonly verdict: Verdict; readonly macs: readonly Mac[] }[];
    };

/** Two rounds and a fifth of a second: a director answers at once; `vipward who-has` waits for those who do not. */
export async function askWire(vips: readonly string[], signal?: AbortSignal): Promise<WireWord> {
  try {
    const { links } = await whoHas({
      vips: vips.map(parseIpv4).filter((vip): vip is Ipv4 => vip !== undefined),
      count: 2,
      intervalMs: 50,
      timeoutMs: 200,
      decoys: 0,
      ...(signal && { signal }),
    });
    const told = links.flatMap((link) => link.vips);
    return {
      asked: true,
      vips: told.map(({ vip, verdict, owners }) => ({
        vip: formatIpv4(vip),
        verdict,
        macs: owners.map((owner) => owner.mac),
      })),
    };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { asked: false, why: error.message };
  }
}

const SHOWN = 8;

export function wireText(word: WireWord): string {
  if (!word.asked) return `the wire was not asked: ${word.why}\n`;
  const book = ethersBook();
  const named = (mac: Mac): string => {
    const name = book.nameOf(mac);
    return name === undefined ? mac : `${name} (${mac})`;
  };
  const sentence: Record<Verdict, (macs: string) => string> = {
    "one-owner": (macs) => `${macs} answers, and nobody else`,
    "wrong-owner": (macs) => `${macs} answers`,
    nobody: () => "nobody else answers: no director holds it yet",
    race: (macs) => `SEVERAL MACHINES ANSWER, ${macs}: all but the director must be silenced (vipward who-has)`,
  };
  // What is wrong first: in a long list nobody would see it.
  const order = [...word.vips].sort((a, b) => Number(b.verdict === "race") - Number(a.verdict === "race"));
  const lines = order.slice(0, SHOWN).map((v) => `  ${v.vip}: ${sentence[v.verdict](v.macs.map(named).join(", "))}`);
  if (order.length > SHOWN) lines.push(`  and ${order.length - SHOWN} more`);
  return `asked the wire:\n${lines.join("\n")}\n`;
}
