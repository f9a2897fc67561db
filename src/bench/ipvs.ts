import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";
import { type Bench, timeRow } from "./measure.ts";

export const ipvsBench: Bench = {
  name: "ipvs",
  title: "1,000 IPVS services with 16 real servers each, in the VM, against `ipvsadm --restore`",
  async run(say) {
    const lines: string[] = [];
    const { exitCode, accelerator } = await runInVm({
      command: ["node", `${projectInside}/dist/bench/ipvsGuest.js`],
      timeoutMs: 300_000,
      stallMs: 200_000,
      onProgress: say,
      onLine: (_stream, line) => lines.push(line),
    });
    if (exitCode !== 0) throw new Error(`the VM's measurement ended with ${exitCode}: ${lines.slice(-5).join("\n")}`);
    const times = JSON.parse(lines.at(-1) ?? "{}") as { ours: number; peer: number };
    return [
      timeRow("bare to programmed", "ms", times, "ipvsadm --restore", {
        note: `VM under ${accelerator}; less is better`,
      }),
    ];
  },
};
