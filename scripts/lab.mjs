// npm run lab -- ARGS: sets up what the lab needs, then is `vipward lab ARGS`. The set-up speaks on standard error only,
// so `npm run -s lab -- --json` is a clean document.
import {
  ensureBuild,
  ensureDebianPackages,
  ensureDependencies,
  kernelHasIpvs,
  main,
  packagesFor,
  runCompiled,
} from "./setup.mjs";

/** The VM's packages are large: only where the VM may be used. */
function mayUseVm(args) {
  const at = args.findIndex((arg) => arg === "--backend" || arg.startsWith("--backend="));
  const backend = at < 0 ? "auto" : args[at].includes("=") ? args[at].slice("--backend=".length) : args[at + 1];
  return backend === "vm" || (backend === "auto" && !kernelHasIpvs());
}

await main(async (args) => {
  await ensureDependencies();
  await ensureBuild();
  const asksOnly = args.includes("--help") || args.includes("-h");
  if (!asksOnly) await ensureDebianPackages(packagesFor("lab", ...(mayUseVm(args) ? ["vm"] : [])), "the lab");
  return runCompiled("bin/vipward.js", ["lab", ...args]);
});
