/** Servers that say their name, and repeat each line after it; in the namespaces that they are told. A worker. */
import { createServer, type Server } from "node:net";
import { parentPort } from "node:worker_threads";
import { Namespace } from "../host/namespace.ts";
import { onLines } from "./lines.ts";

export type ToServers =
  | { readonly kind: "serve"; readonly name: string; readonly namespace: string; readonly port: number }
  | { readonly kind: "stop"; readonly name: string };

const port = parentPort;
if (port === null) throw new Error("serverThread runs as a worker only");
const servers = new Map<string, Server>();

port.on("message", (message: ToServers) => {
  if (message.kind === "stop") {
    servers.get(message.name)?.close();
    servers.delete(message.name);
    port.postMessage(message.name);
    return;
  }
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.setNoDelay(true);
    socket.write(`${message.name}\n`);
    onLines(socket, (line) => socket.write(`${message.name} ${line}\n`));
  });
  servers.set(message.name, server);
  const namespace = new Namespace(message.namespace);
  // listen() without a host binds before it returns, while the thread is still inside
  namespace.run(() => server.listen(message.port, () => port.postMessage(message.name)));
  namespace.close();
});
