/**
 * All web servers of a lab in one worker: a listening socket belongs to the namespace it was opened in, and so do the
 * connections accepted from it, so one thread serves many hosts without knowing of namespaces afterwards.
 */
import { createServer, type Server } from "node:http";
import { parentPort, workerData } from "node:worker_threads";
import { Namespace } from "../../host/namespace.ts";

/** What the worker is started with. */
export interface WebWorkerData {
  readonly servers: readonly { readonly host: string; readonly namespace: string; readonly port: number }[];
}

/** Requests served by each host since the last "reset". */
export type WebWorkerReply =
  | { readonly kind: "ready" }
  | { readonly kind: "served"; readonly requests: Record<string, number> }
  | { readonly kind: "failed"; readonly message: string };
export type WebWorkerRequest = { readonly kind: "served" } | { readonly kind: "reset" };

const port = parentPort;
if (port === null) throw new Error("webWorker runs as a worker only");
const reply = (message: WebWorkerReply): void => port.postMessage(message);

const requests: Record<string, number> = {};

function serve(host: string): Server {
  const server = createServer((_request, response) => {
    requests[host] = (requests[host] ?? 0) + 1;
    const body = `${host}\n`;
    response.writeHead(200, { "content-type": "text/plain", "content-length": body.length, "x-served-by": host });
    response.end(body);
  });
  server.keepAliveTimeout = 60_000;
  server.on("error", (error) => reply({ kind: "failed", message: `web server of ${host}: ${error.message}` }));
  return server;
}

const { servers } = workerData as WebWorkerData;
let waiting = servers.length;
for (const { host, namespace, port: listenPort } of servers) {
  const ns = new Namespace(namespace);
  // listen() without a host binds before it returns, while the thread is still inside
  ns.run(() => {
    serve(host).listen(listenPort, () => {
      waiting -= 1;
      if (waiting === 0) reply({ kind: "ready" });
    });
  });
  ns.close();
}

port.on("message", (message: WebWorkerRequest) => {
  if (message.kind === "reset") for (const host of Object.keys(requests)) delete requests[host];
  else reply({ kind: "served", requests: { ...requests } });
});
