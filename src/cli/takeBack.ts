/**
 * Entry of the process that `apply --confirm` appoints before it changes anything: RUN, the process to outlive, and the
 * options that say where the journal is, as JSON. Not a command for people.
 */
import { inherit } from "../apply/run.ts";
import { isAlive } from "../host/perform/heir.ts";
import { type MachineOptions, machinePorts } from "../host/perform/machine.ts";
import { kernelModel } from "../plan/kernelModel.ts";

const PAUSE_MS = 1000;
/** Longer than any confirmation may take, and than whatever keeps the journal from being written. */
const TRIES = 600;

const [run = "", parent = "", options = "{}"] = process.argv.slice(2);
for (let tries = 1; ; tries++)
  try {
    const ports = machinePorts(JSON.parse(options) as MachineOptions);
    await inherit(ports, Number(run), kernelModel, () => isAlive(parent));
    break;
  } catch (error) {
    // A disk that is full, a kernel that is busy: nobody else is there to try again.
    if (tries >= TRIES) throw error;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
