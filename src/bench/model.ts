import { benchModel } from "../model/answerArp.bench.ts";
import { type Bench, nowMs } from "./measure.ts";

export const modelBench: Bench = {
  name: "model",
  title: "decisions of the kernel model on one core",
  run: async () =>
    benchModel(nowMs).map(({ name, perSecond }) => ({ what: name, unit: "decisions/s", ours: perSecond })),
};
