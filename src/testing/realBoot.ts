/** A real server of a story as a machine that boots: systemd as process 1, networkd for its card, a disk that outlives it. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIpv4 } from "../base/ipv4.ts";
import type { BuiltMachine } from "../lab/netns/build.ts";
import type { LabHost } from "../lab/topology.ts";
import { clear, furnish, SystemdRoom } from "./systemdRoom.ts";

const clusterFile = "etc/vipward/cluster.yaml";

const networkFiles = ({ links, gateway }: LabHost): Record<string, string> =>
  Object.fromEntries(
    links.map(({ name, addresses }, i) => [
      `etc/systemd/network/20-${name}.network`,
      [
        `[Match]\nName=${name}\n[Network]\nLinkLocalAddressing=no`,
        ...addresses.map((a) => `Address=${formatIpv4(a.address)}/${a.length}`),
        ...(i === 0 && gateway !== undefined ? [`Gateway=${formatIpv4(gateway)}`] : []),
        "",
      ].join("\n"),
    ]),
  );

export class BootingServer {
  readonly #disk = mkdtempSync(join(tmpdir(), "vipward-disk-"));
  #room: SystemdRoom | undefined;

  constructor(host: LabHost, clusterText: string) {
    furnish(this.#disk, { ...networkFiles(host), [clusterFile]: clusterText }, ["systemd-networkd.service"]);
  }

  async boot({ namespace }: BuiltMachine): Promise<void> {
    this.#room = new SystemdRoom(namespace, this.#disk);
    await this.#room.booted();
  }

  /** As a person there would run it: the command, which keeps what it does over a reboot. */
  apply(name: string): void {
    const ran = this.#room?.vipward("apply", "--cluster", `/${clusterFile}`, "--as", name, "--no-ask");
    if (ran?.status !== 0 || !ran.text.includes("kept over a reboot")) throw new Error(`${name}: ${ran?.text}`);
  }

  /** The plug is pulled. */
  async off(): Promise<void> {
    await this.#room?.stop();
    this.#room = undefined;
  }

  async close(): Promise<void> {
    await this.off();
    clear(this.#disk);
  }
}
