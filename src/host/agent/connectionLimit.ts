/**
 * How many connections a door has. Who knows no token can open them too, and say nothing: at the limit the oldest that
 * has no request under way makes room, and of one address there are never more than some.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";

interface Caller {
  readonly key: string;
  readonly socket: Socket;
  readonly peer: string;
  /** Requests under way. */
  asking: number;
}

const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

export function limitConnections(server: Server, limits: { readonly total: number; readonly ofOnePeer: number }): void {
  const callers = new Map<string, Caller>(); // the oldest first
  server.on("connection", (socket: Socket) => {
    const peer = socket.remoteAddress;
    if (peer === undefined) return void socket.destroy(); // gone already
    const all = [...callers.values()];
    const ofPeer = all.filter((c) => c.peer === peer);
    const crowd = ofPeer.length >= limits.ofOnePeer ? ofPeer : all.length >= limits.total ? all : undefined;
    if (crowd !== undefined) {
      const silent = crowd.find((c) => c.asking === 0);
      if (silent === undefined) return void socket.destroy();
      callers.delete(silent.key);
      silent.socket.destroy();
    }
    const key = keyOf(socket);
    const caller: Caller = { key, socket, peer, asking: 0 };
    callers.set(key, caller);
    socket.on("close", () => callers.get(key) === caller && callers.delete(key));
  });
  // By TLS the request's socket is another object with the same addresses.
  server.on("request", (request, response) => {
    const caller = callers.get(keyOf(request.socket));
    if (caller === undefined) return;
    caller.asking++;
    response.on("close", () => caller.asking--);
  });
}
