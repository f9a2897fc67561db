import { acceptances } from "../acceptance.ts";
import { type Context, linkEvidence } from "../context.ts";
import type { Entry } from "../entry.ts";
import { ipText, rules } from "../questions.ts";
import { list, theVips } from "../text.ts";

/** What only tunnelling (LVS/TUN) needs. */

const failing = (context: Context, fault: string) => acceptances(context).filter((a) => a.fault === fault);
const outerOctets = 20; // the IPv4 header that IPIP puts in front
const smallestHeaders = 40; // IPv4 and TCP without options

export const tun: readonly Entry[] = [
  {
    id: "tunnel-device-down-or-missing",
    title: "no tunnel takes the director's IPIP packets",
    severity: "critical",
    roles: ["real server"],
    notice: 'IPIP packets arrive and are answered with "protocol unreachable", or with nothing.',
    why: "Without an ipip device that is up and fits, the kernel does not unpack them. The module may be missing, tunl0 down, or the device in another namespace.",
    cure: "Load ipip and bring tunl0 up, at every boot.",
    rules: ["C-2.6-05", "C-2.2-05"],
    detect: (context) => {
      const bad = failing(context, "tunnel");
      const [first] = bad;
      if (!first) return [];
      const tunnels = context.host.links.filter((l) => l.isIpip);
      const vips = [...new Set(bad.map((a) => a.vip.text))];
      const name = tunnels[0]?.name ?? "tunl0";
      return [
        {
          vips,
          links: tunnels.map((l) => l.name),
          wrong: `IPIP packets with ${theVips(vips)} inside are dropped: ${first.verdict.because}${
            tunnels.length > 0 ? ` (${list(tunnels.map((l) => `${l.name} is ${l.up ? "up" : "down"}`))})` : ""
          }.`,
          shell: [
            "modprobe ipip",
            context.host.switches.ifaceStateLifetime === "address"
              ? `ifconfig ${name} 0.0.0.0 up`
              : `ip link set ${name} up`,
          ],
          vipward: "vipward apply",
          rules: rules(bad.map((a) => a.verdict)),
          evidence:
            tunnels.length > 0
              ? tunnels.flatMap((l) => linkEvidence(context, l.name))
              : [{ path: "links", value: "no ipip link" }],
        },
      ];
    },
  },
  {
    id: "ipip-protocol-filtered",
    title: "a firewall on this host drops IPIP",
    severity: "critical",
    roles: ["real server"],
    notice: "The director sends, and nothing comes out of the tunnel.",
    why: "IPIP is IP protocol 4, neither TCP nor UDP, and a default-drop INPUT chain drops it. A filter between the hosts, such as a cloud's security group, facts do not show.",
    cure: "Accept protocol 4 from the directors, and from nobody else.",
    rules: ["C-2.6-05", "C-2.6-01"],
    detect: (context) => {
      const bad = failing(context, "outer filter");
      const [first] = bad;
      if (!first) return [];
      const vips = [...new Set(bad.map((a) => a.vip.text))];
      return [
        {
          vips,
          links: [first.link.name],
          wrong: `IPIP packets that arrive on ${first.link.name} are dropped before they are unpacked: ${first.verdict.because}.`,
          shell: ["iptables -I INPUT -p 4 -s DIRECTOR -j ACCEPT"],
          rules: rules(bad.map((a) => a.verdict)),
          evidence: context.facts.filters.flatMap((c, i) =>
            c.hook === "input" || c.hook === "prerouting"
              ? [
                  {
                    path: `filters[${i}]`,
                    value: `${c.tool} ${c.hook}, policy ${c.policy ?? "accept"}, ${c.rules.length} rules`,
                  },
                ]
              : [],
          ),
        },
      ];
    },
  },
  {
    id: "mtu-tun-df-blackhole",
    title: "clients may send packets that do not fit into the tunnel",
    severity: "critical",
    roles: ["real server"],
    notice: "Small requests work; uploads, and TLS with a large first message, hang.",
    why: "The tunnel adds 20 octets. The real server offers clients segments that fill the LAN's MTU, and such a packet with DF set does not fit any more; the ICMP error that says so is often lost on the way.",
    cure: "Let the real server offer a smaller segment size (advmss on its default route, or a rule on its SYN/ACKs), or a larger MTU between director and real server.",
    rules: ["C-DIR-04"],
    detect: (context) => {
      const { facing, facts } = context;
      if (!context.realServer || !context.methods.includes("tun") || !facing || context.vips4.length === 0) return [];
      const mtu = facts.links.find((l) => l.name === facing.name)?.mtu;
      if (mtu === undefined || mtu >= 1500 + outerOctets) return []; // clients' own 1500 limit what they send
      const fits = mtu - outerOctets - smallestHeaders;
      const clamped =
        facts.routes.some((r) => (r.advmss ?? fits + 1) <= fits) ||
        facts.filters.some((c) =>
          c.rules.some((r) => /maxseg|TCPMSS/i.test("notUnderstood" in r ? r.notUnderstood : (r.text ?? ""))),
        );
      if (clamped) return [];
      const via = context.gateway;
      return [
        {
          vips: context.vips4.map((v) => v.text),
          links: [facing.name],
          severity: "high", // whether the ICMP errors get through decides, and no fact tells
          wrong: `${facing.name} has MTU ${mtu}, and nothing here lowers the segment size this host offers: packets above ${mtu - outerOctets} octets do not fit into the tunnel.`,
          shell: [
            via
              ? `ip route change default via ${ipText(via.ip)} dev ${via.link.name} advmss ${fits}`
              : `# ip route change ... advmss ${fits}`,
          ],
          vipward: "vipward apply",
          evidence: linkEvidence(context, facing.name),
        },
      ];
    },
  },
];
