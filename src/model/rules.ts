/**
 * Every rule of the kernel's behaviour, one line each, and where the model holds it. Verdicts cite these ids, so a
 * message leads here, from here to the code and to its tests. docs/kernel-rules.md is made from this table.
 */
export interface Rule {
  /** One line for people. */
  readonly text: string;
  /** The file that holds it, or why no file does. */
  readonly modelled: { readonly in: string } | { readonly not: string };
  /** No source of the kernel or patch could be read: the best inference. */
  readonly unconfirmed?: true;
  /** Observed on a running kernel. */
  readonly live?: true;
}

const at = (file: string, text: string): Rule => ({ text, modelled: { in: file } });
const seen = (file: string, text: string): Rule => ({ text, modelled: { in: file }, live: true });
const guess = (file: string, text: string): Rule => ({ text, modelled: { in: file }, unconfirmed: true });
const not = (why: string, text: string): Rule => ({ text, modelled: { not: why } });

export const rules = {
  "A-ALL-01": at(
    "answerArp.ts",
    "ARP is heard only on a link that is up and not NOARP, in frames not addressed to another host.",
  ),
  "A-ALL-02": at(
    "answerArp.ts",
    "Format: lengths, IPv4, hardware type of the link; from 2.2 only requests and replies. The wire codec checks lengths.",
  ),
  "A-ALL-03": seen("answerArp.ts", "Multicast targets are dropped, and 127/8 ones unless route_localnet is on (3.6+)."),
  "A-ALL-04": at("answerArp.ts", "An answer leaves by the receiving link and carries that link's MAC."),
  "A-ALL-05": at(
    "answerArp.ts",
    "Broadcast or unicast request does not matter, but for hidden and for the delay of proxy answers.",
  ),
  "A-2.0-01": at("answerArp20.ts", "2.0: a device answers for its own address, and for those of its aliases."),
  "A-2.0-02": at(
    "answerArp20.ts",
    "2.0: addresses of other devices (lo, dummy, tunl, a second NIC) are never answered.",
  ),
  "A-2.0-03": at("answerArp20.ts", "2.0: an alias set NOARP is silent."),
  "A-2.0-04": at("answerArp20.ts", "2.0: if no alias holds the target, the one towards the sender is taken."),
  "A-2.0-05": at("answerArp20.ts", "2.0: no check of the sender at all."),
  "A-2.0-06": at(
    "answerArp20.ts",
    "2.0: published entries by device and mask, if the route to the target leaves elsewhere.",
  ),
  "A-2.2-01": at(
    "answerArp.ts",
    "A probe (sender 0.0.0.0) is answered if the target is local; nothing is learned. Old form until 2.6.23.",
  ),
  "A-2.2-02": at("routeInput.ts", "A request passes only if a packet from sender to target would be routed."),
  "A-2.2-03": at("answerArp.ts", "Target local: the asker is learned and answered, unless a filter rule says no."),
  "A-2.2-04": seen(
    "localTable.ts",
    "Local is a property of the host: an address on any link counts, also on one that is down.",
  ),
  "A-2.2-05": seen("host.ts", "A prefix shorter than /32 on a loopback makes the whole prefix local."),
  "A-2.2-06": seen(
    "answerArp.ts",
    "NOARP of the link that carries the VIP has no effect; only the receiving link's counts.",
  ),
  "A-2.2-07": at(
    "routeInput.ts",
    "No answer to senders that are multicast, zero (all of 0.0.0.0/8 up to 5.2), loopback, local here or refused by rp_filter.",
  ),
  "A-2.2-08": at("routeInput.ts", "Broadcast targets are never answered."),
  "A-2.2-09": at(
    "answerArp.ts",
    "Proxy ARP: forwarding, route out of another link, and proxy_arp or a published entry.",
  ),
  "A-2.2-10": at("answerArp.ts", "2.2.18+: arp_filter works beside hidden; either may silence."),
  "A-2.2sdw-01": guess(
    "answerArp.ts",
    "fullarpfix: targets held by a loopback or tunnel link are not answered elsewhere.",
  ),
  "A-2.2sdw-02": guess(
    "announce.ts",
    "fullarpfix does not cover requests sent (the safe assumption: a possible leak is reported).",
  ),
  "A-2.2inv-01": guess("sysctl.ts", "arp_invisible needs both all and the link."),
  "A-2.2inv-02": guess(
    "answerArp.ts",
    "arp_invisible: targets held by an invisible other link are not answered; unicast frames are.",
  ),
  "A-2.2inv-03": guess("announce.ts", "arp_invisible: an invisible link's address is not announced as sender."),
  "A-2.2h-01": at("sysctl.ts", "hidden needs both all and the link that holds the address."),
  "A-2.2h-02": at("localTable.ts", "The holder of an address is the device of its entry in the local table."),
  "A-2.2h-03": at(
    "answerArp.ts",
    "A request in a group frame for an address of a hidden other link is not answered; the asker is learned.",
  ),
  "A-2.2h-04": at("answerArp.ts", "A request in a unicast frame is answered although the holder is hidden."),
  "A-2.2h-05": at("answerArp.ts", "A request heard on the hidden link itself is answered."),
  "A-2.2h-06": at("answerArp.ts", "A probe for an address of a hidden other link is never answered."),
  "A-2.2h-07": at("host.ts", "hidden belongs to the link: every address of it."),
  "A-2.2h-08": at("selectSource.ts", "The change that brought hidden also altered source selection (B-2.2h-02)."),
  "A-2.4-01": at("switches.ts", "2.4 and 2.6 never had hidden without a patch."),
  "A-2.4-02": at("switches.ts", "arp_filter from 2.4.5, medium_id and arptables from 2.4.19 or before."),
  "A-2.4h-01": at("answerArp.ts", "The hidden patch on 2.4: as on 2.2."),
  "A-2.4h-02": at(
    "answerArp.ts",
    "The hidden patch on 3.x: after arp_ignore and arp_filter; nothing learned when silent.",
  ),
  "A-2.6-01": at(
    "answerArp.ts",
    "Order: input hook, target check, drop_gratuitous_arp, probe, routing, arp_ignore, arp_filter, proxy, cache.",
  ),
  "A-2.6-02": seen(
    "sysctl.ts",
    "arp_ignore in force is the maximum of all and the receiving link; the carrier's own value is never looked at.",
  ),
  "A-2.6-03": seen("answerArp.ts", "arp_ignore 0: answer."),
  "A-2.6-04": seen("answerArp.ts", "arp_ignore 1: answer only if the target is configured on the receiving link."),
  "A-2.6-05": seen(
    "answerArp.ts",
    "arp_ignore 2: as 1, and a subnet of the receiving link must hold target and asker.",
  ),
  "A-2.6-06": seen("answerArp.ts", "arp_ignore 3: only addresses of scope host are kept silent."),
  "A-2.6-07": seen("answerArp.ts", "arp_ignore 8: never; 4 to 7, above 8 and negative: as 0."),
  "A-2.6-08": seen("sysctl.ts", "A larger arp_ignore in one place can undo a stricter one in the other."),
  "A-2.6-09": seen(
    "selectSource.ts",
    "Confirming an address: held with the scope, and a prefix of the link covers target and asker; peers count.",
  ),
  "A-2.6-10": seen(
    "answerArp.ts",
    "Probe: local and not refused by arp_ignore; rp_filter, accept_local and arp_filter are not consulted.",
  ),
  "A-2.6-11": seen(
    "answerArp.ts",
    "arp_filter: the route to the asker with the target as source must leave by the receiving link.",
  ),
  "A-2.6-12": seen("answerArp.ts", "Until 2.6.28 the asker is learned also when arp_ignore or arp_filter silence."),
  "A-2.6-13": seen(
    "validateSource.ts",
    "Senders that are local here are refused unless accept_local; how exactly depends on the release.",
  ),
  "A-2.6-14": seen("validateSource.ts", "rp_filter applies to ARP requests as to packets."),
  "A-2.6-15": seen("answerArp.ts", "arp_ignore and arp_filter do not stop proxy ARP."),
  "A-2.6-16": seen("answerArp.ts", "proxy_arp_pvlan also answers when the route leaves by the receiving link."),
  "A-2.6-17": seen("answerArp.ts", "medium_id restricts proxy_arp, not published entries."),
  "A-2.6-18": seen(
    "localTable.ts",
    "A VIP that is only a local route is local, but no arp_ignore above 0 finds an address.",
  ),
  "A-2.6-19": seen(
    "selectSource.ts",
    "route_localnet opens 127/8 for ARP and, from 5.x, turns scope host into link on its link.",
  ),
  "A-2.6-20": seen(
    "filters.ts",
    "ARP hooks: input before everything, output on every ARP frame sent; the sender may be rewritten.",
  ),
  "A-2.6-21": seen(
    "answerArp.ts",
    "Bridges and bonds hear for their ports, macvlans hear beside their parent, in a VRF a probe asks the VRF's table, a request the policy rules. Not modelled: balance-alb, ipvlan.",
  ),
  "A-2.6-22": at("answerArp.ts", "2.6.30 alone treats sender = target like a probe."),
  "B-2.0-01": at("announce.ts", "2.0: a request carries the address of the device it leaves by."),
  "B-2.0-02": at(
    "neighbour.ts",
    "2.0: any ARP packet overwrites an entry at once; it makes one only if aimed at this host.",
  ),
  "B-2.2-01": at("announce.ts", "A waiting packet's local source is announced, whatever link it lives on: the leak."),
  "B-2.2-02": seen(
    "selectSource.ts",
    "Else the first primary whose prefix covers the target, else the first primary, else another link's.",
  ),
  "B-2.2-03": at("neighbourTimers.ts", "Three unicast tries, then broadcasts, one second apart."),
  "B-2.2h-01": at("announce.ts", "hidden: the source is not announced if its holder is hidden."),
  "B-2.2h-02": at(
    "selectSource.ts",
    "hidden: other links that are hidden are skipped in source selection, the outgoing one is not.",
  ),
  "B-2.4h-01": at("announce.ts", "hidden on 2.4 the same; on 3.x unless arp_announce is 2 anyway."),
  "B-2.6-01": seen("sysctl.ts", "arp_announce in force is the maximum of all and the outgoing link."),
  "B-2.6-02": seen("announce.ts", "arp_announce 0: any local source is announced, local routes too."),
  "B-2.6-03": seen("announce.ts", "arp_announce 1: only if a prefix of the outgoing link covers source and target."),
  "B-2.6-04": seen("announce.ts", "arp_announce 2: always a selected address."),
  "B-2.6-05": seen("announce.ts", "Any other arp_announce: as 0; and the maximum rule applies."),
  "B-2.6-06": seen("selectSource.ts", "The selected address may itself be the VIP: unnumbered link, or VIP primary."),
  "B-2.6-07": seen("announce.ts", "Director trap: a VIP selected as sender is refused by real servers that hold it."),
  "B-2.6-08": seen(
    "announce.ts",
    "Forwarded packets and those restored by NAT have no local source: a selected address.",
  ),
  "B-G-01": seen(
    "announce.ts",
    "Gratuitous requests only on link up or MAC change with arp_notify, and on peer notification; never on adding an address.",
  ),
  "B-G-02": at("announce.ts", "A moved VIP is silent unless user space announces it."),
  "B-N-01": at("neighbour.ts", "A waiting entry is filled by the first usable ARP packet."),
  "B-N-02": at(
    "neighbour.ts",
    "A request that is answered creates or overwrites the asker's entry at once, state STALE.",
  ),
  "B-N-03": at("neighbour.ts", "All else touches only an existing entry, and another MAC only after the lock time."),
  "B-N-04": seen("neighbour.ts", "Gratuitous packets override the lock time from 4.12; from 3.17 with arp_accept."),
  "B-N-05": seen("neighbour.ts", "arp_accept lets gratuitous packets and unsolicited replies create an entry."),
  "B-N-06": seen(
    "neighbourTimers.ts",
    "Aging asks the cached MAC by unicast: a wrong owner that answers stays for ever.",
  ),
  "B-N-07": at("neighbour.ts", "2.6.9 - 4.11: even a refused packet restarts the lock time."),
  "B-N-08": at(
    "neighbour.ts",
    "Carrier loss flushes entries unless arp_evict_nocarrier is 0; a changed MAC or NOARP flag always does.",
  ),
  "C-ALL-01": seen("receive.ts", "Frames for another MAC are dropped before any hook."),
  "C-ALL-02": at(
    "receive.ts",
    "DR and TUN leave the destination: it must be local here or be rewritten to something local before routing.",
  ),
  "C-ALL-03": at("validateSource.ts", "Source check at the input route lookup: type, interface, rp_filter."),
  "C-ALL-04": at("receive.ts", "Refusals are silent on the wire; log_martians logs them."),
  "C-2.0-01": at("receive20.ts", "2.0: local is any address of an up device, 127/8 and broadcasts; no source check."),
  "C-2.0-02": at("receive20.ts", "2.0: a firewall redirect delivers whatever the destination is."),
  "C-2.0-03": at("receive20.ts", "2.0: IPIP re-enters on the same device; tunl0 need not be up."),
  "C-2.2-01": at("receive.ts", "2.2: local by the local table; a link without IPv4 state refuses every packet."),
  "C-2.2-02": at("sysctl.ts", "2.2: rp_filter is boolean, all AND link."),
  "C-2.2-03": at(
    "receive.ts",
    "ipchains REDIRECT needs a successful input lookup: a VIP that is not local needs forwarding.",
  ),
  "C-2.2-04": at("receive.ts", "ipchains REDIRECT keeps the destination: the service sees the VIP."),
  "C-2.2-05": at(
    "receive.ts",
    "IPIP: the tunnel that is up is chosen by remote and local; the inner packet re-enters there.",
  ),
  "C-2.2-06": at("host.ts", "2.2 - 2.6.21: IPv4 state lives with the first and last address of a link."),
  "C-2.4-01": at("receive.ts", "Netfilter: PREROUTING sees every frame with our MAC before routing."),
  "C-2.4-02": seen(
    "receive.ts",
    "REDIRECT rewrites to the first address of the incoming link; without one the packet is dropped.",
  ),
  "C-2.4-03": at("receive.ts", "2.4 IPIP as 2.2."),
  "C-2.6-01": seen("receive.ts", "Local by local table, else forward if the link forwards, else unreachable."),
  "C-2.6-02": seen("receive.ts", "An own source on the wire is martian unless accept_local (2.6.33+)."),
  "C-2.6-03": seen(
    "validateSource.ts",
    "TUN and rp_filter: a tunl0 without address needs 0, with address loose is enough.",
  ),
  "C-2.6-04": at("validateSource.ts", "Strict rp_filter drops clients that are routed out of another NIC."),
  "C-2.6-05": at(
    "receive.ts",
    "IPIP: outer destination local, module loaded, a matching tunnel or tunl0 up, inner destination local.",
  ),
  "C-2.6-06": at(
    "receive.ts",
    "UDP services on the wildcard answer from the route's source, TCP from the address called.",
  ),
  "C-2.6-07": at("receive.ts", "A client on a host that holds the VIP talks to itself."),
  "C-DIR-01": not(
    "the director's own forwarding is IPVS's, held by the simulator",
    "IPVS takes packets at LOCAL_IN: the VIP must be local on the director.",
  ),
  "C-DIR-02": not("IPVS, see C-DIR-01", "DR sends the unchanged packet to the real server's MAC."),
  "C-DIR-03": not("IPVS, see C-DIR-01", "DR leaves through LOCAL_OUT: no ICMP redirects."),
  "C-DIR-04": not("packet sizes are not modelled", "MTU: DR and TUN answer DF packets that are too long with ICMP."),
  "C-DIR-05": not("IPVS, see C-DIR-01", "A local destination gets the packet unchanged."),
  "C-DIR-06": not(
    "IPVS, see C-DIR-01",
    "Two directors that are each other's real servers can hand a packet back and forth.",
  ),
  "C-DIR-07": not("the patch was not read", "IPVS for 2.2 was a patch."),
  "D-6-01": seen("ndp.ts", "A neighbour solicitation is answered only for an address of the receiving link."),
  "D-6-02": at("ndp.ts", "Solicitations carry the packet's source only if it is on the outgoing link."),
  "D-6-03": seen(
    "ndp.ts",
    "proxy_ndp: forwarding, proxy entry; delayed for multicast solicitations, no override flag.",
  ),
  "D-6-04": at("ndp.ts", "A tentative address is not answered; lo and NOARP links do no DAD and join no group."),
  "D-6-05": at("ndp.ts", "Unsolicited advertisements only with ndisc_notify or on peer notification."),
  "D-6-06": not(
    "the IPv6 neighbour cache is not modelled",
    "An advertisement for an address held here is logged, not obeyed.",
  ),
  "S-ALL-01": at("host.ts", "Which link's value counts: receiving, outgoing, changing or holding one."),
  "S-ALL-02": at("host.ts", "Writing all is combined at use; forwarding alone is copied."),
  "S-ALL-03": not(
    "facts hold every link's own value; what a later write to default reaches is a matter of plans",
    "default is copied to new links; later writes reach only untouched, unnumbered ones.",
  ),
  "S-ALL-04": not(
    "a namespace's first values are facts, read where it is",
    "A new namespace starts from the initial one's all and default.",
  ),
  "S-rp_filter": at("sysctl.ts", "rp_filter: AND until 2.6.30, maximum from 2.6.31."),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof rules;

export const ruleText = (id: RuleId): string => rules[id].text;
export const isRuleId = (text: string): text is RuleId => Object.hasOwn(rules, text);

const sections: Readonly<Record<string, string>> = {
  A: "Answering ARP requests",
  B: "Sending ARP, and the neighbour cache",
  C: "IPv4 input",
  D: "IPv6",
  S: "Sysctls",
};

/** Where a running kernel or a closer reading corrected what was first written down. */
const corrections: readonly [RuleId, string][] = [
  [
    "A-2.2-09",
    "Only a unicast route is proxied: with bc_forwarding the lookup of a subnet broadcast passes, and is not answered all the same. Found by conformance on 6.18.",
  ],
  [
    "B-N-05",
    "arp_accept 2 needs an address of at most scope link and a prefix that covers it and the sender, which may be two addresses; route_localnet makes scope host count as link. Found by conformance on 6.18.",
  ],
  [
    "A-2.6-20",
    "What an input rule rewrites is what the cache learns: entry, MAC and gratuitous or not are those of the rewritten packet. Found by conformance on 6.18.",
  ],
  [
    "C-2.6-01",
    "Broadcasts pass the input hook, too. Without policy rules an error route in main ends the lookup; 4.1 - 6.0, and an unrepaired 6.9.5 by its source, go on to table default. Found by conformance on 6.18 and on 6.1.0-56 of Debian.",
  ],
  ["C-2.6-05", "An ipip packet to a broadcast address is decapsulated like any other. Found by conformance on 6.1."],
  ["A-2.2-07", "From 5.3 only 0.0.0.0 counts as zero: on 6.18 a request from 0.0.0.7 is answered. Seen live."],
  [
    "B-N-06",
    "The delay ends five seconds after the use that began it: later uses do not move it (2.2 - 6.18). A confirmation of the reachable time ends it in 2.2 and 2.4, only one of the delay time in 2.6.12. An entry with a MAC that nothing confirmed counts as confirmed a minute ago. Read in 2.2, 2.4, 2.6.12, 2.6.24 and 6.9.5; the first seen live on 6.18.",
  ],
  [
    "B-2.0-02",
    "What nobody confirmed for 300 s is asked for by unicast at the next look at all entries, one a minute; then three times by broadcast, 5 s apart. Who is silent is dead: packets for him are thrown away, and he is asked for once a minute while a route needs him, else forgotten, as is what nobody used for 600 s. Read in 2.0 (arp_check_expire, arp_expire_request).",
  ],
  [
    "B-N-07",
    "Up to 4.11 the known MAC heard again restarts the lock time as well, and from 2.6.22 (absent 2.6.12, present 2.6.24) a state that use or the timer changed. Read in 2.4, 2.6.12, 2.6.24 and 6.9.5.",
  ],
  [
    "A-2.6-13",
    "From 4.1 local and main are one trie until the first policy rule: a longer prefix in main beats a local prefix.",
  ],
  [
    "A-2.6-13",
    "An error route (blackhole, prohibit, unreachable) to the sender counts as no route: only rp_filter refuses it. Other types that are not unicast are refused whatever rp_filter is.",
  ],
  [
    "D-6-03",
    "A proxy's advertisement carries the router flag only for an anycast address or an entry added with it, though the host forwards. Read in 6.9.5 (pndisc_is_router).",
  ],
  [
    "A-2.6-21",
    "A macvlan takes its copy of IPv4 group frames, too: what its parent drops it may deliver. In a VRF only probes and the neighbour rules ask the VRF's table; a request follows the policy rules, of which table local is the first unless it was moved.",
  ],
];

/** The content of docs/kernel-rules.md. */
export function rulesDocument(
  switches: Readonly<Record<string, { values: readonly unknown[]; borders: string }>>,
): string {
  const all = Object.entries(rules) as [RuleId, Rule][];
  const held = all.filter(([, r]) => "in" in r.modelled).length;
  const lines = [
    "# Kernel rules",
    "",
    "What each Linux from 2.0 to 6.x does about ARP, the neighbour cache and IPv4 input, rule by rule, and which file",
    "of `src/model/` holds it. Verdicts of vipward cite these ids. This page is made from `src/model/rules.ts`.",
    "",
    `${all.length} rules, ${held} in the model. *live*: also observed on a running kernel. *unconfirmed*: no source was at`,
    "hand, the rule is an inference, and every answer that rests on it says so.",
  ];
  for (const [letter, title] of Object.entries(sections)) {
    lines.push("", `## ${letter}: ${title}`, "", "| rule | says | held in |", "| --- | --- | --- |");
    for (const [id, rule] of all) {
      if (!id.startsWith(`${letter}-`)) continue;
      const where = "in" in rule.modelled ? `${rule.modelled.in}` : `not modelled: ${rule.modelled.not}`;
      const marks = [rule.live ? "live" : "", rule.unconfirmed ? "unconfirmed" : ""].filter((m) => m !== "");
      lines.push(`| ${id} | ${rule.text}${marks.length > 0 ? ` *${marks.join(", ")}*` : ""} | ${where} |`);
    }
  }
  lines.push(
    "",
    "## Corrections",
    "",
    "Where a running kernel or a closer reading of its source differs from the first description:",
    "",
  );
  for (const [id, what] of corrections) lines.push(`- ${id}: ${what}`);
  lines.push(
    "",
    "## Switches",
    "",
    "What differs between kernels. `kernel.switches` of a facts file overrides any of them.",
  );
  lines.push("", "| switch | values | border |", "| --- | --- | --- |");
  for (const [name, { values, borders }] of Object.entries(switches))
    lines.push(`| ${name} | ${values.map((v) => String(v)).join(" / ")} | ${borders} |`);
  return `${lines.join("\n")}\n`;
}
