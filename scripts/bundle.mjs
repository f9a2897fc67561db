// dist/bin/: the command as a few files. A hundred modules and their packages, each found, read and linked by itself,
// cost a short command more time than its work does. Same code as dist/, made from it after each compilation.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { build } from "esbuild";

/** Packages that stay outside: koffi carries a binary that it looks for beside itself. */
const external = ["koffi"];

/** Threads that a command waits for at its start: each is one file in dist/bin/, too. */
const threads = ["host/agent/failoverThread.js", "host/packetWorkerThread.js", "host/sendLaneThread.js"];
const threadPlace = new RegExp(
  `(?<=new URL\\("\\./(?:${threads.map((path) => basename(path, ".js")).join("|")})\\.js", )import\\.meta\\.url`,
  "g",
);

/** Other workers, and data, are found from a module's own place; in a bundle that is not where the code stands. */
const ownPlace = (dist) => ({
  name: "own place",
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, ({ path }) => {
      const below = relative(dist, path);
      if (below.startsWith("..")) return undefined;
      const text = readFileSync(path, "utf8");
      if (!text.includes("import.meta.url")) return undefined;
      const place = `new URL(${JSON.stringify(`../${below}`)}, import.meta.url).href`;
      const bundled = text.replace(threadPlace, "\0");
      return {
        contents: bundled.replaceAll("import.meta.url", place).replaceAll("\0", "import.meta.url"),
        loader: "js",
      };
    });
  },
});

/** The licences of the packages whose code went in: each asks for its words to go along. */
function notices(inputs) {
  const packages = new Set(inputs.flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []));
  return [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const words = ["LICENSE", "LICENSE.md", "license", "LICENSE.txt"].flatMap((file) => {
      try {
        return [readFileSync(join(folder, file), "utf8").trim()];
      } catch {
        return [];
      }
    });
    return `${name} ${version} (${license})\n\n${words[0] ?? ""}\n`;
  });
}

/** What has a file of its own is not looked into from elsewhere. */
const quickApart = {
  name: "quick apart",
  setup({ onResolve }) {
    onResolve({ filter: /\/quick\// }, ({ path, kind }) =>
      kind === "entry-point" ? undefined : { path: path.replace(/^.*\/quick\//, "./"), external: true },
    );
  },
};

/**
 * Makes dist/bin/ from the compiled code; its entry is dist/bin/vipward.js. Each command's parts are files that others
 * share, but those of cli/quick/, which are one file each: thirty small files take longer to load than one large one.
 */
export async function bundleCommand(root) {
  const dist = join(root, "dist");
  const outdir = join(dist, "bin");
  rmSync(outdir, { recursive: true, force: true });
  const shared = {
    absWorkingDir: root,
    outdir,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minifyWhitespace: true, // what is read and parsed is half as long; names stay, for stacks that people send
    external,
    // yaml and commander are CommonJS and ask for Node's own modules by require
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
    plugins: [ownPlace(dist), quickApart],
    metafile: true,
    logLevel: "warning",
  };
  const entryPoints = [{ in: join(dist, "cli/main.js"), out: "vipward" }];
  const { metafile } = await build({ ...shared, entryPoints, chunkNames: "[name]-[hash]", splitting: true });
  const quick = readdirSync(join(dist, "cli/quick")).filter((name) => name.endsWith(".js"));
  await build({ ...shared, entryPoints: quick.map((name) => join(dist, "cli/quick", name)) });
  const alone = threads.map((path) => ({ in: join(dist, path), out: basename(path, ".js") }));
  await build({ ...shared, entryPoints: alone });
  writeFileSync(join(outdir, "NOTICES.txt"), notices(Object.keys(metafile.inputs)).join(`\n${"-".repeat(78)}\n\n`));
}
