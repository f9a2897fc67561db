import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import "../testing/seed.ts";
import { arpAnnouncement, arpReply, arpRequest, icmpPacket, ipip, ipv4Frame, tcpPacket } from "../wire/frame.ts";
import { UNREACHABLE } from "../wire/icmp.ts";
import { TCP_FLAG } from "../wire/tcp.ts";
import { type Cast, Observations } from "./observations.ts";

const vip = ipv4("10.0.0.100");
const machines = {
  client: { mac: mac("02:00:00:00:00:01"), ip: ipv4("10.0.0.200") },
  lb1: { mac: mac("02:00:00:00:00:02"), ip: ipv4("10.0.0.2") },
  web1: { mac: mac("02:00:00:00:00:03"), ip: ipv4("10.0.0.11") },
} as const;
type Name = keyof typeof machines;
const names = Object.keys(machines) as Name[];
const cast: Cast = {
  vips: new Set([vip]),
  owner: "lb1",
  client: "client",
  nameOfMac: new Map(names.map((n) => [machines[n].mac, n])),
  nameOfAddress: new Map(names.map((n) => [machines[n].ip, n])),
};
const segment = (flags: number, port = 4000) => ({
  sourcePort: port,
  destinationPort: 80,
  sequence: 1,
  acknowledgment: 0,
  flags,
  window: 1000,
});
const toVip = (flags: number) => tcpPacket({ source: machines.client.ip, destination: vip }, segment(flags));
const hop = (from: Name, to: Name) => ({ source: machines[from].mac, destination: machines[to].mac });

test("answers and leaks are told apart, and the owner may announce its VIP", () => {
  const seen = new Observations(cast);
  const { client, lb1, web1 } = machines;
  seen.frame("client", arpRequest({ senderMac: client.mac, senderIp: client.ip, targetIp: vip }));
  seen.frame("web1", arpReply({ senderMac: web1.mac, senderIp: vip, targetMac: client.mac, targetIp: client.ip }));
  seen.frame("web1", arpRequest({ senderMac: web1.mac, senderIp: vip, targetIp: client.ip }));
  seen.frame("web1", arpRequest({ senderMac: web1.mac, senderIp: web1.ip, targetIp: client.ip }));
  seen.frame("lb1", arpAnnouncement({ senderMac: lb1.mac, senderIp: vip }));
  const report = seen.report();
  assert.deepEqual(report.answers, { web1: 1 });
  assert.deepEqual(report.leaks, { web1: 1 });
  assert.equal(report.asked, 1);
});

test("a connection is known by where each of its frames was sent", () => {
  const seen = new Observations(cast);
  seen.frame("client", ipv4Frame(hop("client", "lb1"), toVip(TCP_FLAG.syn)));
  seen.frame("lb1", ipv4Frame(hop("lb1", "web1"), toVip(TCP_FLAG.syn)));
  seen.frame("client", ipv4Frame(hop("client", "web1"), toVip(TCP_FLAG.ack)));
  const report = seen.report();
  assert.deepEqual(
    [...report.connections.entries()],
    [[`${machines.client.ip}:4000`, { opened: "lb1", machines: ["lb1", "web1"], frames: 2 }]],
  );
  assert.deepEqual(report.bypassed, { web1: 1 });
  assert.deepEqual(report.forwarded, { web1: { packets: 1, connections: 1 } });
});

test("what the director wraps in IP counts for the real server it is wrapped for", () => {
  const seen = new Observations(cast);
  const outer = { source: machines.lb1.ip, destination: machines.web1.ip };
  seen.frame("lb1", ipip(hop("lb1", "web1"), outer, toVip(TCP_FLAG.syn)));
  seen.frame("lb1", ipip(hop("lb1", "web1"), outer, toVip(TCP_FLAG.ack)));
  assert.deepEqual(seen.report().forwarded, { web1: { packets: 2, connections: 1 } });
});

test("an ICMP error that the director sends on counts as a packet, as IPVS counts it, and no connection", () => {
  const seen = new Observations(cast);
  const error = icmpPacket(
    { source: machines.client.ip, destination: vip },
    { kind: "unreachable", code: UNREACHABLE.host },
    tcpPacket({ source: vip, destination: machines.client.ip }, segment(TCP_FLAG.ack)),
  );
  const outer = { source: machines.lb1.ip, destination: machines.web1.ip };
  seen.frame("client", ipv4Frame(hop("client", "lb1"), error));
  seen.frame("lb1", ipv4Frame(hop("lb1", "web1"), error));
  seen.frame("lb1", ipip(hop("lb1", "web1"), outer, error));
  assert.deepEqual(seen.report().forwarded, { web1: { packets: 2, connections: 0 } });
});

test("a reset in the VIP's name is counted by its sender", () => {
  const seen = new Observations(cast);
  const back = tcpPacket({ source: vip, destination: machines.client.ip }, segment(TCP_FLAG.rst));
  seen.frame("web1", ipv4Frame(hop("web1", "client"), back));
  assert.deepEqual(seen.report().resets, { web1: 1 });
});

test("any octets at all are counted, never thrown at", () => {
  const seen = new Observations(cast);
  let frames = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 90 }), fc.constantFrom(...names), (octets, name) => {
      seen.frame(name, octets);
      frames += 1;
    }),
  );
  assert.equal(seen.report().frames, frames);
});
