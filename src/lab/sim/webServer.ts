/** A web server that says its name, as the namespace lab's does, and answers what a scenario makes it answer. */
import { STATUS_CODES } from "node:http";
import { httpQuestion } from "../../agent/checkers.ts";
import type { Ipv4 } from "../../base/ipv4.ts";
import type { HttpCheck } from "../../cluster/cluster.ts";
import { requestOf } from "../../machine/health/http.ts";
import type { SimHost } from "../../sim/host.ts";
import type { TcpUser } from "../../sim/tcp.ts";

const text = new TextEncoder();
const latin1 = new TextDecoder("latin1");

export class WebServer {
  /** What every request is answered with; undefined: 200, and what a check asks with a status that the check accepts. */
  status: number | undefined;
  readonly #host: SimHost;
  /** By the octets of a check's request. */
  readonly #wanted: ReadonlyMap<string, number>;

  constructor(host: SimHost, rip: Ipv4, checks: readonly HttpCheck[]) {
    this.#host = host;
    this.#wanted = new Map(
      checks.flatMap((check) => {
        // an interim status is no answer (RFC 9110 section 15.2)
        const wanted = check.status.find((s) => s.last >= 200);
        const request = latin1.decode(requestOf(httpQuestion(check, rip)));
        return wanted === undefined ? [] : [[request, Math.max(200, wanted.first)] as const];
      }),
    );
  }

  listen(port: number): void {
    const user: TcpUser = {
      data: (connection, octets) => connection.send(this.#answer(octets)),
      ended: (connection) => connection.close(),
    };
    this.#host.tcp.listen(port, () => user);
  }

  readonly #answers = new Map<string, Uint8Array>();
  #answer(octets: Uint8Array): Uint8Array {
    const status = this.status ?? (this.#wanted.size === 0 ? 200 : (this.#wanted.get(latin1.decode(octets)) ?? 200));
    const isHead = octets[0] === 0x48; // H
    const key = `${status} ${isHead}`;
    const answer = this.#answers.get(key) ?? text.encode(this.#written(status, isHead));
    this.#answers.set(key, answer);
    return answer;
  }

  #written(status: number, isHead: boolean): string {
    const { name } = this.#host;
    const body = `${name}\n`;
    const line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
    // RFC 9110 sections 15.3.5 and 15.4.5: these end with the header
    if (status === 204 || status === 304) return `${line}x-served-by: ${name}\r\n\r\n`;
    const head = `${line}content-type: text/plain\r\ncontent-length: ${body.length}\r\nx-served-by: ${name}\r\n\r\n`;
    return isHead ? head : head + body;
  }
}
