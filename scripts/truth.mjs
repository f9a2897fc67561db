// npm run truth -- [TEXT|TEXT]: the stories of docs/simulator.md, "Held to the truth", on the VM's kernel with whole agents and on
// the model, all of them or those with one of the texts in their title; says of each what was seen on either side.
import { join } from "node:path";
import { ensureBuild, ensureDebianPackages, ensureDependencies, main, packagesFor, root } from "./setup.mjs";

await main(async ([text = ""]) => {
  await ensureDebianPackages(packagesFor("lab", "vm", "test"), "the comparison");
  await ensureDependencies();
  await ensureBuild();
  const { runInVm } = await import(join(root, "dist/host/vm/machine.js"));
  const { projectInside } = await import(join(root, "dist/host/vm/rootfs.js"));
  const file = `${projectInside}/dist/lab/sim/truthStories.vm.test.js`;
  const { exitCode } = await runInVm({
    command: ["node", "--test", "--test-reporter=spec", file],
    env: { VIPWARD_TEST_INSIDE_VM: "1", VIPWARD_TRUTH: text },
    withTests: true,
    timeoutMs: 60 * 60_000,
    stallMs: 30 * 60_000, // the stories are told before the first line is said
    onLine: (_stream, line) => console.log(line),
  });
  return exitCode;
});
