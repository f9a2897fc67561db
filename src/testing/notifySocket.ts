/** The other end of sd_notify(3): what a service manager hears, as it comes. */
import { rmSync } from "node:fs";
import * as libc from "../host/libc.ts";

export class NotifySocket {
  readonly path: string;
  readonly heard: string[] = [];
  readonly #fd: number;
  readonly #watch: { close(): void };

  constructor(path: string) {
    this.path = path;
    rmSync(path, { force: true });
    this.#fd = libc.socket(libc.AF_UNIX, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0, path);
    const name = Buffer.from(path);
    const address = new Uint8Array(2 + name.length + 1);
    address[0] = libc.AF_UNIX; // host order, little-endian wherever this runs
    address.set(name, 2);
    libc.bind(this.#fd, address, path);
    const buffer = new Uint8Array(4096);
    this.#watch = libc.onReadable(this.#fd, () => {
      for (;;) {
        const length = libc.recv(this.#fd, buffer, 0, path);
        if (length === undefined) return;
        this.heard.push(Buffer.from(buffer.subarray(0, length)).toString());
      }
    });
  }
  count(start: string): number {
    return this.heard.filter((text) => text.startsWith(start)).length;
  }
  close(): void {
    this.#watch.close();
    libc.close(this.#fd);
    rmSync(this.path, { force: true });
  }
}
