import { loadModule } from "../../host/modules.ts";
import { compareWithAgents } from "../../testing/truthStories.ts";
import { testsInVm } from "../../testing/vm.ts";

testsInVm(import.meta.url, "what the examples tell on the model is what a kernel with IPVS and whole agents do", () => {
  for (const module of ["ip_vs", "dummy", "ipip"]) loadModule(module);
  compareWithAgents(2, process.env.VIPWARD_TRUTH);
});
