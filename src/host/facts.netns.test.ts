import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { prefix } from "../base/prefix.ts";
import { parseFacts } from "../model/factsSchema.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { readFacts } from "./facts.ts";
import { inetAddress } from "./inetSocket.ts";
import * as libc from "./libc.ts";
import { createNamespace, type Namespace, removeNamespace } from "./namespace.ts";
import { ask, openRtnetlink } from "./rtnetlink.ts";

const root = process.getuid?.() === 0;
const names = testPrefix("facts");
let here: Namespace;
let hasVlan = false;

const run = (command: string, ...args: string[]): string =>
  here.run(() => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }));
const ip = (text: string): string => run("ip", ...text.split(" "));
const listed = (text: string): Record<string, unknown>[] => JSON.parse(ip(`-j -N ${text}`));

before(() => {
  if (!root) return;
  here = createNamespace(`${names}h`);
  for (const line of [
    "link set lo up",
    "link add eth0 type veth peer name far0",
    "link add br0 type bridge",
    "link add port0 type veth peer name far1",
    "link set port0 master br0",
    "link add link eth0 name mac0 type macvlan mode private",
    "link set eth0 up",
    "link set far0 up",
    "link set br0 up",
    "link set mac0 arp off",
    "addr add 10.0.0.2/24 brd 10.0.0.255 dev eth0",
    "addr add 10.0.0.3/24 dev eth0 label eth0:web",
    "addr add 10.0.0.100/32 dev lo",
    "addr add 10.1.0.1 peer 10.1.0.9/30 dev br0 scope link",
    "addr add 10.2.0.1/24 dev eth0 noprefixroute",
    "route add 172.16.0.0/16 via 10.0.0.1 metric 7 advmss 1440",
    "-6 addr add 2001:db8::5/64 dev br0 nodad preferred_lft 0",
    "route add blackhole 192.0.2.0/24",
    "route add 198.51.100.0/24 nexthop via 10.0.0.7 nexthop via 10.0.0.8 weight 3",
    "route add local 203.0.113.9 dev lo",
    "route add default via 10.0.0.1 table 100",
    "rule add from 10.0.0.0/24 to 10.9.0.0/16 iif eth0 fwmark 0x5/0xff lookup 100 priority 50",
    "rule add not from 10.5.0.0/16 ipproto tcp dport 80-90 prohibit priority 60",
    "rule add goto 32766 priority 70",
    "neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud stale",
    "neigh add proxy 10.0.0.50 dev eth0",
  ])
    ip(line);
  try {
    ip("link add link eth0 name eth0.7 type vlan id 7");
    hasVlan = true;
  } catch {
    // no 8021q in this kernel
  }
  here.run(() => execFileSync("sysctl", ["-qw", "net.ipv4.conf.eth0.arp_ignore=2", "net.ipv4.conf.all.rp_filter=1"]));
});
after(() => {
  if (!root) return;
  here.close();
  removeNamespace(here.name);
});

test("links, addresses and their order are those of ip -j", (t) => {
  if (!needsRoot(t)) return;
  const facts = readFacts({ namespace: here });
  const links = listed("-d link show");
  for (const l of links) {
    const found = facts.links.find((f) => f.name === l.ifname);
    assert.equal(found?.ifindex, l.ifindex);
    const flags = new Set(l.flags as string[]);
    for (const flag of ["UP", "NOARP", "LOOPBACK", "LOWER_UP"] as const)
      assert.equal(found?.flags.includes(flag), flags.has(flag), `${l.ifname} ${flag}`);
    if (l.link_type === "ether") assert.equal(found?.mac, l.address);
  }
  assert.equal(facts.links.length, links.length);
  const link = (name: string) => facts.links.find((l) => l.name === name);
  assert.equal(link("port0")?.master, "br0");
  assert.equal(link("mac0")?.parent, "eth0");
  assert.equal(link("mac0")?.mode, "private");
  if (hasVlan) assert.equal(link("eth0.7")?.vlanId, 7);
  assert.equal(link("eth0")?.parent, undefined, "the far end of a veth is no parent");
  const wanted = listed("-4 addr show").flatMap((l) =>
    (l.addr_info as Record<string, unknown>[]).map(
      (a) => `${l.ifname} ${a.local}/${a.prefixlen} ${a.address ?? ""} ${a.secondary === true}`,
    ),
  );
  const given = facts.addresses.map(
    (a) => `${a.link} ${a.ip}/${a.prefixLength} ${a.peer ?? ""} ${a.secondary === true}`,
  );
  assert.deepEqual(given.sort(), wanted.sort());
  const order = facts.addresses.filter((a) => a.link === "eth0").map((a) => a.ip);
  assert.deepEqual(order, ["10.0.0.2", "10.2.0.1", "10.0.0.3"], "a secondary one stands behind the primaries");
  assert.equal(facts.addresses.find((a) => a.ip === "10.0.0.3")?.label, "eth0:web");
  assert.equal(facts.addresses.find((a) => a.ip === "10.1.0.1")?.scope, 253);
});

test("routes of all tables, rules, neighbours and proxy entries", (t) => {
  if (!needsRoot(t)) return;
  const facts = readFacts({ namespace: here });
  assert.equal(facts.routes.length, listed("-4 route show table all").length);
  const route = (dst: string) => facts.routes.find((r) => r.dst === dst);
  assert.deepEqual(
    [route("172.16.0.0/16")?.via, route("172.16.0.0/16")?.dev, route("172.16.0.0/16")?.metric],
    ["10.0.0.1", "eth0", 7],
  );
  assert.equal(route("172.16.0.0/16")?.advmss, 1440);
  assert.equal(route("192.0.2.0/24")?.type, "blackhole");
  assert.deepEqual(
    route("198.51.100.0/24")?.nexthops?.map((h) => h.weight),
    [1, 3],
  );
  assert.equal(route("203.0.113.9/32")?.type, "local");
  assert.equal(route("203.0.113.9/32")?.protocol, "boot");
  assert.equal(facts.routes.find((r) => r.table === 100)?.dst, "0.0.0.0/0");
  const at = (priority: number) => facts.rules.find((r) => r.priority === priority);
  assert.deepEqual(at(50), {
    priority: 50,
    table: 100,
    from: "10.0.0.0/24",
    to: "10.9.0.0/16",
    iif: "eth0",
    fwmark: 5,
    fwmask: 255,
  });
  assert.deepEqual(at(60), {
    priority: 60,
    action: "prohibit",
    from: "10.5.0.0/16",
    protocol: "tcp",
    destinationPorts: [80, 90],
    not: true,
  });
  assert.equal(at(70)?.goto, 32766);
  assert.equal(facts.kernel.hadCustomRules, true);
  const entry = facts.neighbours.find((n) => n.ip === "10.0.0.9");
  assert.deepEqual([entry?.mac, entry?.state], ["02:00:00:00:00:09", "STALE"]);
  assert.equal(facts.neighbours.find((n) => n.ip === "10.0.0.50")?.proxy, true);
});

test("sysctls are what the files say, of every link and of all", (t) => {
  if (!needsRoot(t)) return;
  const facts = readFacts({ namespace: here });
  assert.equal(facts.sysctls["eth0.arp_ignore"], 2);
  assert.equal(facts.sysctls["all.rp_filter"], 1);
  const checked = here.run(() =>
    Object.entries(facts.sysctls)
      .filter(([key]) => !/^(neigh|ipv6|vs|bridge)\.|^[^.]*$/.test(key))
      .map(([key, value]) => {
        const dot = key.lastIndexOf(".");
        const file = `/proc/sys/net/ipv4/conf/${key.slice(0, dot)}/${key.slice(dot + 1)}`;
        return [key, value, Number(readFileSync(file, "utf8"))] as const;
      }),
  );
  assert.ok(checked.length > 100);
  for (const [key, given, wanted] of checked) assert.equal(given, wanted, key);
});

test("IPv6 addresses in their usual text, with what keeps them from use; sysctls of bridges", (t) => {
  if (!needsRoot(t)) return;
  const facts = readFacts({ namespace: here });
  assert.equal(facts.addresses6?.find((a) => a.ip === "2001:db8::5")?.deprecated, true);
  for (const name of existsSync("/proc/sys/net/bridge") ? ["bridge-nf-call-iptables", "bridge-nf-call-arptables"] : [])
    assert.ok([0, 1].includes(facts.sysctls[`bridge.${name}`] ?? -1), name);
});

test("the file goes through parseFacts unchanged", (t) => {
  if (!needsRoot(t)) return;
  const facts = readFacts({ namespace: here, takenAt: "2026-01-01T00:00:00Z" });
  const parsed = parseFacts(JSON.stringify(facts));
  assert.deepEqual(parsed.ok ? [] : parsed.problems, []);
  assert.deepEqual(parsed.ok && parsed.value, JSON.parse(JSON.stringify(facts)));
  assert.deepEqual(facts.unread, []);
});

test("nft rules on ARP are read where there are tables", (t) => {
  if (!needsRoot(t)) return;
  const other = createNamespace(`${names}n`);
  try {
    const nft = (...args: string[]): void => void other.run(() => execFileSync("nft", args));
    assert.deepEqual(readFacts({ namespace: other }).filters, []);
    nft("add", "table", "arp", "t");
    nft("add", "chain", "arp", "t", "in", "{ type filter hook input priority 5; policy drop; }");
    nft("add", "rule", "arp", "t", "in", "arp", "daddr", "ip", "10.0.0.100", "accept");
    const [chain] = readFacts({ namespace: other }).filters;
    assert.deepEqual([chain?.hook, chain?.priority, chain?.policy], ["input", 5, "drop"]);
    const [rule] = chain?.rules ?? [];
    assert.ok(rule && "match" in rule);
    assert.deepEqual(rule.match, { target: { any: ["10.0.0.100"] } });
  } finally {
    other.close();
    removeNamespace(other.name);
  }
});

test("a link that was moved here stands last, as the kernel's own list has it", (t) => {
  if (!needsRoot(t)) return;
  const other = createNamespace(`${names}m`);
  const rt = openRtnetlink(other);
  try {
    rt.createBridge("late");
    rt.createBridge("later");
    rt.addAddress("late", { prefix: prefix("10.0.0.1/24") });
    rt.addAddress("later", { prefix: prefix("10.0.1.1/24") });
    const order = (): string[] =>
      readFacts({ namespace: other })
        .links.map((l) => l.name)
        .filter((n) => n.startsWith("late"));
    assert.deepEqual(order(), ["late", "later"]);
    // Out and back in again: its number stays, its place does not.
    const outside = createNamespace(`${names}o`);
    const far = openRtnetlink(outside);
    rt.createVeth({ name: "late-veth" }, { name: "late-end" });
    const { index } = rt.link("late-veth") ?? assert.fail("no link");
    rt.setLink("late-veth", { namespace: outside });
    rt.createBridge("late-last");
    far.setLink("late-veth", { namespace: other });
    rt.addAddress("late-last", { prefix: prefix("10.0.2.1/24") });
    rt.addAddress("late-veth", { prefix: prefix("10.0.3.1/24") });
    far.close();
    outside.close();
    removeNamespace(outside.name);
    const links = readFacts({ namespace: other }).links;
    const place = (name: string): number => links.findIndex((l) => l.name === name);
    assert.equal(links.find((l) => l.name === "late-veth")?.ifindex, index);
    assert.ok(place("late-veth") > place("late-last"), links.map((l) => l.name).join(" "));
  } finally {
    rt.close();
    other.close();
    removeNamespace(other.name);
  }
});

test("a host that once had a policy rule is told from one that never had", (t) => {
  if (!needsRoot(t)) return;
  const other = createNamespace(`${names}r`);
  try {
    const tool = (...args: string[]): void => void other.run(() => execFileSync("ip", args));
    tool("link", "set", "lo", "up");
    tool("addr", "add", "10.0.0.1/32", "dev", "lo");
    assert.equal(readFacts({ namespace: other }).kernel.hadCustomRules, undefined);
    tool("rule", "add", "priority", "9", "lookup", "100");
    tool("rule", "del", "priority", "9");
    assert.equal(readFacts({ namespace: other }).kernel.hadCustomRules, true);
  } finally {
    other.close();
    removeNamespace(other.name);
  }
});

test("every listener is read, among connections and past the first piece of the kernel's table", (t) => {
  if (!needsRoot(t)) return;
  const other = createNamespace(`${names}s`);
  const fds: number[] = [];
  try {
    other.run(() => {
      execFileSync("ip", ["link", "set", "lo", "up"]);
      const socket = (): number => {
        const fd = libc.socket(libc.AF_INET, libc.SOCK_STREAM, 0, "socket");
        fds.push(fd);
        return fd;
      };
      const home = (port: number) => inetAddress(ipv4("127.0.0.1"), port);
      for (let port = 2000; port < 2200; port++) {
        const fd = socket();
        libc.bind(fd, home(port), "socket");
        libc.listen(fd, 4, "socket");
      }
      for (let port = 2000; port < 2100; port++) libc.connect(socket(), home(port), "socket");
    });
    const ports = (readFacts({ namespace: other }).sockets ?? []).map((s) => s.port).sort((a, b) => a - b);
    assert.deepEqual(
      ports,
      Array.from({ length: 200 }, (_, i) => 2000 + i),
    );
  } finally {
    for (const fd of fds) libc.close(fd);
    other.close();
    removeNamespace(other.name);
  }
});

test("4,096 addresses are read whole", (t) => {
  if (!needsRoot(t)) return;
  const other = createNamespace(`${names}b`);
  const rt = openRtnetlink(other);
  try {
    const index = rt.indexOf("lo");
    const wishes = Array.from({ length: 4096 }, (_, i) =>
      ask.addAddress(index, { prefix: { address: ipv4FromNumber(ipv4("10.64.0.0") + i), length: 32 } }),
    );
    assert.deepEqual(rt.batch(wishes), []);
    assert.equal(readFacts({ namespace: other }).addresses.length, 4096);
  } finally {
    rt.close();
    other.close();
    removeNamespace(other.name);
  }
});

test("without rights it reads what it can, and names the rest", (t) => {
  if (!needsRoot(t)) return;
  const script = `
    const { readFacts } = await import(${JSON.stringify(new URL("./facts.js", import.meta.url).href)});
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    process.stdout.write(JSON.stringify(readFacts()));`;
  const text = here.run(() =>
    execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }),
  );
  const parsed = parseFacts(text);
  assert.ok(parsed.ok);
  const facts = parsed.value;
  assert.ok(facts.addresses.some((a) => a.ip === "10.0.0.100"));
  assert.equal(facts.sysctls["eth0.arp_ignore"], 2);
  assert.ok(
    facts.unread.some((u) => u.what === "nft rules"),
    JSON.stringify(facts.unread),
  );
});
