/** Catalogue entries that one host's facts cannot show: why, and what shows them instead. */
export interface NotFromFacts {
  readonly title: string;
  readonly why: string;
  /** A vipward command, or what a person has to do where no command can. */
  readonly shownBy: string;
}

const wire = "the wire alone shows it";
const files = "the files at rest show it, and facts hold what is in force now";
const past = "it lies in the order of things that happened, and facts are one moment";

const entry = (title: string, why: string, shownBy: string): NotFromFacts => ({ title, why, shownBy });

export const notFromFacts: Readonly<Record<string, NotFromFacts>> = {
  "sysctl-set-after-address": entry(
    "the VIP was up before the silence was set",
    `${past}; the trace is in other machines' caches`,
    "vipward who-has --watch on the LAN; vipward apply keeps the order: silence, then address",
  ),
  "sysctl-boot-race": entry(
    "sysctl files are right, and ran too early",
    `${files}; check sees the wrong value that results`,
    "vipward status after a reboot; vipward render --to sysctl for keys in all",
  ),
  "sysctl-overridden-by-later-file": entry(
    "a later file or program writes the key back",
    `${files}; check sees the value that won`,
    "vipward guard, which names what changed and when",
  ),
  "all-knob-has-two-owners": entry(
    "two programs write the same key in all",
    past,
    "vipward guard; vipward undo restores what was found, and only if it is still ours",
  ),
  "teardown-unhides-other-vips": entry(
    "stopping one VIP makes the others leak",
    "it is in a stop script; check sees the leak once it has run",
    "vipward check after the stop; vipward plan counts the VIPs that remain",
  ),
  "setup-script-bounces-lo": entry(
    "a set-up script takes lo down and up",
    "it is in the script; check sees an lo that lost its addresses (lo-addresses-dropped-by-manager)",
    "vipward guard while the script runs",
  ),
  "duplicate-check-refuses-vip": entry(
    "a network manager's conflict detection refuses the VIP",
    "the manager's log and settings show it; check sees the VIP missing (vip-missing-on-real-server)",
    "vipward apply, which adds the address itself and reads it back",
  ),
  "two-macs-flip-flop": entry(
    "two machines answer for the VIP in turn",
    `${wire}: it takes two hosts`,
    "vipward who-has VIP, then vipward check on the intruder",
  ),
  "ipv6-lo-needs-no-silence": entry(
    "an IPv6 VIP on lo needs no silence",
    "it is no fault: IPv6 answers only for addresses of the interface that is asked (D-6-01), so check demands nothing there",
    "vipward check says so in the VIP's own lines",
  ),
  "stale-router-arp-cache": entry(
    "routers and clients keep the old MAC",
    "it is in other machines' caches",
    "vipward who-has --watch; vipward run announces the VIP again and again",
  ),
  "garp-missing-after-split-brain-heals": entry(
    "nobody announced the VIP after the directors met again",
    `${wire}, and only at that moment`,
    "vipward who-has --watch; vipward run refreshes its announcements",
  ),
  "fdb-ages-before-arp": entry(
    "the switch forgets the MAC before the gateway forgets the entry",
    "it is in the switch",
    "vipward who-has --watch over longer than the switch's ageing time",
  ),
  "garp-refresh-not-working": entry(
    "the periodic announcement is configured and not sent",
    wire,
    "vipward who-has --watch for one period",
  ),
  "garp-with-wrong-mac-from-bond": entry(
    "an announcement carries a MAC the bond no longer has",
    wire,
    "vipward who-has --watch while the bond goes down and up",
  ),
  "firewall-rearp-hard-timeout": entry(
    "a firewall asks again on a fixed clock and takes the first answer",
    "it is in the firewall; harmless while one host answers",
    "vipward who-has VIP: is there a second answerer",
  ),
  "switch-security-drops-vip-arp": entry(
    "the switch drops ARP for the VIP",
    "it takes two hosts: what one sends the other must hear",
    "vipward who-has --watch on a second host while the first announces",
  ),
  "fabric-learns-vip-from-replies": entry(
    "an SDN fabric learns the VIP from data packets",
    "it is in the fabric; no ARP is wrong anywhere",
    "vipward who-has shows one owner and traffic still goes astray: ask who runs the fabric",
  ),
  "gateway-keeps-port-of-first-answer": entry(
    "the gateway binds by the port an answer came in on",
    "it is in the gateway",
    "flows that the gateway itself starts, against those it forwards",
  ),
  "test-from-director-or-rs": entry(
    "the test was made from the director or a real server",
    "it is in how the test is made",
    "vipward who-has from a third host; it refuses to judge from inside",
  ),
  "clients-on-real-servers": entry(
    "programs on a real server connect to the VIP and reach themselves",
    "facts hold listening sockets, not connections",
    "ss -tn dst VIP on the real server",
  ),
  "half-flow-firewall-on-path": entry(
    "a stateful hop sees one direction only",
    "it is in another machine on the path",
    "vipward lab with the own cluster file, and a capture on each hop",
  ),
  "gro-lro-oversize-packets": entry(
    "receive offload glues packets that do not fit any more",
    "facts do not hold a NIC's offload flags",
    "ethtool -k NIC on the director: large-receive-offload must be off",
  ),
  "health-check-blocked-locally": entry(
    "the health check is blocked on the director itself",
    "an audit log or the checker's own error shows it",
    "vipward status, which prints each check's last error",
  ),
  "gue-gre-pmtu-wrong": entry(
    "path MTU discovery fails with GUE or GRE",
    "it depends on the kernel's arithmetic at the moment of sending",
    "a path probe of growing size through the VIP",
  ),
  "provider-abuse-guard": entry(
    "the hoster's guard reacts to foreign MACs",
    "it is in the hoster's network",
    "vipward who-has VIP: one holder, with its own MAC",
  ),
  "urpf-on-router": entry(
    "a router drops answers whose source it expects elsewhere",
    "it is in the router",
    "captures on both sides of the router",
  ),
  "ping-is-not-a-test": entry(
    "ping answers, or not, and means nothing",
    "it is in how the test is made",
    "vipward status and its vip-path checks ask the service's port",
  ),
  "other-os-real-servers": entry(
    "a real server that is not Linux",
    "facts and model are of Linux",
    "vipward who-has VIP from a third host",
  ),
  "networkd-drops-foreign-addresses": entry(
    "systemd-networkd removes what it did not configure",
    "facts do not hold which program manages an interface; check sees the VIP gone (vip-missing-on-real-server)",
    "vipward guard; vipward render --to networkd",
  ),
  "netplan-lo-syntax": entry("netplan refuses addresses on lo", files, "vipward render --to netplan"),
  "ifup-scripts-fight-the-vip": entry(
    "interface files raise the VIP beside the failover daemon",
    `${files}; check sees two copies, or a standby that holds the VIP`,
    "vipward status",
  ),
  "lost-after-reboot": entry(
    "the set-up lived in a shell session",
    files,
    "vipward status after a reboot; vipward apply keeps what it does",
  ),
  "ifdown-ifup-loses-vip": entry(
    "a bounced interface comes back without the VIP",
    past,
    "vipward guard, which follows the kernel's notifications",
  ),
  "both-master": entry(
    "both directors hold the VIP",
    "it takes two hosts",
    "vipward who-has VIP; vipward status on both",
  ),
  "virtual-router-id-clash": entry(
    "another cluster on the segment has the same VRRP id",
    wire,
    "vipward run, which listens before it speaks",
  ),
  "reload-or-restart-moves-vip": entry(
    "a small change of configuration moves all VIPs",
    past,
    "vipward status before and after the change",
  ),
  "election-off-all-announce": entry(
    "leader election is off and every node announces",
    "it is in the configuration of another program",
    "vipward who-has VIP: how many answer",
  ),
  "vip-needed-to-elect": entry(
    "the elector talks to its own API through the VIP",
    "it is in the configuration of another program",
    "the agent's endpoint, compared with the VIPs it manages",
  ),
  "vrrp-source-is-vip": entry(
    "advertisements carry the VIP as their source",
    wire,
    "vipward who-has --watch, or a capture of protocol 112",
  ),
  "ipv6-failover-slow": entry(
    "IPv6 takes half a minute longer than IPv4",
    wire,
    "a connection to the IPv6 VIP, repeated during a switch-over",
  ),
};
