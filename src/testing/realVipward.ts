/** `vipward apply` and `undo` on a real server's namespace, by their own code; and how such a run is killed at a call. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type Outcome, run, undoEverything } from "../apply/run.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { Namespace } from "../host/namespace.ts";
import { machinePorts } from "../host/perform/machine.ts";
import { programsHere } from "../host/perform/readFacts.ts";
import { labWishOf } from "../lab/wish.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import type { Plan } from "../plan/plan.ts";
import { planFor } from "../policy/auto.ts";
import type { ApplyPorts } from "../ports/apply.ts";

export interface VipwardRun {
  readonly namespace: string;
  /** Of the journal. */
  readonly stateDir: string;
  readonly realServer: string;
  readonly direction: "apply" | "undo";
}

/** `as`: the ports in a form of their own, such as one that dies. */
export async function runVipward(
  cluster: Cluster,
  { namespace: name, stateDir, realServer: server, direction }: VipwardRun,
  as: (ports: ApplyPorts) => ApplyPorts = (ports) => ports,
): Promise<Outcome> {
  const realServer = cluster.realServers.find((r) => r.name === server);
  if (realServer === undefined) throw new RangeError(`no real server ${server}`);
  const wish = { ...labWishOf(cluster, realServer), programs: programsHere() };
  const namespace = new Namespace(name);
  try {
    const ports = as(machinePorts({ namespace, stateDir }));
    if (direction === "undo") return await run(ports, undoEverything(kernelModel));
    return await run(ports, {
      direction,
      paths: [],
      kernel: kernelModel,
      plan: (world, owned): Plan => {
        const choice = planFor(realServer.policy.name, { world, owned, wish, kernel: kernelModel });
        if ("plan" in choice) return choice.plan;
        throw new Error(choice.considered.map((c) => `${c.policy}: ${c.why}`).join("; "));
      },
    });
  } finally {
    namespace.close();
  }
}

/** What the program mortalRun.ts is told. */
export interface MortalRun extends VipwardRun {
  /** The text of the cluster file. */
  readonly text: string;
  readonly killAt: number;
}

/** In a process of its own, which gets SIGKILL before its call number `killAt`. False: it ended before that. */
export async function killedRun(asked: MortalRun): Promise<boolean> {
  const program = fileURLToPath(new URL("./mortalRun.js", import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(asked)], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said += piece.toString();
  });
  const [status, signal] = await once(child, "close");
  if (signal === "SIGKILL") return true;
  if (status !== 0) throw new Error(`vipward ${asked.direction} on ${asked.realServer} ended with ${status}: ${said}`);
  return false;
}
