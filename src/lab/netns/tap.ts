/** A socket at each port of each switch: what enters the switch there is what the machine behind it has sent. */
import * as libc from "../../host/libc.ts";
import { type Cast, Observations, type Observed } from "../observations.ts";
import type { BuiltSwitch } from "./build.ts";

export interface Tap {
  /** Counts anew from now on. */
  restart(): void;
  report(): Observed;
  /** Frames that arrived faster than they were read, since the tap was opened. */
  lostFrames(): number;
  close(): void;
}

const ETH_P_ALL = 0x0003;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const SO_RCVBUFFORCE = 33;
const bufferOctets = 16 << 20;

function openPort(index: number, what: string): number {
  const networkOrder = ((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8);
  const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, what);
  libc.setsockopt(fd, libc.SOL_SOCKET, SO_RCVBUFFORCE, bufferOctets, what);
  libc.setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, what);
  const address = new Uint8Array(20);
  const view = new DataView(address.buffer);
  view.setUint16(0, libc.AF_PACKET, true);
  view.setUint16(2, networkOrder, true);
  view.setInt32(4, index, true);
  libc.bind(fd, address, what);
  return fd;
}

export function openTap(cast: Cast, switches: readonly BuiltSwitch[]): Tap {
  let observations = new Observations(cast);
  let lost = 0;
  const buffer = new Uint8Array(65_536 + 64);
  const ports = switches.flatMap(({ namespace, machineOfPort }) =>
    [...machineOfPort].map(([index, machine]) => {
      const fd = namespace.run(() => openPort(index, `tap at the port of ${machine}`));
      const drain = (): void => {
        for (;;) {
          const length = libc.recv(fd, buffer, 0, `tap at the port of ${machine}`);
          if (length === undefined) return;
          observations.frame(machine, buffer.subarray(0, length));
        }
      };
      return { fd, drain, watch: libc.onReadable(fd, drain) };
    }),
  );
  const drainAll = (): void => {
    for (const { drain } of ports) drain();
  };
  return {
    restart() {
      drainAll();
      observations = new Observations(cast);
    },
    report() {
      drainAll();
      return observations.report();
    },
    lostFrames() {
      for (const { fd } of ports) {
        // struct tpacket_stats: packets, drops; reading it sets both back to 0
        const statistics = libc.getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, 8, "tap");
        lost += new DataView(statistics.buffer, statistics.byteOffset).getUint32(4, true);
      }
      return lost;
    },
    close() {
      for (const { fd, watch } of ports) {
        watch.close();
        libc.close(fd);
      }
    },
  };
}
