import assert from "node:assert/strict";
import { test } from "node:test";
import { HostError } from "../host/errors.ts";
import { VmError } from "../host/vm/errors.ts";
import { reportFailure } from "./failure.ts";
import type { Io } from "./io.ts";

function reported(error: unknown, signal = new AbortController().signal): { status: number; text: string } {
  let text = "";
  const io: Io = {
    out: () => {},
    err: (more) => {
      text += more;
    },
    isTerminal: false,
    colour: false,
    endsInOrder: () => {},
    columns: 80,
    signal,
  };
  return { status: reportFailure(error, io), text };
}
const hostError = (code: string): HostError => new HostError(code, "what", { remedy: "how" });

test("each kind of failure has the exit status that the page on exit statuses promises", () => {
  const expected: [HostError, number][] = [
    [hostError("lab/usage"), 64],
    [hostError("namespace/name"), 64],
    [hostError("cluster-file/no-input"), 66],
    [hostError("lab/unavailable"), 69],
    [hostError("engine/unavailable"), 69],
    [hostError("module/missing"), 69],
    [hostError("ipvs/absent"), 69],
    [hostError("netlink/EOPNOTSUPP"), 69],
    [new VmError("vm/qemu-missing", "no QEMU"), 69],
    [new VmError("vm/kernel-download", "no network"), 69],
    [new VmError("vm/died", "gone"), 71],
    [hostError("namespace/taken"), 71],
    [hostError("umount2/EPERM"), 77],
  ];
  for (const [error, status] of expected) assert.equal(reported(error).status, status, error.code);
  assert.equal(reported(new RangeError("broken promise")).status, 70);
});

test("a name with control characters cannot steer the terminal", () => {
  const { text } = reported(new HostError("x/usage", "no \x1b]0;owned\x07 \x9b31m such\nnext line", { remedy: "how" }));
  assert.equal(text, "vipward: no \u00b7]0;owned\u00b7 \u00b731m such\nnext line\n  remedy: how\n");
});

test("an early end says why", () => {
  assert.deepEqual(reported(new Error("x"), AbortSignal.abort(new Error("SIGINT"))), {
    status: 130,
    text: "interrupted\n",
  });
  const unread = AbortSignal.abort(new Error("nobody reads the output any more"));
  assert.equal(reported(new Error("x"), unread).text, "ended: nobody reads the output any more\n");
});
