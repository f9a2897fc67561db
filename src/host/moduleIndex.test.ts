import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import {
  loadOrder,
  type ModuleIndex,
  matchesAlias,
  parseModulesAlias,
  parseModulesBuiltin,
  parseModulesDep,
  parseProcModules,
  resolveModule,
} from "./moduleIndex.ts";

// The shape of Debian 12's files, with their order of needs: what is needed first stands last.
const index: ModuleIndex = {
  files:
    parseModulesDep(`kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/ipvs/ip_vs_wrr.ko: kernel/net/netfilter/ipvs/ip_vs.ko kernel/net/netfilter/nf_conntrack.ko kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko
kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/tunnel4.ko.xz kernel/net/ipv4/ip_tunnel.ko.xz
kernel/lib/libcrc32c.ko:
kernel/net/netfilter/nf_conntrack.ko: kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko
kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko:
a line without a colon
`),
  builtin: parseModulesBuiltin("kernel/net/8021q/8021q.ko\nkernel/drivers/net/virtio-net.ko\n"),
  aliases: parseModulesAlias(`# Aliases extracted from modules themselves.
alias rtnl-link-ipip ipip
alias net-pf-16-proto-16-family-IPVS ip_vs
alias pci:v00001022d*sv*sd*bc03sc*i* amdgpu
alias broken
`),
};

test("modules are loaded after all that they need, and what is there is left out", () => {
  const names = (module: string, present: string[]): string[] =>
    loadOrder(index, module, new Set(present)).map((f) => f.path.replace(/.*\//, ""));
  assert.deepEqual(names("ip_vs_wrr", []), [
    "libcrc32c.ko",
    "nf_defrag_ipv4.ko",
    "nf_conntrack.ko",
    "ip_vs.ko",
    "ip_vs_wrr.ko",
  ]);
  assert.deepEqual(names("ip_vs_wrr", ["libcrc32c", "nf_defrag_ipv4", "nf_conntrack", "ip_vs"]), ["ip_vs_wrr.ko"]);
  assert.deepEqual(names("ip_vs_wrr", ["ip_vs_wrr", "ip_vs", "nf_conntrack", "nf_defrag_ipv4", "libcrc32c"]), []);
  // Not listed themselves, but named as needs: tunnel4 and ip_tunnel.
  assert.deepEqual(names("ipip", []), ["ip_tunnel.ko.xz", "tunnel4.ko.xz", "ipip.ko.xz"]);
});

test("a module is found by name, by name with dashes, by alias, built in; else not at all", () => {
  assert.equal(resolveModule(index, "ip-vs"), "ip_vs");
  assert.equal(resolveModule(index, "virtio_net"), "virtio_net");
  assert.equal(resolveModule(index, "rtnl-link-ipip"), "ipip");
  assert.equal(resolveModule(index, "net-pf-16-proto-16-family-IPVS"), "ip_vs");
  assert.equal(resolveModule(index, "pci:v00001022d0000164Esv00001462sd00007D73bc03sc00i00"), "amdgpu");
  assert.equal(resolveModule(index, "ip_vs_twos"), undefined);
});

test("only live modules count as loaded", () => {
  const text = `ip_vs_rr 16384 0 - Live 0x0000000000000000
ip_vs 204800 2 ip_vs_rr, Live 0xffffffffc0600000
dummy 16384 0 - Loading 0x0000000000000000
ipip 16384 0 - Unloading 0x0000000000000000
`;
  assert.deepEqual([...parseProcModules(text)], ["ip_vs_rr", "ip_vs"]);
});

test("alias patterns match as fnmatch does", () => {
  assert.ok(matchesAlias("a*b?d", "aXXbcd"));
  assert.ok(matchesAlias("of:N*T*Cvendor,[a-c]x", "of:NfooTbarCvendor,bx"));
  assert.ok(!matchesAlias("of:N*T*Cvendor,[a-c]x", "of:NfooTbarCvendor,dx"));
  assert.ok(!matchesAlias("abc", "abcd"));
  assert.ok(!matchesAlias("a*", "b"));
});

test("any pattern against any name, compared with a regular expression", () => {
  const letters = fc.array(fc.constantFrom("a", "b", "*", "?"), { maxLength: 10 }).map((l) => l.join(""));
  const name = fc.array(fc.constantFrom("a", "b"), { maxLength: 12 }).map((l) => l.join(""));
  fc.assert(
    fc.property(letters, name, (pattern, text) => {
      const slow = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
      assert.equal(matchesAlias(pattern, text), slow.test(text));
    }),
  );
});

test("no text makes the parsers throw", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => {
      const junk = `${a}\n${b}: ${a}\nalias ${a} ${b}`;
      const files = parseModulesDep(junk);
      const all = { files, builtin: parseModulesBuiltin(junk), aliases: parseModulesAlias(junk) };
      for (const module of files.keys()) loadOrder(all, module, parseProcModules(junk));
      resolveModule(all, a);
    }),
  );
});
