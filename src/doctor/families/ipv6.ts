import type { Address6Facts } from "../../model/facts.ts";
import { parseIpv6 } from "../../model/ipv6.ts";
import { answerNdp } from "../../model/ndp.ts";
import type { Context } from "../context.ts";
import type { Entry } from "../entry.ts";
import { rules } from "../questions.ts";
import { list } from "../text.ts";

/** IPv6 VIPs. On lo they need no silence at all (D-6-01), so nothing here asks for any. */

const held6 = (context: Context): { readonly vip: string; readonly address: Address6Facts; readonly i: number }[] => {
  const wanted = new Map(context.vips6.map((v) => [v.ip, v.text]));
  return (context.facts.addresses6 ?? []).flatMap((address, i) => {
    const vip = wanted.get(parseIpv6(address.ip) ?? "");
    return vip === undefined || address.proxy ? [] : [{ vip, address, i }];
  });
};

export const ipv6: readonly Entry[] = [
  {
    id: "ipv6-vip-dadfailed",
    title: "the IPv6 VIP is dead: duplicate detection",
    severity: "high",
    roles: ["director", "real server"],
    notice: "The IPv6 VIP is there and does not work; only one of several holders ever does.",
    why: "Duplicate address detection saw another holder, or has not ended. A failed or tentative address is not used, and nothing tries again.",
    cure: "nodad where several hold it (lo needs none); on the director remove it and add it again.",
    rules: ["D-6-04"],
    detect: (context) =>
      held6(context)
        .filter(({ address }) => address.dadFailed || (address.tentative && !address.optimistic))
        .map(({ vip, address, i }) => ({
          vips: [vip],
          links: [address.link],
          wrong: `${vip} on ${address.link} is ${address.dadFailed ? "dadfailed: another host holds it on this wire" : "tentative: it is not in use yet"}.`,
          shell: [
            `ip -6 address del ${address.ip}/${address.prefixLength} dev ${address.link}`,
            context.realServer
              ? `ip -6 address add ${address.ip}/128 dev lo`
              : `ip -6 address add ${address.ip}/128 dev ${address.link} nodad`,
          ],
          evidence: [{ path: `addresses6[${i}]`, value: address.dadFailed ? "dadFailed" : "tentative" }],
        })),
  },
  {
    id: "rs-answers-vip6",
    title: "a real server answers neighbour solicitations for the IPv6 VIP",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: "IPv6 clients reach now the director, now this real server.",
    why: "IPv6 answers only for addresses of the interface that is asked, so a VIP on lo is silent by nature. Here it is on the LAN interface itself, or proxy_ndp answers for it.",
    cure: "The VIP as /128 on lo or a dummy; no proxy entry for it.",
    rules: ["D-6-01", "D-6-03"],
    detect: (context) => {
      if (!context.realServer) return [];
      const found = context.vips6.flatMap((vip) => {
        if (
          context.director &&
          held6(context).some((h) => h.vip === vip.text && context.lan.some((l) => l.name === h.address.link))
        )
          return [];
        return context.lan.flatMap((link) => {
          const verdict = answerNdp(context.host, {
            link: link.index,
            target: vip.ip,
            source: "fe800000000000000000000000005301",
            destination: "solicited-node",
          });
          return verdict.kind === "reply" ? [{ vip, link, verdict }] : [];
        });
      });
      const [first] = found;
      if (!first) return [];
      const links = [...new Set(found.map((f) => f.link.name))];
      const proxied = first.verdict.rule === "D-6-03";
      return [
        {
          vips: [...new Set(found.map((f) => f.vip.text))],
          links,
          wrong: `${list(links)} answers neighbour solicitations for ${list(found.map((f) => f.vip.text))}: ${first.verdict.because}.`,
          shell: found.slice(0, 8).flatMap(({ vip, link }) =>
            proxied
              ? [`ip -6 neigh del proxy ${vip.text} dev ${link.name}`]
              : [
                  ...held6(context)
                    .filter((h) => h.vip === vip.text && h.address.link === link.name)
                    .map((h) => `ip -6 address del ${vip.text}/${h.address.prefixLength} dev ${link.name}`),
                  `ip -6 address add ${vip.text}/128 dev lo`,
                ],
          ),
          rules: rules(found.map((f) => f.verdict)),
          evidence: held6(context)
            .filter((h) => found.some((f) => f.vip.text === h.vip))
            .map((h) => ({
              path: `addresses6[${h.i}]`,
              value: `${h.address.ip}/${h.address.prefixLength} on ${h.address.link}`,
            })),
        },
      ];
    },
  },
];
