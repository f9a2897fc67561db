import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseModulesDep } from "../moduleIndex.ts";
import type { CpioEntry } from "./cpio.ts";
import { VmError } from "./errors.ts";
import { deviceLinks, initScript, mountTable } from "./init.ts";
import type { Kernel } from "./kernel.ts";
import { parseLdd } from "./libraries.ts";
import { carriedModules, channelModules, labModules } from "./modules.ts";
import { isUnused, productionPackages } from "./packages.ts";
import { findProgram, runProgram } from "./process.ts";
import { pluginFolders, toolData, tools } from "./tools.ts";

/** Where the project lies inside the VM; commands start here. */
export const projectInside = "/vipward";
export const nodeInside = "/usr/bin/node";

export interface RootFsRequest {
  readonly kernel: Kernel;
  /** The folder with package.json, dist/ and, here or above, node_modules/. */
  readonly projectFolder: string;
  /** Also what only tests need: compiled tests, fast-check. */
  readonly withTests: boolean;
}

/** A file from this machine. Its size and time stand for its content in the image's key. */
export type SourceEntry = CpioEntry & { readonly stamp: string };

const inside = (path: string): string => path.replace(/^\/(bin|sbin|lib|lib64)\//, "/usr/$1/");

function fileEntry(source: string, path: string): SourceEntry {
  const { size, mtimeMs, mode } = statSync(source);
  return {
    kind: "file",
    path,
    mode: mode & 0o777,
    sizeOctets: size,
    content: () => readFileSync(source),
    stamp: `${source} ${size} ${mtimeMs}`,
  };
}

function textEntry(path: string, text: string, mode = 0o644): SourceEntry {
  const content = Buffer.from(text);
  return { kind: "file", path, mode, sizeOctets: content.length, content: () => content, stamp: text };
}

const linkEntry = (path: string, target: string): SourceEntry => ({ kind: "symlink", path, target, stamp: target });
const folderEntry = (path: string, mode: number): SourceEntry => ({ kind: "directory", path, mode, stamp: "" });

/** All files below a folder that `takes` wants; links are followed. Nothing where the folder is not there. */
function* treeEntries(folder: string, path: string, takes = (_below: string): boolean => true): Generator<SourceEntry> {
  if (!existsSync(folder)) return;
  for (const below of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!takes(below)) continue;
    const source = join(folder, below);
    if (statSync(source, { throwIfNoEntry: false })?.isFile()) yield fileEntry(source, join(path, below));
  }
}

/** The frame: folders to mount on, links as every current distribution has them, names for the few users. */
function* frame(): Generator<SourceEntry> {
  for (const name of ["bin", "sbin", "lib", "lib64"]) yield linkEntry(`/${name}`, `usr/${name}`);
  for (const name of ["bin", "sbin", "lib", "lib64"]) yield folderEntry(`/usr/${name}`, 0o755);
  for (const path of ["/proc", "/sys", "/dev", "/run", "/root", "/etc/keepalived", "/var/lib"])
    yield folderEntry(path, 0o755);
  yield linkEntry("/var/run", "../run");
  yield folderEntry("/tmp", 0o1777);
  yield linkEntry("/usr/bin/sh", "bash");
  for (const [name, target] of Object.entries(deviceLinks)) yield linkEntry(`/etc/vipward/dev/${name}`, target);
  yield textEntry("/etc/fstab", mountTable);
  yield textEntry("/etc/hosts", "127.0.0.1 localhost vipward\n::1 localhost\n");
  yield textEntry(
    "/etc/nsswitch.conf",
    "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n",
  );
  const users = [
    "root:x:0:0::/root:/bin/bash",
    "nobody:x:65534:65534::/:/bin/false",
    "tcpdump:x:100:65534::/:/bin/false",
    "systemd-network:x:101:101::/:/bin/false",
  ];
  yield textEntry("/etc/passwd", `${users.join("\n")}\n`);
  yield textEntry("/etc/group", "root:x:0:\nnogroup:x:65534:\ntcpdump:x:100:\nsystemd-network:x:101:\n");
}

/** Programs, the libraries they are linked with, plug-ins and data. */
async function programs(missing: string[]): Promise<SourceEntry[]> {
  const entries: SourceEntry[] = [];
  const binaries = new Set<string>();
  const add = (path: string, imagePath: string): void => {
    const real = realpathSync(path);
    binaries.add(real);
    const realInside = inside(real);
    if (realInside === imagePath) return;
    // A program of many names (kmod, xtables-nft-multi) goes in once; it looks at the name it was called by.
    entries.push(linkEntry(imagePath, realInside));
  };
  for (const tool of tools) {
    const path = findProgram(tool.name);
    if (path !== undefined) add(path, inside(path));
    else if (tool.required) throw new VmError("vm/tool-missing", `the VM needs ${tool.name} (package ${tool.package})`);
    else missing.push(`${tool.name} (package ${tool.package})`);
  }
  const node = realpathSync(process.execPath);
  const asked = await runProgram("ldd", [...binaries, node]);
  const libraries = parseLdd(asked.stdout);
  if (libraries.found.length === 0)
    throw new VmError("vm/tool-missing", `ldd (package libc-bin) said nothing: ${asked.stderr}`);
  for (const path of binaries) entries.push(fileEntry(path, inside(path)));
  entries.push(fileEntry(node, nodeInside));
  for (const path of libraries.found) entries.push(fileEntry(realpathSync(path), inside(path)));
  for (const folder of pluginFolders) entries.push(...treeEntries(folder, folder));
  for (const path of toolData) {
    if (!existsSync(path)) continue;
    if (statSync(path).isFile()) entries.push(fileEntry(path, path));
    else entries.push(...treeEntries(path, path));
  }
  return entries;
}

/** The kernel's modules with the indexes modprobe reads, and the lists for the start. */
function* modules(kernel: Kernel): Generator<SourceEntry> {
  const folder = `/usr/lib/modules/${kernel.release}`;
  const files = parseModulesDep(readFileSync(join(kernel.modulesFolder, "modules.dep"), "utf8"));
  for (const name of readdirSync(kernel.modulesFolder))
    if (name.startsWith("modules.")) yield fileEntry(join(kernel.modulesFolder, name), join(folder, name));
  for (const path of carriedModules(files)) yield fileEntry(join(kernel.modulesFolder, path), join(folder, path));
  const names = (wanted: readonly string[]): string => `${wanted.filter((name) => files.has(name)).join(" ")}
`;
  yield textEntry("/etc/vipward/channel-modules", names(channelModules));
  yield textEntry("/etc/vipward/lab-modules", names(labModules));
}

const isTest = /\.test\.js$|^testing\//;

/** The project as built, and the packages it runs with. */
function* project(request: RootFsRequest): Generator<SourceEntry> {
  const { projectFolder, withTests } = request;
  const dist = join(projectFolder, "dist");
  if (!existsSync(dist)) throw new VmError("vm/not-built", `${dist} does not exist`);
  yield fileEntry(join(projectFolder, "package.json"), join(projectInside, "package.json"));
  yield* treeEntries(
    dist,
    join(projectInside, "dist"),
    (below) => !isUnused("", below) && (withTests || !isTest.test(below)),
  );
  for (const name of ["schema", "examples"]) yield* treeEntries(join(projectFolder, name), join(projectInside, name));
  const { packages, missing } = productionPackages(projectFolder, projectInside, withTests ? ["fast-check"] : []);
  if (missing.length > 0) throw new VmError("vm/not-built", `npm packages are missing: ${missing.join(", ")}`);
  for (const { name, folder, imageFolder } of packages)
    yield* treeEntries(folder, imageFolder, (below) => !below.includes("node_modules/") && !isUnused(name, below));
}

/**
 * Collects what the VM's first file system holds. Reads names, sizes and times only; contents when it is written.
 * `missing`: optional programs this machine lacks, each with the package that has it.
 */
export async function collectRootFs(request: RootFsRequest): Promise<{ entries: SourceEntry[]; missing: string[] }> {
  const missing: string[] = [];
  const entries = [
    textEntry("/init", initScript, 0o755),
    ...frame(),
    ...(await programs(missing)),
    ...modules(request.kernel),
    ...project(request),
  ];
  return { entries, missing };
}
