/** Opens a connection every so often from one namespace, and says what became of each. Started as a worker. */
import { connect } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { Namespace } from "../host/namespace.ts";
import type { Attempt } from "./directorLab.ts";

interface ProberData {
  readonly namespace: string;
  readonly vip: string;
  readonly port: number;
  readonly everyMs: number;
  readonly patienceMs: number;
}
const port = parentPort;
if (port === null) throw new Error("proberThread runs as a worker only");
const { namespace, vip, port: servicePort, everyMs, patienceMs } = workerData as ProberData;
new Namespace(namespace).enter();

const epochMs = (): number => performance.timeOrigin + performance.now();

/** Each port once: one that comes again within minutes may meet its former connection in the director's table. */
let localPort = 10_000;

function attempt(): void {
  const atMs = epochMs();
  localPort = localPort === 65_535 ? 10_000 : localPort + 1;
  const socket = connect({ host: vip, port: servicePort, localPort });
  let said = "";
  let over = false;
  let connectedMs: number | undefined;
  socket.on("connect", () => {
    connectedMs = epochMs() - atMs;
  });
  const end = (by: string | undefined): void => {
    if (over) return;
    over = true;
    clearTimeout(patience);
    socket.destroy();
    port?.postMessage({ atMs, tookMs: epochMs() - atMs, connectedMs, by } satisfies Attempt);
  };
  const patience = setTimeout(() => end(undefined), patienceMs);
  socket.on("data", (octets) => {
    said += octets.toString();
    if (said.includes("\n")) end(said.trim());
  });
  socket.on("error", () => end(undefined));
  socket.on("close", () => end(undefined));
}
setInterval(attempt, everyMs);
port.postMessage("ready");
