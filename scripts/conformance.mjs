// npm run conformance -- --cases N [--seed N] [--workers N] [--vm] [--json]: sets up what is needed, then asks kernel and
// model the same random questions. The set-up speaks on standard error only.
import { ensureBuild, ensureDebianPackages, ensureDependencies, main, packagesFor, runCompiled } from "./setup.mjs";

await main(async (args) => {
  await ensureDependencies();
  await ensureBuild();
  const inVm = args.includes("--vm");
  await ensureDebianPackages(packagesFor("lab", ...(inVm ? ["vm"] : [])), "conformance");
  return runCompiled("conformance/main.js", args);
});
