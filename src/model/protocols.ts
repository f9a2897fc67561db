/** IP protocols by the names that facts have for them: "ipip" is 4 here, which /etc/protocols and nft call ipencap. */
const numbers: ReadonlyMap<string, number> = new Map([
  ["icmp", 1],
  ["igmp", 2],
  ["ipip", 4],
  ["ipencap", 4],
  ["tcp", 6],
  ["udp", 17],
  ["dccp", 33],
  ["ipv6", 41],
  ["gre", 47],
  ["esp", 50],
  ["ah", 51],
  ["icmpv6", 58],
  ["ipv6-icmp", 58],
  ["eigrp", 88],
  ["ospf", 89],
  ["pim", 103],
  ["vrrp", 112],
  ["sctp", 132],
  ["udplite", 136],
]);

/** 0, which no packet has here, for a word that is neither a name nor a number. */
export const protocolNumber = (name: string): number => numbers.get(name) ?? (Number(name) || 0);

export const isProtocol = (word: string): boolean =>
  numbers.has(word) || (/^\d{1,3}$/.test(word) && Number(word) <= 255);
