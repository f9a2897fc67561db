import type { Socket } from "node:net";

/** Each whole line that comes; unlike node:readline it leaves the socket's errors to the socket. */
export function onLines(socket: Socket, take: (line: string) => void): void {
  let rest = "";
  socket.on("data", (octets) => {
    const lines = (rest + octets.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  });
}
