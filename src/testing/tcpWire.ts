/** Two ends of TCP as the simulator has it, and nothing in between but time and loss. */
import { ipv4 } from "../base/ipv4.ts";
import { generationOf, parseRelease } from "../model/generation.ts";
import { switchesOf } from "../model/switches.ts";
import { Dice } from "../sim/dice.ts";
import type { IpBody } from "../sim/frame.ts";
import { type TcpKernel, tcpKernel } from "../sim/retransmission.ts";
import { TcpStack, type TcpUser } from "../sim/tcp.ts";
import { TCP_FLAG } from "../wire/tcp.ts";

export const addresses = { client: ipv4("10.0.0.1"), server: ipv4("10.0.0.2") };
export type End = keyof typeof addresses;

export const kernelOf = (release: string): TcpKernel =>
  tcpKernel(switchesOf({ release, generation: generationOf(parseRelease(release) ?? [], []) }));

export class TcpWire {
  nowUs = 0;
  readonly #due: { readonly atUs: number; readonly happen: () => void }[] = [];
  readonly stacks: Readonly<Record<End, TcpStack>>;
  oneWayUs: number;
  /** True: it gets lost. */
  loses: (from: End, packet: IpBody) => boolean = () => false;
  readonly seen: { readonly atUs: number; readonly from: End; readonly packet: IpBody }[] = [];

  constructor(release: string, oneWayUs: number) {
    this.oneWayUs = oneWayUs;
    const kernel = kernelOf(release);
    const stack = (end: End): TcpStack => {
      let id = 0;
      const made: TcpStack = new TcpStack(
        {
          lan: this as never,
          dice: new Dice(1),
          packetId: () => ++id,
          output: (packet) => {
            this.#sent(end, packet);
            return undefined;
          },
          after: (us, item) => {
            this.at(this.nowUs + us, () => made.timer(item));
            return this.nowUs + us;
          },
          confirm: () => {},
        },
        kernel,
      );
      return made;
    };
    this.stacks = { client: stack("client"), server: stack("server") };
  }

  #sent(from: End, packet: IpBody): void {
    this.seen.push({ atUs: this.nowUs, from, packet });
    if (this.loses(from, packet)) return;
    const to = this.stacks[from === "client" ? "server" : "client"];
    this.at(this.nowUs + this.oneWayUs, () => to.input(packet, packet.destination, packet.destinationPort));
  }

  at(atUs: number, happen: () => void): void {
    this.#due.push({ atUs, happen });
    this.#due.sort((a, b) => a.atUs - b.atUs);
  }

  run(forMs: number): void {
    const untilUs = this.nowUs + forMs * 1000;
    while ((this.#due[0]?.atUs ?? untilUs) < untilUs) {
      const next = this.#due.shift();
      if (next === undefined) break;
      this.nowUs = next.atUs;
      next.happen();
    }
    this.nowUs = untilUs;
  }

  /** When that end sent something that takes sequence numbers, in milliseconds since then; `port`: the client's. */
  times(from: End, sinceUs: number, port?: number): number[] {
    const takes = ({ payload, tcp }: IpBody): boolean =>
      payload.length > 0 || ((tcp?.flags ?? 0) & (TCP_FLAG.syn | TCP_FLAG.fin)) !== 0;
    return this.seen
      .filter((s) => s.from === from && s.atUs >= sinceUs && takes(s.packet))
      .filter(({ packet: p }) => port === undefined || (from === "client" ? p.sourcePort : p.destinationPort) === port)
      .map((s) => Math.round((s.atUs - sinceUs) / 1000));
  }
}

/** A service that says again what it hears. */
export const echo: TcpUser = { data: (connection, heard) => connection.send(heard) };
