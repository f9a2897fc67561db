/** sd_notify(3): readiness, status and the watchdog, over the datagram socket that systemd names. */
import * as libc from "../libc.ts";

/** struct sockaddr_un; "@name" is an abstract one. */
function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  const octets = new Uint8Array(2 + name.length);
  new Uint16Array(octets.buffer, 0, 1)[0] = libc.AF_UNIX;
  octets.set(name, 2);
  if (path.startsWith("@")) octets[2] = 0;
  return octets;
}

export interface Notifier {
  say(state: string): void;
  /** How often the watchdog wants to hear of us; undefined: it does not. */
  readonly watchdogMs: number | undefined;
}

/** Does nothing where nobody listens. */
export function notifier(env: NodeJS.ProcessEnv = process.env): Notifier {
  const path = env.NOTIFY_SOCKET;
  const usec = Number(env.WATCHDOG_USEC ?? "0");
  const meant = env.WATCHDOG_PID === undefined || Number(env.WATCHDOG_PID) === process.pid;
  const watchdogMs = Number.isFinite(usec) && usec > 0 && meant ? usec / 1000 : undefined;
  const say = (state: string): void => {
    if (path === undefined || path === "" || path.length > 100) return;
    try {
      const fd = libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM, 0, "NOTIFY_SOCKET");
      try {
        libc.sendto(fd, new TextEncoder().encode(state), unixAddress(path), "NOTIFY_SOCKET");
      } finally {
        libc.close(fd);
      }
    } catch {
      // systemd that does not listen is no reason to stop directing
    }
  };
  return { say, watchdogMs };
}
