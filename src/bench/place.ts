/** Two namespaces on one veth pair, made for a measurement and taken away after it. */
import { execFileSync } from "node:child_process";
import type { Prefix } from "../base/prefix.ts";
import { createNamespace, type Namespace, removeNamespace } from "../host/namespace.ts";
import { openRtnetlink, type Rtnetlink } from "../host/rtnetlink.ts";

export interface Place {
  readonly here: Namespace;
  readonly there: Namespace;
  readonly rt: Rtnetlink;
  readonly far: Rtnetlink;
  /** Runs a program inside `here`: a child is born into the namespace of the thread that starts it. */
  run(program: string, args: readonly string[], input?: string): string;
}

export async function inPlace<T>(near: Prefix, far: Prefix, body: (place: Place) => Promise<T>): Promise<T> {
  const names = ["here", "there"].map((end) => `vw-bench${process.pid}-${end}`) as [string, string];
  const here = createNamespace(names[0]);
  const there = createNamespace(names[1]);
  const place: Place = {
    here,
    there,
    rt: openRtnetlink(here),
    far: openRtnetlink(there),
    run: (program, args, input) =>
      here.run(() => execFileSync(program, args, { encoding: "utf8", input, stdio: ["pipe", "pipe", "pipe"] })),
  };
  try {
    place.rt.createVeth({ name: "eth0" }, { name: "eth0", namespace: there });
    for (const [socket, prefix] of [
      [place.rt, near],
      [place.far, far],
    ] as const) {
      socket.setLink("lo", { up: true });
      socket.setLink("eth0", { up: true });
      socket.addAddress("eth0", { prefix });
    }
    return await body(place);
  } finally {
    place.rt.close();
    place.far.close();
    for (const namespace of [here, there]) {
      namespace.close();
      removeNamespace(namespace.name);
    }
  }
}
