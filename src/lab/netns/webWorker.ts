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

export type WebWorkerReply =
  /** They listen; or what was asked for is done. */
  { readonly kind: "ready" } | { readonly kind: "failed"; readonly message: string };
/** From now on that host answers everything so. */
export type WebWorkerRequest = { readonly kind: "answers"; readonly host: string; readonly status: number };

const port = parentPort;
if (port === null) throw new Error("webWorker runs as a worker only");
const reply = (message: WebWorkerReply): void => port.postMessage(message);

const statuses = new Map<string, number>();

function serve(host: string): Server {
  const server = createServer((_request, response) => {
    const status = statuses.get(host) ?? 200;
    // RFC 9110 sections 15.3.5 and 15.4.5: these end with the header
    const body = status === 204 || status === 304 ? undefined : `${host}\n`;
    const about = body === undefined ? {} : { "content-type": "text/plain", "content-length": body.length };
    response.writeHead(status, { ...about, "x-served-by": host });
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

port.on("message", ({ host, status }: WebWorkerRequest) => {
  statuses.set(host, status);
  reply({ kind: "ready" });
});
