import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { HostError } from "./errors.ts";
import { createNamespace, leftoverNamespaces, removeNamespace } from "./namespace.ts";
import { ipv4Conf, readSysctl, writeSysctl } from "./sysctl.ts";

const prefix = testPrefix("ns");
const links = (): string[] =>
  readFileSync("/proc/thread-self/net/dev", "utf8")
    .split("\n")
    .slice(2)
    .map((line) => line.split(":")[0]?.trim() ?? "")
    .filter((n) => n !== "");

test("a namespace is entered and left within one call, and its sysctls are its own", (t) => {
  if (!needsRoot(t)) return;
  const outside = links();
  const before = readSysctl(ipv4Conf("all", "arp_ignore"));
  const ns = createNamespace(`${prefix}a`);
  try {
    const inside = ns.run(() => {
      writeSysctl(ipv4Conf("all", "arp_ignore"), "3");
      return { links: links().filter((name) => name !== "tunl0"), value: readSysctl(ipv4Conf("all", "arp_ignore")) };
    });
    assert.deepEqual(inside, { links: ["lo"], value: "3" });
    assert.deepEqual(links(), outside);
    assert.equal(readSysctl(ipv4Conf("all", "arp_ignore")), before);
    assert.throws(() => ns.run(() => Promise.resolve(1)), TypeError);
    assert.ok(execFileSync("ip", ["netns", "list"], { encoding: "utf8" }).includes(ns.name));
  } finally {
    ns.close();
    removeNamespace(ns.name);
  }
  assert.ok(!existsSync(ns.path));
});

test("a name taken by someone else is refused with the remedy, and left alone", (t) => {
  if (!needsRoot(t)) return;
  const name = `${prefix}b`;
  execFileSync("ip", ["netns", "add", name]);
  try {
    assert.throws(
      () => createNamespace(name),
      (error: unknown) => error instanceof HostError && error.code === "namespace/taken" && error.remedy.includes(name),
    );
    assert.ok(existsSync(`/run/netns/${name}`));
  } finally {
    execFileSync("ip", ["netns", "del", name]);
  }
});

test("what a killed run left is known as ours and replaced; what a living one holds is not", (t) => {
  if (!needsRoot(t)) return;
  const name = `${prefix}c`;
  const module = fileURLToPath(new URL("./namespace.js", import.meta.url));
  const script = `import { createNamespace } from ${JSON.stringify(module)}; createNamespace(${JSON.stringify(name)}); process.kill(process.pid, "SIGKILL");`;
  assert.equal(spawnSync(process.execPath, ["--input-type=module", "-e", script]).signal, "SIGKILL");
  assert.deepEqual(
    leftoverNamespaces({ kept: false }).filter((n) => n === name),
    [name],
  );
  const ns = createNamespace(name);
  try {
    assert.throws(() => createNamespace(name), /runs now/);
  } finally {
    ns.close();
    removeNamespace(name);
  }
});

test("an unknown sysctl, a bad value and a path with tricks are told apart", (t) => {
  if (!needsRoot(t)) return;
  assert.equal(readSysctl(ipv4Conf("no-such-link", "arp_ignore")), undefined);
  assert.throws(() => writeSysctl(ipv4Conf("no-such-link", "arp_ignore"), "1"), /ENOENT/);
  assert.throws(() => readSysctl(ipv4Conf("../..", "arp_ignore")), /cannot be part/);
});
