export type Severity = "error" | "warning";

interface CodeEntry {
  readonly severity: Severity;
  /** What is wrong, in general; docs/cluster-file.md prints it. */
  readonly meaning: string;
  /** What to do; a problem may say it more exactly. */
  readonly remedy: string;
}

const error = (meaning: string, remedy: string): CodeEntry => ({ severity: "error", meaning, remedy });
const warning = (meaning: string, remedy: string): CodeEntry => ({ severity: "warning", meaning, remedy });

/** Every code a cluster file can earn. Codes are stable; messages may be reworded. */
export const codes = {
  // Reading the text.
  "file-too-large": error("the file is larger than 4 MiB", "check that the path names the cluster file"),
  "empty-file": error("the file holds nothing but white space and comments", "start from examples/lvs-dr.yaml"),
  "yaml-syntax": error("the text is neither YAML nor JSON", "mend the text at the marked place; indent with spaces"),
  "yaml-tag": warning("a YAML tag that means nothing here", "take the tag (the word with !) away"),
  "duplicate-key": error("one mapping has the same key twice", "keep one of the two"),
  "bad-key": error("a key that is not plain text", "write the key as a plain word"),
  "too-many-aliases": error(
    "the aliases of the file, written out, are too many or contain themselves",
    "write the repeated parts out, or use fewer aliases",
  ),
  "too-deep": error("the file is nested more than 32 levels deep", "no key of a cluster file is nested that deep"),
  "too-many-problems": error("more than 200 problems; the rest is not shown", "mend the ones shown first"),

  // The form.
  "unknown-key": error("a key that has no meaning at this place", "correct the spelling or take the key away"),
  "missing-key": error("a key that must be there is not", "add the key"),
  "wrong-type": error("a value of the wrong type", "write a value of the type asked for"),
  "bad-version": error("a file version this vipward does not read", "write `version: 1`"),
  "bad-name": error(
    "a name that is empty, too long or has odd characters",
    "use 1 to 63 letters, digits, dots, dashes or underscores, with a letter or digit first",
  ),
  "bad-interface": error("not an interface name", "use 1 to 15 characters without white space or slashes"),
  "bad-address": error("not an IPv4 address", "write four numbers from 0 to 255 with dots, such as 10.10.0.100"),
  "ipv6-not-yet": error("an IPv6 address; not supported yet", "use an IPv4 address"),
  "bad-prefix": error("not an IPv4 prefix", "write an address and a length, such as 10.10.0.0/24"),
  "bad-netmask": error("not a netmask", "write a dotted mask such as 255.255.255.0 or a length such as 24"),
  "bad-endpoint": error("not a listening address", "write ADDRESS:PORT, such as 127.0.0.1:9112"),
  "bad-text": error("text that does not have the form asked for", "write it in the form the message names"),
  "bad-port": error(
    "a port that is not a number from 1 to 65535, a range or `any`",
    "write 80, 8000-8010, a list of these, or any",
  ),
  "port-reversed": error("a port range that ends before it starts", "write the lower port first"),
  "unknown-scheduler": error(
    "a scheduler IPVS does not have",
    "use rr, wrr, lc, wlc, lblc, lblcr, dh, sh, mh, sed, nq, fo or ovf",
  ),
  "unknown-policy": error("a silence policy vipward does not have", "use `auto`, or a name `vipward policies` prints"),
  "unknown-forwarding": error("a forwarding method vipward does not have", "use dr, tun or nat"),
  "unknown-value": error("a word that is not one of those possible here", "use one of the words listed"),
  "weight-range": error("a weight outside 0 to 65535", "use a whole number from 0 to 65535; 0 drains"),
  "priority-range": error("a VRRP priority outside 1 to 255", "use 1 to 254; 255 is for the address owner"),
  "vrid-range": error("a VRRP id outside 1 to 255", "use a number from 1 to 255 that no other cluster on the LAN uses"),
  "interval-range": error("a time outside its limits", "use a time within the limits"),
  "number-range": error("a number outside its limits", "use a number within the limits"),
  "no-networks": error("no network is named", "add the LAN: `networks: {lan: 10.10.0.0/24}`"),
  "no-directors": error("no director is named", "add one: `directors: {lb1: 10.10.0.2}`"),
  "no-real-servers": error("no real server is named", "add one: `realServers: {web1: 10.10.0.11}`"),
  "no-vips": error("no VIP is named", "add one: `vips: {web: 10.10.0.100}`"),
  "no-services": error("no service is named", "add one: `services: [{port: 80}]`"),

  // Addresses and subnets.
  "network-host-bits": error(
    "a network prefix with bits set behind its length",
    "write the first address of the network",
  ),
  "network-size": error("a network shorter than /1 or longer than /31", "write the prefix of the LAN, such as /24"),
  "networks-overlap": error("two networks that share addresses", "make the prefixes disjoint"),
  "router-outside-network": error(
    "a router that has no place in its network",
    "give the router an address of that network",
  ),
  "network-without-router": warning(
    "packets must leave or enter a network that names no router",
    "give both networks a `router`",
  ),
  "address-not-unicast": error(
    "a multicast, loopback, broadcast or reserved address where a host's is needed",
    "use a unicast address",
  ),
  "network-or-broadcast-address": error(
    "the first or last address of a subnet, which no host may have",
    "use an address between the first and the last",
  ),
  "address-outside-networks": error(
    "an address that lies in none of the networks",
    "add its subnet under `networks`, or correct the address",
  ),
  "vip-outside-networks": error(
    "a VIP that lies in none of the networks",
    "add its subnet under `networks`, or correct the VIP",
  ),
  "wrong-network": error("an address that does not lie in the network named beside it", "correct one of the two"),
  "vip-without-director": error(
    "a VIP in a subnet where no director has an address: nobody could answer ARP for it",
    "give a director an address in that subnet under `addresses`, or move the VIP",
  ),
  "vip-is-host-address": error(
    "a VIP that is also the own address of a host",
    "give the VIP an address that no host has",
  ),
  "duplicate-address": error("one address given twice", "give each an address of its own"),
  "duplicate-name": error("one name given twice", "give each a name of its own"),

  // Services.
  "unknown-vip": error("a VIP that `vips` does not name", "add it under `vips`, or correct the reference"),
  "unknown-real-server": error(
    "a real server that `realServers` does not name",
    "add it under `realServers`, or correct the reference",
  ),
  "unknown-network": error("a network that `networks` does not name", "add it under `networks`, or correct the name"),
  "unknown-service": error("a service that `services` does not name", "give the service that `name`, or correct this"),
  "unknown-instance": error("a VRRP instance that is not named", "correct the name"),
  "unknown-director": error("a director that `directors` does not name", "correct the name"),
  "service-match": error("a service needs either ports or a fwmark", "give `port` or `fwmark`, one of the two"),
  "services-overlap": error("two services claim the same traffic", "change the VIP, protocol or port of one"),
  "ports-overlap": error("one service names a port twice", "name each port once"),
  "port-any-not-alone": error("`any` stands beside other ports", "write `any` alone"),
  "dr-across-router": error(
    "direct routing to a real server in another subnet than every director: DR rewrites only the MAC, no router passes that",
    "use `forwarding: tun` for it, or give it an address in a director's subnet",
  ),
  "dr-director-apart": warning(
    "direct routing to a real server that one of the directors cannot reach without a router",
    "put all directors in the real server's subnet, or use `forwarding: tun`",
  ),
  "port-remap-impossible": error(
    "another port on the real server, with dr or tun: the packet reaches it unchanged, so the port cannot change",
    "let the service listen on the same port, or use `forwarding: nat`",
  ),
  "threshold-reversed": error(
    "a lower threshold above the upper one",
    "make `lowerThreshold` at most `upperThreshold`",
  ),
  "tunnel-without-tun": error("tunnel settings without tun forwarding", "use `forwarding: tun`, or take `tunnel` away"),
  "tunnel-port": error(
    "gue needs a port, and no other tunnel takes one",
    "add `port` for gue; take it away for others",
  ),
  "tunnel-checksum": error("remote checksum offload with another tunnel than gue", "use gue, or `checksum: checksum`"),
  "one-packet-not-udp": error("one-packet scheduling on a protocol with connections", "use it with `protocol: udp`"),
  "scheduler-flag": error(
    "a flag the scheduler does not have",
    "sh takes sh-*, mh takes mh-*; others take flag-1 to 3",
  ),
  "quorum-unreachable": error(
    "a quorum larger than all weights together",
    "lower `minimum`, or add weight or real servers",
  ),
  "hysteresis-too-large": error("a hysteresis not smaller than the quorum", "make `hysteresis` less than `minimum`"),
  "engine-cannot": error(
    "the nft engine forwards by dr only, over tcp, udp or sctp ports",
    "use `engine: ipvs` or `auto`",
  ),
  "health-not-possible": error(
    "a check that cannot be made for this service",
    "use a check that fits the protocol and the forwarding",
  ),
  "health-needs-port": error(
    "a check that does not say its port, of a service by fwmark or of any port",
    "add `port` to the check",
  ),
  "health-timeout": warning(
    "a check whose timeout is longer than its interval",
    "make `timeoutMs` at most `intervalMs`",
  ),
  "runs-as-root": error(
    "a check or a track script that would run as root",
    "name an account of its own, or leave `user` out: nobody",
  ),
  "bad-regex": error("not a regular expression", "correct the pattern"),
  "option-without-policy": error("an option another silence policy would take", "take the option away"),
  "carrier-tunnel-for-dr": warning(
    "a tunnel device carries the VIP although no tun service reaches this real server",
    "use `carrier: lo`, or leave it out",
  ),

  "cluster-too-large": error(
    "the services together have more than a million destinations",
    "let services share their real servers with `realServers: all`",
  ),

  // The lab.
  "unknown-host": error("a host that the file does not name", "correct the name, or add the host"),
  "bad-fault": error(
    "a fault that cannot happen: to that host, at that time, or without what it needs",
    "choose another fault or another host",
  ),
  "unknown-switch": error(
    "a switch that `lab.switches` does not name",
    "add it under `lab.switches`, or correct the name",
  ),
  "switch-loop": error(
    "switches whose uplinks form a loop: a broadcast would go round for ever, and no spanning tree is modelled",
    "take one of the uplinks away",
  ),
  "host-without-link": error(
    "a host that is plugged into no switch, where there are several",
    "say under `lab.links` which switch it is plugged into",
  ),
  "link-unreachable": error(
    "a link from which the rest of its network cannot be reached",
    "give the link its network's VLAN, and let the uplinks on the way carry it",
  ),
  "duplicate-port": error(
    "one port of a switch, or one network of a host, given two links",
    "give each link a port of its own, and each network of a host one link",
  ),
  "vlan-shared": error(
    "two networks in one VLAN of the same switches: a network is a broadcast domain of its own",
    "give each network a VLAN of its own under `lab.vlans`",
  ),
  "sctp-left-out": warning(
    "a service by sctp, read by `vipward sim`, `explore` or `lab`: they have no client that speaks it, so they leave it out",
    "nothing is needed if the other services show enough; else say `protocol: tcp` in a copy of the file",
  ),
  "only-sctp": error(
    "every service is by sctp, read by `vipward sim`, `explore` or `lab`: nothing of the cluster is left to try",
    "say `protocol: tcp` in a copy of the file, or add a tcp service with the same VIP and real servers",
  ),

  // Failover.
  "interval-step": error(
    "an interval VRRP cannot write: version 3 counts in 10 ms, version 2 in whole seconds",
    "use a multiple of 10 ms (version 3) or of 1000 ms (version 2)",
  ),
  "vrid-defaulted": warning(
    "several directors and no VRRP id: 51 is taken, as many others do",
    "add `failover: {vrrp: {id: N}}` with a number no other cluster on the LAN uses",
  ),
  "vrid-shared": error("two VRRP instances with one id on one interface", "give each instance an id of its own"),
  "vip-in-two-instances": error("one VIP in two VRRP instances", "name it in one of them"),
  "vip-without-instance": error("a VIP in none of the VRRP instances", "name it in one of them"),
} as const satisfies Record<string, CodeEntry>;

export type Code = keyof typeof codes;
