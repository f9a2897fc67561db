/**
 * `vipward run` on one director after another: told by its parent in which namespace, and when to stop. On an emulated
 * CPU the code takes longer to load than a story to tell, so a process is used again.
 */
import { type RunFlags, runAgent } from "../cli/work/agentRun.ts";
import { Namespace } from "../host/namespace.ts";

export type ToAgentNode =
  | { readonly kind: "run"; readonly namespace: string; readonly flags: RunFlags }
  | { readonly kind: "stop" };
/** The agent has stopped, and the next one may begin. */
export type FromAgentNode = "ended";

let running: AbortController | undefined;
const write = (text: string): void => void process.stderr.write(text);

process.on("message", (order: ToAgentNode) => {
  if (order.kind === "stop") {
    running?.abort();
    return;
  }
  const namespace = new Namespace(order.namespace);
  namespace.enter();
  namespace.close();
  running = new AbortController();
  const terminal = { out: write, err: write, isTerminal: false, colour: false, columns: 80 };
  const io = { ...terminal, signal: running.signal, endsInOrder: () => {} };
  runAgent(order.flags, io).then(
    () => process.send?.("ended" satisfies FromAgentNode),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => process.exit(0));
