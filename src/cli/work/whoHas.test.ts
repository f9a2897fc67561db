import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { formatIpv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { mac } from "../../base/mac.ts";
import "../../testing/seed.ts";
import type { Io } from "../io.ts";
import { joinBooks, nameBook, parseEthers } from "./names.ts";
import { vendorOf } from "./vendors.ts";
import { expandVips, readVipList } from "./vipList.ts";
import { runWhoHas } from "./whoHas.ts";

const texts = (given: string[]): string[] | string => {
  const result = expandVips(given);
  return result.ok ? result.value.map(formatIpv4) : result.why;
};

test("addresses, ranges and prefixes become VIPs, each once and in order", () => {
  assert.deepEqual(texts(["10.0.0.9", "10.0.0.8-10.0.0.10", "10.0.0.9"]), ["10.0.0.9", "10.0.0.8", "10.0.0.10"]);
  assert.deepEqual(texts(["10.0.0.0/30"]), ["10.0.0.1", "10.0.0.2"]);
  assert.deepEqual(texts(["10.0.0.2/31"]), ["10.0.0.2", "10.0.0.3"]);
  assert.deepEqual(texts(["10.0.0.5/32"]), ["10.0.0.5"]);
  assert.equal((texts(["10.0.0.0/16"]) as string[]).length, 65_534);
});

test("what is no VIP, or too many, is one sentence", () => {
  assert.match(texts(["10.0.0.9-10.0.0.1"]) as string, /ends before it begins/);
  assert.match(texts(["10.0.0.1-"]) as string, /not a range/);
  assert.match(texts(["web1"]) as string, /not an IPv4 address/);
  assert.match(texts(["0.0.0.0-255.255.255.255"]) as string, /65536 at most/);
  assert.match(texts(["10.0.0.0/16", "10.9.0.0/24"]) as string, /more than 65536/);
});

test("any range is its numbers, and any text at all is an answer, not an exception", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffff0000 }), fc.nat(500), (first, more) => {
      const list = texts([`${formatIpv4(ipv4FromNumber(first))}-${formatIpv4(ipv4FromNumber(first + more))}`]);
      assert.deepEqual(
        list,
        Array.from({ length: more + 1 }, (_, i) => formatIpv4(ipv4FromNumber(first + i))),
      );
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => typeof readVipList(text).texts.length === "number"));
});

test("a list has comments and several VIPs a line; its errors have lines, ten at most", () => {
  const list = readVipList("# mine\n10.0.0.1, 10.0.0.2  # two\r\n\n10.0.0.0/30\n");
  assert.deepEqual(list, { texts: ["10.0.0.1", "10.0.0.2", "10.0.0.0/30"], problems: [] });
  const broken = readVipList(`10.0.0.1\n${"nonsense\n".repeat(50)}`);
  assert.equal(broken.problems.length, 10);
  assert.equal(broken.problems[0]?.line, 2);
});

test("names come from ethers lines, the first book that knows wins, and broken lines are passed over", () => {
  const pairs = parseEthers(
    "# x\n52:54:0:12:34:56 lb1\nnonsense\n02:00:00:00:00:01\n02:00:00:00:00:02 lb1 # second NIC\n",
  );
  const book = joinBooks([nameBook([[mac("02:00:00:00:00:02"), "first"]]), nameBook(pairs)]);
  assert.deepEqual(book.macsOf("lb1"), ["52:54:00:12:34:56", "02:00:00:00:00:02"]);
  assert.equal(book.nameOf(mac("02:00:00:00:00:02")), "first");
  assert.deepEqual(book.macsOf("nobody"), []);
});

test("vendors: virtual machines and routers by name, the rest honestly", () => {
  assert.equal(vendorOf(mac("52:54:00:00:00:01")), "QEMU/KVM");
  assert.equal(vendorOf(mac("00:00:5e:00:01:07")), "VRRP virtual router");
  assert.equal(vendorOf(mac("02:00:00:00:00:01")), "locally administered");
  assert.equal(vendorOf(mac("3c:ec:ef:00:00:01")), "unknown");
});

/** Runs the command with no machine touched: everything here ends before a socket is opened. */
async function status(vips: string[], flags: Record<string, string | boolean> = {}): Promise<[number, string]> {
  let said = "";
  const io: Io = {
    out: () => assert.fail("nothing is to be printed"),
    err: (text) => {
      said += text;
    },
    isTerminal: false,
    colour: false,
    endsInOrder: () => {},
    columns: 80,
    signal: new AbortController().signal,
  };
  return [await runWhoHas(vips, flags, io), said];
}

test("bad input ends with its own status, the reason and a remedy", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vipward-"));
  try {
    const file = (name: string, content: string): string => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    const cases: [string[], Record<string, string | boolean>, number, RegExp][] = [
      [[], {}, 64, /no VIP was given/],
      [["10.0.0.300"], {}, 64, /"10\.0\.0\.300" is not an IPv4 address/],
      [["10.0.0.1"], { count: "0" }, 64, /--count 0/],
      [["10.0.0.1"], { timeout: "1e9" }, 64, /--timeout/],
      [["10.0.0.1"], { source: "me" }, 64, /--source me/],
      [["10.0.0.1"], { unicast: "x" }, 64, /--unicast x: not a MAC/],
      [["10.0.0.1"], { expect: "no-such-name" }, 64, /\/etc\/ethers/],
      [["10.0.0.1"], { netns: "vw-no-such" }, 66, /no network namespace/],
      [["10.0.0.1"], { netns: "../../proc/1/ns/net" }, 64, /cannot name/],
      [["10.0.0.1"], { interface: "nope0" }, 66, /no interface nope0/],
      [[], { from: join(folder, "absent") }, 66, /no such file/],
      [[], { from: folder }, 66, /it is a folder/],
      [[], { from: file("empty", "# nothing\n") }, 65, /holds no VIP/],
      [[], { from: file("broken", "10.0.0.1\nx\ny\n") }, 65, /broken:2: .*\n.*broken:3: /],
      [[], { from: file("huge", "10.0.0.1\n".repeat(600_000)) }, 65, /larger than 4 MiB/],
      [[], { from: "/dev/zero" }, 65, /larger than 4 MiB/],
    ];
    for (const [vips, flags, code, words] of cases) {
      const [got, said] = await status(vips, flags);
      assert.equal(got, code, said);
      assert.match(said, words);
      assert.match(said, /remedy: \S/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
