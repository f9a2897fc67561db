/** One finding on a running kernel, with its near miss: lines of testing/liveHost.ts. */
export interface LiveCase {
  readonly id: string;
  /** "real-server" when absent. */
  readonly role?: "director" | "both";
  /** How the director sends; direct routing when absent. */
  readonly method?: "tun";
  /** Addresses to ask about; the one VIP when absent. */
  readonly vips?: readonly string[];
  /** Makes the cluster file of the small one; the host is then checked by it, as `web1` or `lb1`. */
  readonly cluster?: (text: string) => string;
  /** The same for the twin, where the file and not the host makes the difference. */
  readonly clusterNot?: (text: string) => string;
  readonly has: readonly string[];
  readonly hasNot: readonly string[];
  readonly twin: string;
  /** Asked by packets beside the report's own words: who-has for these is answered by neither, one or both. */
  readonly answers?: readonly (readonly [ip: string, has: boolean, hasNot: boolean])[];
  /** What the host says by itself while these lines run carries the VIP. */
  readonly saysVip?: readonly string[];
  /** Its remedy is for a person (services, cables, cluster file), or goes through what a namespace has not. */
  readonly byHand?: true;
}

export const vipOnLo = "ip addr add 10.0.0.100/32 dev lo";
export const vipOnEth = "ip addr add 10.0.0.100/32 dev eth0";
export const quiet = ["sysctl net.ipv4.conf.eth0.arp_ignore=1", "sysctl net.ipv4.conf.eth0.arp_announce=2"];
export const ignore = "sysctl net.ipv4.conf.eth0.arp_ignore=1";
export const announce = "sysctl net.ipv4.conf.eth0.arp_announce=2";
export const quietServer = [...quiet, vipOnLo];
/** A second interface that is no part of the wire. */
export const second = (name: string, ...more: readonly string[]): readonly string[] => [
  `ip link add ${name} type veth peer name far1`,
  "ip link set far1 up",
  `ip link set ${name} up`,
  ...more,
];
export const arpTable = ["nft add table arp vw", "nft add chain arp vw in { type filter hook input priority 0 ; }"];
export const arpDropIn = [...arpTable, "nft add rule arp vw in arp daddr ip 10.0.0.100 drop"];
export const arpMangleOut = [
  "nft add chain arp vw out { type filter hook output priority 0 ; }",
  "nft add rule arp vw out arp saddr ip 10.0.0.100 arp saddr ip set 10.0.0.11",
];
export const ipInput = ["nft add table ip vw", "nft add chain ip vw in { type filter hook input priority 0 ; }"];
