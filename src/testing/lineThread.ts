/** Connections that stay open and answer line by line, and datagrams: both ends, in the namespaces that they are told. A worker. */
import { createSocket } from "node:dgram";
import { connect, createServer, type Server, type Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { Namespace } from "../host/namespace.ts";

export type ToLine =
  | { readonly id: number; readonly kind: "serve"; readonly port: number }
  /** Answers from the address that is named, as only one that holds the VIP can. */
  | { readonly id: number; readonly kind: "serveDatagrams"; readonly address: string; readonly port: number }
  | {
      readonly id: number;
      readonly kind: "open";
      readonly address: string;
      readonly port: number;
      readonly from: string | undefined;
    }
  /** So many datagrams from one port, each after the answer to the last; says who answered, "-" for nobody. */
  | {
      readonly id: number;
      readonly kind: "ask";
      readonly address: string;
      readonly port: number;
      readonly times: number;
      readonly patienceMs: number;
    }
  | { readonly id: number; readonly kind: "end"; readonly on: number }
  /** A connection to a server that speaks first: what it says, "refused", or "silence". */
  | {
      readonly id: number;
      readonly kind: "knock";
      readonly address: string;
      readonly port: number;
      readonly patienceMs: number;
    }
  /** One line there and back on the connection that `open` made. */
  | { readonly id: number; readonly kind: "say"; readonly on: number; readonly patienceMs: number };
/** `said`: who answered; undefined: nobody, or the connection broke. */
export interface FromLine {
  readonly id: number;
  readonly said: string | undefined;
}

const port = parentPort;
if (port === null) throw new Error("lineThread runs as a worker only");
const { namespace, name } = workerData as { namespace: string; name: string };
new Namespace(namespace).enter();

const servers: Server[] = [];
const open = new Map<number, Socket>();
const tell = (id: number, said: string | undefined): void => port.postMessage({ id, said } satisfies FromLine);

function say(id: number, socket: Socket | undefined, patienceMs: number): void {
  if (socket === undefined || socket.destroyed) {
    tell(id, undefined);
    return;
  }
  let over = false;
  const end = (said: string | undefined): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    socket.removeListener("data", heard);
    socket.removeListener("close", broke);
    tell(id, said);
  };
  const heard = (octets: Buffer): void => end(octets.toString().trim());
  const broke = (): void => end(undefined);
  const timer = setTimeout(broke, patienceMs);
  socket.on("data", heard);
  socket.on("close", broke);
  socket.write("who?\n");
}

function ask({ id, address, port: to, times, patienceMs }: Extract<ToLine, { kind: "ask" }>): void {
  const socket = createSocket("udp4");
  const answers: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => {
    if (answers.length === times) {
      socket.close();
      tell(id, answers.join(" "));
      return;
    }
    timer = setTimeout(() => take("-"), patienceMs);
    socket.send("who?", to, address);
  };
  const take = (answer: string): void => {
    clearTimeout(timer);
    answers.push(answer);
    next();
  };
  socket.on("message", (octets) => take(octets.toString().trim()));
  socket.on("error", () => take("-"));
  next();
}

function knock({ id, address, port: to, patienceMs }: Extract<ToLine, { kind: "knock" }>): void {
  const socket = connect({ host: address, port: to });
  const end = (what: string): void => {
    clearTimeout(timer);
    socket.removeAllListeners("data").destroy();
    tell(id, what);
  };
  const timer = setTimeout(() => end("silence"), patienceMs);
  socket.once("data", (octets) => end(octets.toString().trim()));
  socket.once("error", ({ code = "" }: NodeJS.ErrnoException) => end(code === "ECONNREFUSED" ? "refused" : code));
}

port.on("message", (message: ToLine) => {
  switch (message.kind) {
    case "serve": {
      const server = createServer((socket) => {
        socket.on("error", () => socket.destroy());
        socket.on("data", () => socket.write(`${name}\n`));
      });
      servers.push(server);
      server.listen(message.port, () => tell(message.id, name));
      break;
    }
    case "open": {
      const { from } = message;
      const socket = connect({ host: message.address, port: message.port, ...(from && { localAddress: from }) });
      open.set(message.id, socket);
      socket.on("error", () => socket.destroy());
      socket.once("connect", () => tell(message.id, "open"));
      socket.once("close", () => !socket.readyState.startsWith("open") && tell(message.id, undefined));
      break;
    }
    case "serveDatagrams": {
      const socket = createSocket("udp4");
      socket.on("message", (_, { address, port: to }) => socket.send(name, to, address));
      socket.bind(message.port, message.address, () => tell(message.id, name));
      break;
    }
    case "ask":
      ask(message);
      break;
    case "knock":
      knock(message);
      break;
    case "end":
      open.get(message.on)?.end();
      tell(message.id, "ended");
      break;
    case "say":
      say(message.id, open.get(message.on), message.patienceMs);
  }
});
port.postMessage({ id: 0, said: "ready" } satisfies FromLine);
