/**
 * Thousands of descriptors behind one watch of the event loop: what is ready comes in batches, each by a number that
 * its owner chose. A descriptor that is closed has left by itself; what was read of it before may still come, so a
 * number is not used twice.
 */
import * as libc from "./libc.ts";

/** struct epoll_event in words: events, then 64 bits of the owner's. Packed on x86-64 alone (linux/eventpoll.h). */
const layout = process.arch === "x64" ? { words: 3, token: 1 } : { words: 4, token: 2 };
const batchEvents = 256;
const high = 2 ** 32;
const what = "many sockets at once";

/** Calls `body` for each of a batch. */
export type Batch = (body: (token: number, events: number) => void) => void;

export class Epoll {
  readonly #fd = libc.epollCreate(what);
  readonly #wish = new Uint32Array(layout.words);
  readonly #ready = new Uint32Array(batchEvents * layout.words);
  readonly #watch: libc.Watch;

  /** Level-triggered: what is not dealt with comes again. */
  constructor(onBatch: (batch: Batch) => void) {
    this.#watch = libc.onReadable(this.#fd, () => {
      const count = libc.epollReady(this.#fd, this.#ready, batchEvents, what);
      if (count > 0) onBatch((body) => this.#each(count, body));
    });
  }
  #each(count: number, body: (token: number, events: number) => void): void {
    const ready = this.#ready;
    for (let at = 0; at < count * layout.words; at += layout.words) {
      const token = ((ready[at + layout.token + 1] as number) | 0) * high + (ready[at + layout.token] as number);
      body(token, ready[at] as number);
    }
  }

  add(fd: number, token: number, events: number): void {
    this.#control(libc.EPOLL_CTL.ADD, fd, token, events);
  }
  change(fd: number, token: number, events: number): void {
    this.#control(libc.EPOLL_CTL.MOD, fd, token, events);
  }
  remove(fd: number): void {
    this.#control(libc.EPOLL_CTL.DEL, fd, 0, 0);
  }
  #control(operation: number, fd: number, token: number, events: number): void {
    this.#wish[0] = events;
    this.#wish[layout.token] = token; // modulo 2^32
    this.#wish[layout.token + 1] = Math.floor(token / high);
    libc.epollControl(this.#fd, operation, fd, this.#wish, what);
  }

  close(): void {
    this.#watch.close();
    libc.close(this.#fd);
  }
}
