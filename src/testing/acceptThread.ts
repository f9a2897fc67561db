/**
 * A server that costs as little as one can: takes connections and closes them. A worker, so that a measurement of those
 * who connect is not one of who answers. Ends by terminate().
 */
import { parentPort, workerData } from "node:worker_threads";
import type { Ipv4 } from "../base/ipv4.ts";
import { inetAddress } from "../host/inetSocket.ts";
import * as libc from "../host/libc.ts";
import { Namespace } from "../host/namespace.ts";

export interface AcceptWish {
  readonly namespace: string;
  readonly port: number;
}

const { namespace: name, port } = workerData as AcceptWish;
const what = "connections that are measured";
const namespace = new Namespace(name);
const listener = namespace.run(() => {
  const fd = libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0, what);
  libc.bind(fd, inetAddress(0 as Ipv4, port), what);
  libc.listen(fd, 4096, what);
  return fd;
});
namespace.close();
parentPort?.postMessage("listening");
for (;;) {
  libc.poll(listener, libc.POLLIN, 100);
  for (let fd = libc.accept(listener, what); fd !== undefined; fd = libc.accept(listener, what)) libc.close(fd);
}
