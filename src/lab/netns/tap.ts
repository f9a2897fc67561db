/** A packet socket in each switch: what enters there by a port is what the machine behind the port has sent. */
import { openPacketSocket, type ReceivedFrame } from "../../host/packetSocket.ts";
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

const bufferOctets = 32 << 20;

export function openTap(cast: Cast, switches: readonly BuiltSwitch[]): Tap {
  let observations = new Observations(cast);
  const taps = switches.map(({ namespace, machineOfPort }) => {
    const socket = openPacketSocket({
      namespace,
      receiveBufferOctets: bufferOctets,
      longestFrameOctets: 65_550, // with segmentation offload a frame is as long as IPv4 allows
      batchFrames: 16,
    });
    const drain = (): void => {
      const visit = (frame: ReceivedFrame): void => {
        const machine = machineOfPort.get(frame.interfaceIndex);
        if (machine !== undefined) observations.frame(machine, frame.octets); // the bridge itself shows each once more
      };
      while (socket.receive(visit) > 0);
    };
    return { socket, drain, watch: socket.onReadable(drain) };
  });
  const drainAll = (): void => {
    for (const { drain } of taps) drain();
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
    lostFrames: () => taps.reduce((sum, { socket }) => sum + socket.statistics().dropped, 0),
    close() {
      for (const { socket, watch } of taps) {
        watch.close();
        socket.close();
      }
    },
  };
}
