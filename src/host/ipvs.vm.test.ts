import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatIpv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { ipv6 } from "../base/ipv6.ts";
import { prefix } from "../base/prefix.ts";
import { testsInVm } from "../testing/vm.ts";
import { HostError, NetlinkError } from "./errors.ts";
import {
  type DestinationWish,
  formatDestination,
  type Ipvs,
  openIpvs,
  type ServiceKey,
  type ServiceWish,
} from "./ipvs.ts";
import { loadedModules, loadModule, moduleState } from "./modules.ts";
import { createNamespace, type Namespace, removeNamespace } from "./namespace.ts";
import { openRtnetlink } from "./rtnetlink.ts";

const web: ServiceKey = { protocol: "tcp", address: ipv4("10.0.0.100"), port: 80 };
const rs = (n: number, more: Partial<DestinationWish> = {}): DestinationWish => ({
  address: ipv4FromNumber(ipv4("10.0.0.0") + n),
  port: 80,
  forwarding: "dr",
  ...more,
});

const refused =
  (code: string, ...words: string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof NetlinkError, String(error));
    assert.equal(error.code, code);
    for (const word of words)
      assert.ok(`${error.message} ${error.remedy}`.includes(word), `${error.message} / ${error.remedy}`);
    return true;
  };

testsInVm(import.meta.url, "IPVS over netlink, compared with ipvsadm on a kernel that has it", () => {
  let ns: Namespace;
  let ipvs: Ipvs;
  const admin = (...args: string[]): string => ns.run(() => execFileSync("ipvsadm", args, { encoding: "utf8" }));
  /** `ipvsadm -S -n`: one line for each service and real server, in its own order. */
  const saved = (): string[] =>
    admin("-S", "-n")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");

  before(() => {
    ns = createNamespace("vw-ipvs");
    const rt = openRtnetlink(ns);
    rt.setLink("lo", { up: true });
    rt.createDummy("d0");
    rt.setLink("d0", { up: true });
    rt.addAddress("d0", { prefix: prefix("10.0.0.254/16") });
    rt.close();
    ns.run(() => execFileSync("ip", ["-6", "address", "add", "2001:db8::fe/64", "dev", "d0", "nodad"]));
    ipvs = openIpvs(ns);
  });
  after(() => {
    ipvs?.close();
    ns?.close();
    removeNamespace("vw-ipvs");
  });
  beforeEach(() => ipvs.flush());

  test("version and table size are what the kernel says of itself", () => {
    const head = ns.run(() => readFileSync("/proc/net/ip_vs", "utf8").split("\n")[0] ?? "");
    const { version, connectionTableSize } = ipvs.info();
    assert.equal(head, `IP Virtual Server version ${version} (size=${connectionTableSize})`);
  });

  test("services of every form are what ipvsadm saves", () => {
    const wishes: ServiceWish[] = [
      { ...web, scheduler: "wlc", persistenceSeconds: 360, persistencePrefixLength: 24 },
      { protocol: "tcp", address: ipv4("10.0.0.101"), port: 0, scheduler: "wrr", persistenceSeconds: 60 },
      {
        protocol: "udp",
        address: ipv4("10.0.0.100"),
        port: 53,
        scheduler: "sh",
        onePacket: true,
        schedulerFlags: [1, 2],
      },
      { protocol: "sctp", address: ipv4("10.0.0.100"), port: 5060, scheduler: "mh", schedulerFlags: [2] },
      {
        protocol: "tcp",
        address: ipv6("2001:db8::100"),
        port: 80,
        scheduler: "rr",
        persistenceSeconds: 9,
        persistencePrefixLength: 64,
      },
      { fwmark: 7, family: "ipv4", scheduler: "rr" },
      { fwmark: 8, family: "ipv6", scheduler: "nq" },
    ];
    for (const wish of wishes) ipvs.addService(wish);
    assert.deepEqual(
      saved().sort(),
      [
        "-A -t 10.0.0.100:80 -s wlc -p 360 -M 255.255.255.0",
        "-A -t 10.0.0.101:0 -s wrr -p 60",
        "-A -u 10.0.0.100:53 -s sh -o -b sh-fallback,sh-port",
        "-A --sctp-service 10.0.0.100:5060 -s mh -b mh-port",
        "-A -t [2001:db8::100]:80 -s rr -p 9 -M 64",
        "-A -f 7 -s rr",
        "-A -f 8 -6 -s nq",
      ].sort(),
    );
    const before = saved();
    const read = ipvs.services().map(({ statistics: _, ...wish }) => wish as ServiceWish);
    assert.equal(read.length, wishes.length);
    // Written back as read, the table is the same.
    ipvs.flush();
    assert.deepEqual(saved(), []);
    for (const wish of read) ipvs.addService(wish);
    assert.deepEqual(saved().sort(), before.sort());
    assert.deepEqual(ipvs.service(web)?.persistencePrefixLength, 24);
    assert.equal(ipvs.service({ ...web, port: 81 }), undefined);

    ipvs.editService({ ...web, scheduler: "rr" });
    assert.ok(saved().includes("-A -t 10.0.0.100:80 -s rr"), saved().join("\n"));
    ipvs.removeService(web);
    assert.equal(ipvs.service(web), undefined);
  });

  test("real servers of every forwarding method are what ipvsadm saves", () => {
    ipvs.addService({ ...web, scheduler: "wrr" });
    const wishes: DestinationWish[] = [
      rs(1, { weight: 5 }),
      rs(2, { forwarding: "tun", weight: 0 }),
      rs(3, { forwarding: "masq", port: 8080, upperThreshold: 100, lowerThreshold: 50 }),
      rs(4, { forwarding: "tun", tunnel: { type: "gue", port: 6080, checksum: "on" } }),
      rs(5, { forwarding: "tun", tunnel: { type: "gre" } }),
      { address: ipv6("2001:db8::5"), port: 80, forwarding: "tun" },
    ];
    for (const wish of wishes) ipvs.addDestination(web, wish);
    assert.deepEqual(
      saved().slice(1).sort(),
      [
        "-a -t 10.0.0.100:80 -r 10.0.0.1:80 -g -w 5",
        "-a -t 10.0.0.100:80 -r 10.0.0.2:80 -i -w 0 --tun-type ipip",
        "-a -t 10.0.0.100:80 -r 10.0.0.3:8080 -m -w 1",
        "-a -t 10.0.0.100:80 -r 10.0.0.4:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum",
        "-a -t 10.0.0.100:80 -r 10.0.0.5:80 -i -w 1 --tun-type gre --tun-nocsum",
        "-a -t 10.0.0.100:80 -r [2001:db8::5]:80 -i -w 1 --tun-type ipip",
      ].sort(),
    );
    const thresholds = admin("-L", "-n", "--thresholds");
    assert.match(thresholds, /10\.0\.0\.3:8080\s+100\s+50\s/);
    const read = ipvs.destinations(web);
    const third = read.find((d) => formatDestination(d) === "10.0.0.3:8080");
    assert.deepEqual([third?.upperThreshold, third?.lowerThreshold, third?.activeConnections], [100, 50, 0]);
    assert.deepEqual(read.find((d) => formatDestination(d) === "10.0.0.4:80")?.tunnel, {
      type: "gue",
      port: 6080,
      checksum: "on",
    });
    const before = saved();
    for (const d of read) ipvs.removeDestination(web, d);
    assert.deepEqual(ipvs.destinations(web), []);
    for (const d of read) ipvs.addDestination(web, d);
    assert.deepEqual(saved().sort(), before.sort());

    ipvs.editDestination(web, rs(1, { weight: 9 }));
    assert.equal(ipvs.destination(web, rs(1))?.weight, 9);
    assert.ok(admin("-L", "-n").match(/10\.0\.0\.1:80\s+Route\s+9\s/));
    assert.equal(ipvs.destination(web, rs(77)), undefined);
  });

  test("what ipvsadm makes is what we read", () => {
    admin("-A", "-t", "10.0.0.100:443", "-s", "sh", "-b", "sh-port");
    admin("-a", "-t", "10.0.0.100:443", "-r", "10.0.0.1", "-g", "-w", "3", "-x", "10", "-y", "4");
    const [row, ...rest] = ipvs.table();
    assert.deepEqual(rest, []);
    const { statistics, ...service } = row?.service ?? {};
    assert.deepEqual(service, {
      protocol: "tcp",
      address: ipv4("10.0.0.100"),
      port: 443,
      scheduler: "sh",
      schedulerFlags: [2],
    });
    assert.equal(statistics?.octetsIn, 0n);
    const [server] = row?.destinations ?? [];
    assert.deepEqual(
      [server?.forwarding, server?.port, server?.weight, server?.upperThreshold, server?.lowerThreshold],
      ["dr", 443, 3, 10, 4],
    );
  });

  test("timeouts are set one by one", () => {
    ipvs.setTimeouts({ tcpSeconds: 800, tcpFinSeconds: 100, udpSeconds: 200 });
    ipvs.setTimeouts({ tcpFinSeconds: 90 });
    assert.deepEqual(ipvs.timeouts(), { tcpSeconds: 800, tcpFinSeconds: 90, udpSeconds: 200 });
    assert.match(admin("-L", "--timeout"), /800 90 200/);
  });

  test("sync daemons start, are listed, and stop", () => {
    ipvs.startDaemon({ role: "master", link: "d0", syncId: 7, ttl: 2, port: 9000, group: ipv4("224.0.0.99") });
    ipvs.startDaemon({ role: "backup", link: "d0", syncId: 9 });
    const listed = admin("-L", "--daemon");
    assert.match(listed, /master sync daemon \(mcast=d0, syncid=7/);
    assert.match(listed, /backup sync daemon \(mcast=d0, syncid=9/);
    const [master, backup] = ipvs.daemons();
    assert.deepEqual(
      [master?.role, master?.link, master?.syncId, master?.ttl, master?.port, master?.group],
      ["master", "d0", 7, 2, 9000, ipv4("224.0.0.99")],
    );
    assert.deepEqual([backup?.role, backup?.syncId, backup?.port], ["backup", 9, 8848]);
    const again = { role: "master", link: "d0", syncId: 7 } as const;
    assert.throws(() => ipvs.startDaemon(again), refused("netlink/EEXIST", "master"));
    for (const role of ["master", "backup"] as const) ipvs.stopDaemon(role);
    assert.deepEqual(ipvs.daemons(), []);
    assert.throws(() => ipvs.stopDaemon("backup"), refused("netlink/ESRCH", "backup"));
  });

  test("packets are counted in 64 bits as ipvsadm --exact shows them, and zeroed", async () => {
    const udp: ServiceKey = { protocol: "udp", address: ipv4("10.0.0.254"), port: 9999 };
    ipvs.addService({ ...udp, scheduler: "rr" });
    ipvs.addDestination(udp, rs(9, { port: 9999 }));
    const script = `const s = require("dgram").createSocket("udp4"); let n = 0;
      const next = () => n++ < 5 ? s.send("hello", 9999, "10.0.0.254", next) : s.close(); next();`;
    ns.run(() => execFileSync("node", ["-e", script]));
    // The kernel sums its per-CPU counters up every two seconds.
    const read = () => ipvs.destination(udp, rs(9, { port: 9999 }))?.statistics;
    for (let tries = 0; tries < 50 && read()?.packetsIn !== 5n; tries++) await sleep(100);
    const statistics = read();
    // 5 packets of one source: one connection; 20 + 8 + 5 octets each.
    assert.deepEqual([statistics?.connections, statistics?.packetsIn, statistics?.octetsIn], [1n, 5n, 165n]);
    assert.match(admin("-L", "-n", "--stats", "--exact"), /10\.0\.0\.9:9999\s+1\s+5\s+0\s+165\s+0/);
    ipvs.zero(udp);
    assert.equal(ipvs.service(udp)?.statistics.packetsIn, 0n);
    ipvs.zero();
  });

  test("each refusal says what it is about and what to do", () => {
    const service: ServiceWish = { ...web, scheduler: "rr" };
    assert.throws(
      () => ipvs.addService({ ...web, scheduler: "nosuch" }),
      refused("netlink/ENOENT", "tcp 10.0.0.100:80", "no scheduler nosuch"),
    );
    assert.throws(() => ipvs.editService(service), refused("netlink/ESRCH", "tcp 10.0.0.100:80"));
    assert.throws(() => ipvs.removeService(web), refused("netlink/ESRCH", "tcp 10.0.0.100:80"));
    assert.throws(() => ipvs.addDestination(web, rs(1)), refused("netlink/ESRCH", "10.0.0.1:80 of tcp 10.0.0.100:80"));
    // The kernel would list no real servers for a service that is not there.
    assert.throws(() => ipvs.destinations(web), refused("netlink/ESRCH", "tcp 10.0.0.100:80"));
    ipvs.addService(service);
    assert.throws(() => ipvs.addService(service), refused("netlink/EEXIST", "edit"));
    ipvs.addDestination(web, rs(1));
    assert.throws(() => ipvs.addDestination(web, rs(1)), refused("netlink/EEXIST", "10.0.0.1:80"));
    assert.throws(() => ipvs.editDestination(web, rs(2)), refused("netlink/ENOENT", "10.0.0.2:80"));
    assert.throws(() => ipvs.removeDestination(web, rs(2)), refused("netlink/ENOENT", "10.0.0.2:80"));
    assert.throws(() => ipvs.addDestination(web, rs(3, { weight: -1 })), refused("netlink/ERANGE", "weight"));
    assert.throws(
      () => ipvs.addDestination(web, rs(3, { upperThreshold: 1, lowerThreshold: 5 })),
      refused("netlink/ERANGE", "threshold"),
    );
    assert.throws(
      () => ipvs.addDestination(web, rs(0, { address: ipv4("224.0.0.1") })),
      refused("netlink/EINVAL", "unicast"),
    );
  });

  test("without the right in the initial namespace the error says that user namespaces do not help", () => {
    const module = fileURLToPath(new URL("./ipvs.js", import.meta.url));
    const script = `import { openIpvs } from ${JSON.stringify(module)};
      try { openIpvs().services(); } catch (e) { console.log(JSON.stringify([e.code, e.remedy])); }`;
    const child = spawnSync(
      "setpriv",
      ["--reuid=65534", "--clear-groups", "node", "--input-type=module", "-e", script],
      {
        encoding: "utf8",
      },
    );
    const [code, remedy] = JSON.parse(child.stdout || "[]") as string[];
    assert.equal(code, "netlink/EPERM", child.stderr);
    assert.ok(remedy?.includes("user namespace"), remedy);
  });

  test("300 services with 16 real servers each in one batch, and one refusal in its place", () => {
    const key = (i: number): ServiceKey => ({ protocol: "tcp", address: ipv4FromNumber(0x0a010000 + i), port: 80 });
    const requests = Array.from({ length: 300 }, (_, i) => [
      ipvs.ask.addService({ ...key(i), scheduler: "rr" }),
      ...Array.from({ length: 16 }, (_, n) => ipvs.ask.addDestination(key(i), rs(256 + n))),
    ]).flat();
    assert.deepEqual(ipvs.batch(requests), []);
    const text = saved();
    assert.equal(text.length, 300 * 17);
    assert.ok(text.includes(`-a -t ${formatIpv4(ipv4FromNumber(0x0a010000 + 299))}:80 -r 10.0.1.15:80 -g -w 1`));
    const table = ipvs.table();
    assert.equal(table.length, 300);
    assert.ok(table.every(({ destinations }) => destinations.length === 16));
    const failures = ipvs.batch([
      ipvs.ask.addDestination(key(0), rs(1)),
      ipvs.ask.addDestination(key(5000), rs(1)),
      ipvs.ask.addDestination(key(1), rs(1)),
    ]);
    assert.deepEqual(
      failures.map((f) => [f.index, f.error.code]),
      [[1, "netlink/ESRCH"]],
    );
    assert.equal(ipvs.destinations(key(1)).length, 17);
  });

  test("modules: state before and after loading by name and by alias; a missing one says what to do", () => {
    assert.equal(moduleState("ip_vs"), "loaded");
    assert.ok(loadedModules().has("ip_vs"));
    assert.deepEqual(loadModule("ip_vs"), []);
    // Loaded or only available, whatever the image did at boot: afterwards it is loaded.
    loadModule("rtnl-link-macvlan");
    assert.equal(moduleState("macvlan"), "loaded");
    assert.equal(moduleState("ip_vs_nosuch"), "missing");
    assert.throws(
      () => loadModule("ip_vs_nosuch"),
      (error: unknown) =>
        error instanceof HostError && error.code === "module/missing" && error.remedy.includes("linux-image"),
    );
  });
});
