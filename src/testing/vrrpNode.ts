/**
 * The failover thread that ships, alone: no IPVS, no checks. For measuring take-overs on kernels that have no IPVS.
 * Argument: the cluster file, and the director's name.
 */
import { readFileSync } from "node:fs";
import { failoverConfig } from "../agent/failoverConfig.ts";
import { parseCluster } from "../cluster/index.ts";
import { FailoverWorker } from "../host/agent/failoverWorker.ts";
import { openRtnetlink } from "../host/rtnetlink.ts";

const [file = "", name = ""] = process.argv.slice(2);
const read = parseCluster(readFileSync(file, "utf8"), { fileName: file });
if (!read.ok) throw new Error(JSON.stringify(read.problems));
const director = read.cluster.directors.find((d) => d.name === name);
if (director === undefined) throw new RangeError(`no director ${name}`);
const netlink = openRtnetlink();
const config = failoverConfig(read.cluster, director, (link) => {
  const mac = netlink.link(link)?.mac;
  if (mac === undefined) throw new Error(`no link ${link}`);
  return mac;
});
netlink.close();
const worker = await FailoverWorker.start(config, {
  onEvent: (event) => console.log(JSON.stringify(event)),
  onLinks: () => {},
  onError: (error) => {
    throw error;
  },
});
process.once("SIGTERM", () => void worker.stop().then(() => process.exit(0)));
