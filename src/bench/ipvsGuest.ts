/** Runs inside the VM: programs the same table by netlink and by ipvsadm, and prints the times as JSON. */
import { execFileSync } from "node:child_process";
import { formatIpv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { openIpvs, type ServiceKey } from "../host/ipvs.ts";
import { loadModule } from "../host/modules.ts";
import { median, nowMs } from "./measure.ts";

const services = 1000;
const destinations = 16;
const rounds = 3;
const vip = (s: number) => ipv4FromNumber(ipv4("10.50.0.1") + s);
const rip = (d: number) => ipv4FromNumber(ipv4("10.60.0.1") + d);

for (const module of ["ip_vs", "ip_vs_rr"]) loadModule(module);
const ipvs = openIpvs();
const commands = Array.from({ length: services }, (_, s) => {
  const service = `-t ${formatIpv4(vip(s))}:80`;
  const lines = Array.from(
    { length: destinations },
    (_unused, d) => `-a ${service} -r ${formatIpv4(rip(d))}:80 -g -w 1`,
  );
  return [`-A ${service} -s rr`, ...lines].join("\n");
}).join("\n");

function ours(): number {
  const startMs = nowMs();
  const requests = Array.from({ length: services }, (_, s) => {
    const key: ServiceKey = { protocol: "tcp", address: vip(s), port: 80 };
    return [
      ipvs.ask.addService({ ...key, scheduler: "rr" }),
      ...Array.from({ length: destinations }, (_unused, d) =>
        ipvs.ask.addDestination(key, { address: rip(d), port: 80, forwarding: "dr", weight: 1 }),
      ),
    ];
  }).flat();
  const [failure] = ipvs.batch(requests);
  if (failure !== undefined) throw failure.error;
  return nowMs() - startMs;
}
function theirs(): number {
  const startMs = nowMs();
  execFileSync("ipvsadm", ["--restore"], { input: `${commands}\n` });
  return nowMs() - startMs;
}

const mine: number[] = [];
const peer: number[] = [];
for (let round = 0; round < rounds; round++) {
  for (const [into, program] of [
    [mine, ours],
    [peer, theirs],
  ] as const) {
    ipvs.flush();
    into.push(program());
    if (ipvs.services().length !== services) throw new Error("the table is not what was programmed");
  }
}
ipvs.flush();
process.stdout.write(`${JSON.stringify({ ours: median(mine), peer: median(peer) })}\n`);
