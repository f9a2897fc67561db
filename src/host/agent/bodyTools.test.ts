import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../../base/ipv4.ts";
import { httpCheck } from "../../machine/health/http.ts";
import { startProbe, stepProbe } from "../../machine/health/probe.ts";
import { bodyTools } from "./bodyTools.ts";

const ask = (bodyRegex: string, body: string) => {
  const question = { address: ipv4("10.0.0.11"), port: 80, path: "/", method: "GET", host: undefined } as const;
  const rest = { tls: undefined, bodySha256: undefined, status: [{ first: 200, last: 299 }] } as const;
  let { probe } = startProbe(httpCheck({ ...question, ...rest, bodyRegex }, bodyTools), 600_000, 7, 0);
  probe = stepProbe(probe, { kind: "connected" }, 1).probe;
  const text = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const { verdict } = stepProbe(probe, { kind: "octets", octets: new TextEncoder().encode(text) }, 2).probe;
  return verdict?.up === false ? verdict.code : verdict?.why;
};

test("a body that a pattern takes minutes for is given up on, and said; it holds up nobody else", () => {
  // Half a megabyte: without a limit two minutes.
  assert.equal(ask("OK.*ready", "OK".repeat(256 * 1024)), "http/pattern-too-slow");
  assert.equal(ask("OK.*ready", "OK and ready"), "status 200");
  assert.equal(ask("OK.*ready", "OK"), "http/body");
});
