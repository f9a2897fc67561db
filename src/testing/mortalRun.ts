/** A run of vipward that kills itself with SIGKILL at one of its calls: told in the first argument. */
import { mortal } from "../ports/mortal.ts";
import { type MortalRun, runVipward } from "./realVipward.ts";
import { clusterOfText } from "./scenarios.ts";

const { text, killAt, ...asked } = JSON.parse(process.argv[2] ?? "") as MortalRun;
let left = killAt;
await runVipward(clusterOfText(text), asked, (ports) =>
  mortal(ports, {
    isLast: () => left <= 0,
    burn: () => {
      if (left <= 0) process.kill(process.pid, "SIGKILL"); // does not return
      left--;
    },
  }),
);
