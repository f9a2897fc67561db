// npm run bench -- ARGS: sets up what the measurements need, then runs them.
import { ensureBuild, ensureDebianPackages, ensureDependencies, main, packagesFor, runCompiled } from "./setup.mjs";

await main(async (args) => {
  await ensureDependencies();
  await ensureBuild();
  await ensureDebianPackages(packagesFor("lab", "vm", "bench"), "the measurements");
  return runCompiled("bench/main.js", args);
});
