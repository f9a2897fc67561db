import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";
import { type Bench, type Row, timeRow } from "./measure.ts";

interface Cost {
  readonly cpuPercent: number;
  readonly systemPercent: number;
  readonly memoryMib: number;
}
interface Found {
  readonly times: Readonly<Record<string, number>>;
  readonly costs: Readonly<Record<string, Cost>>;
}

function rowsOf({ times, costs }: Found, accelerator: string): Row[] {
  const pair = (what: string, peer: string) => ({
    ours: times[`${what} vipward`] ?? Number.NaN,
    peer: times[`${what} ${peer}`] ?? Number.NaN,
  });
  const { vipward, keepalived } = costs;
  if (vipward === undefined || keepalived === undefined) throw new Error("the VM measured no costs");
  const cost = (key: keyof Cost) => ({ ours: vipward[key], peer: keepalived[key] });
  const least = { name: "the one change, asked of the kernel", value: times["reload change"] ?? Number.NaN };
  const share = (c: Cost): string => `${c.systemPercent.toFixed(1)}`;
  return [
    timeRow("reload, one weight changed", "ms", pair("reload", "keepalived"), "keepalived", { limit: least }),
    timeRow("the same", "ms", pair("reload", "ipvsadm"), "ipvsadm --clear, --restore"),
    timeRow("start to the last entry", "ms", pair("start", "keepalived"), "keepalived", {
      note: `VM under ${accelerator}, where Node's own start is long; less is better`,
    }),
    timeRow("1,000 checks each 2 s: CPU", "%", cost("cpuPercent"), "keepalived", {
      note: `of one core, of it in the kernel: ${share(vipward)} and ${share(keepalived)}`,
    }),
    timeRow("the same: memory", "MiB", cost("memoryMib"), "keepalived", { note: "proportional set size" }),
  ];
}

export const directorBench: Bench = {
  name: "director",
  title:
    "a director with 1,000 services of 16 real servers, and one that checks 1,000 servers, in the VM, beside keepalived",
  async run(say) {
    const lines: string[] = [];
    const { exitCode, accelerator } = await runInVm({
      command: ["node", `${projectInside}/dist/testing/directorBench.js`],
      withTests: true,
      timeoutMs: 900_000,
      stallMs: 300_000,
      onProgress: say,
      onLine(stream, line) {
        if (stream === "stderr") say(line);
        lines.push(line);
      },
    });
    if (exitCode !== 0) throw new Error(`the VM's measurement ended with ${exitCode}: ${lines.slice(-20).join("\n")}`);
    const last = lines.findLast((line) => line.startsWith('{"times"'));
    return rowsOf(JSON.parse(last ?? "{}") as Found, accelerator);
  },
};
