// npm run build: npm packages and dist/.
import { ensureBuild, ensureDependencies, main } from "./setup.mjs";

await main(async () => {
  await ensureDependencies();
  await ensureBuild();
  return 0;
});
