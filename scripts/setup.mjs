// What a clone needs before it can build, test or run the lab: npm packages, compiled code, Debian packages. Asks
// nothing, says what it does on standard error, does nothing where all is there. Plain JavaScript on Node alone, since
// it runs before anything is installed.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const say = (text) => process.stderr.write(`${text}\n`);

/** A step of the set-up that failed: what, and what to do about it. */
export class SetupError extends Error {
  constructor(message, remedy) {
    super(message);
    this.remedy = remedy;
  }
}

/** Runs a program with its output on our standard error. Resolves to its exit status, or "not found". */
function run(file, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, stdio: ["ignore", 2, 2], ...options });
    child.on("error", () => resolve("not found"));
    child.on("close", (code, signal) => resolve(signal ?? code));
  });
}

// ---- Debian packages ------------------------------------------------------------------------------------------------

/** Package -> a program it brings (looked for where there is no dpkg), and what needs it. The one table of packages. */
export const debianPackages = {
  iproute2: { program: "ip", for: ["lab", "vm", "test", "bench"] },
  nftables: { program: "nft", for: ["lab", "test"] },
  kmod: { program: "modprobe", for: ["lab", "vm", "test", "bench"] },
  "qemu-system-x86": { program: "qemu-system-x86_64", for: ["vm", "test", "bench"] },
  ipvsadm: { program: "ipvsadm", for: ["test", "bench"] },
  keepalived: { program: "keepalived", for: ["test", "bench"] },
  iptables: { program: "iptables", for: ["test"] },
  arptables: { program: "arptables", for: ["test"] },
  tcpdump: { program: "tcpdump", for: ["test"] },
  "iputils-arping": { program: "arping", for: ["test"] },
  procps: { program: "sysctl", for: ["test"] },
  ifupdown: { program: "ifup", for: ["test"] },
  "netplan.io": { program: "netplan", for: ["test"] },
  systemd: { program: "networkctl", for: ["test"] },
  udev: { program: "udevadm", for: ["test"] },
  dbus: { program: "dbus-daemon", for: ["test"] },
  "network-manager": { program: "NetworkManager", for: ["test"] },
  "ansible-core": { program: "ansible-playbook", for: ["test"] },
  "net-tools": { program: "ifconfig", for: ["test"] },
  "arp-scan": { program: "arp-scan", for: ["test", "bench"] },
  // brings no program of its own, but the compiler that its users need
  "libns3-dev": { program: "g++", for: ["bench"] },
};

/** Packages that come with a service. Nobody who runs tests wants a load balancer's daemon from the next boot on. */
const services = {
  keepalived: "keepalived",
  ipvsadm: "ipvsadm",
  ifupdown: "networking",
  "network-manager": "NetworkManager",
};

export const packagesFor = (...purposes) =>
  Object.entries(debianPackages)
    .filter(([, { for: uses }]) => uses.some((use) => purposes.includes(use)))
    .map(([name]) => name);

export function findProgram(name) {
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  return folders
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Those not installed, by dpkg's own word; without dpkg, those whose program is not found. */
function missingPackages(names) {
  const asked = spawnSync("dpkg-query", ["--status", ...names], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  if (asked.error) return names.filter((name) => findProgram(debianPackages[name]?.program ?? name) === undefined);
  const installed = new Set();
  for (const stanza of asked.stdout.split("\n\n"))
    if (/^Status: \S+ ok installed$/m.test(stanza)) installed.add(/^Package: (\S+)$/m.exec(stanza)?.[1]);
  return names.filter((name) => !installed.has(name));
}

const policyFile = "/usr/sbin/policy-rc.d";
const policyMark = "# vipward: no service starts while its packages are installed; removed when that is done";

/**
 * Debian starts a service when its package is installed, unless /usr/sbin/policy-rc.d says no (exit status 101): the
 * documented hook for this. Ours is there only while apt runs. One that is there already is the administrator's word
 * and stays as it is; one left by a run of ours that was killed carries our mark and goes at the end.
 */
async function withoutServiceStart(work) {
  const ours = !existsSync(policyFile) || readFileSync(policyFile, "utf8").includes(policyMark);
  const remove = () => {
    if (ours) rmSync(policyFile, { force: true });
  };
  const onSignal = (signal) => {
    remove();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  if (ours) writeFileSync(policyFile, `#!/bin/sh\n${policyMark}\nexit 101\n`, { mode: 0o755 });
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    return await work();
  } finally {
    remove();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/** Services of packages that we just installed neither run nor start at the next boot. What was there before stays. */
async function quietServices(names) {
  for (const name of names) {
    const service = services[name];
    if (service === undefined) continue;
    const now = existsSync("/run/systemd/system") ? ["--now"] : [];
    const quiet = { stdio: "ignore" };
    if (findProgram("systemctl")) await run("systemctl", ["disable", ...now, `${service}.service`], quiet);
    else if (findProgram("update-rc.d")) await run("update-rc.d", [service, "disable"], quiet);
  }
}

/**
 * Installs the packages that are missing, where we are root and apt is there. Returns what is still missing, each a
 * package's name; then it has said which command puts that right.
 */
export async function ensureDebianPackages(names, why) {
  const missing = missingPackages(names);
  if (missing.length === 0) return [];
  const install = ["install", "--yes", "--no-install-recommends", ...missing];
  if (process.getuid() !== 0 || findProgram("apt-get") === undefined) {
    say(`setup: missing for ${why}: ${missing.join(" ")}`);
    say(`  remedy: as root, apt-get ${install.join(" ")}`);
    return missing;
  }
  say(`setup: installing for ${why}: ${missing.join(" ")}`);
  const env = {
    ...process.env,
    DEBIAN_FRONTEND: "noninteractive",
    APT_LISTCHANGES_FRONTEND: "none",
    NEEDRESTART_SUSPEND: "1",
  };
  const quiet = ["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"];
  const keep = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"];
  await withoutServiceStart(async () => {
    const updated = await run("apt-get", [...quiet, "update"], { env });
    if (updated !== 0) say(`setup: apt-get update ended with ${updated}; going on with the lists that are there`);
    await run("apt-get", [...quiet, ...keep, ...install], { env });
  });
  const still = missingPackages(missing);
  await quietServices(missing.filter((name) => !still.includes(name)));
  if (still.length > 0) {
    say(`setup: still missing: ${still.join(" ")} (see apt-get's messages above)`);
    say(`  remedy: apt-get update && apt-get ${install.join(" ")}`);
  }
  return still;
}

/** True where the running kernel has all that the lab needs, so that no VM is needed. */
export function kernelHasIpvs() {
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const listed = ["modules.dep", "modules.builtin"].map((name) => {
    try {
      return readFileSync(join("/lib/modules", release, name), "utf8");
    } catch {
      return "";
    }
  });
  const has = (name) =>
    existsSync(`/sys/module/${name}`) || listed.some((text) => new RegExp(`/${name}\\.ko`).test(text));
  return ["ip_vs", "dummy", "ipip"].every(has);
}

// ---- npm packages ---------------------------------------------------------------------------------------------------

/**
 * True where node_modules holds what package-lock.json says. Compared by content (npm keeps its own list of what it
 * installed): times lie after a checkout, and a needless `npm ci` removes what somebody linked there.
 */
function dependenciesMatch() {
  try {
    const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8")).packages;
    const wanted = read("package-lock.json");
    const installed = read("node_modules/.package-lock.json");
    return Object.entries(wanted).every(([path, { version, optional }]) => {
      if (path === "") return true;
      if (installed[path] === undefined) return optional === true; // for another platform
      return installed[path].version === version && existsSync(join(root, path, "package.json"));
    });
  } catch {
    return false;
  }
}

export async function ensureDependencies() {
  if (dependenciesMatch()) return;
  if (lstatSync(join(root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink()) {
    say("setup: node_modules is a link and does not match package-lock.json; left as it is, since npm would remove it");
    return;
  }
  say("setup: npm ci");
  const status = await run("npm", ["ci", "--no-audit", "--no-fund"]);
  if (status === 0) return;
  throw new SetupError(`npm ci ended with ${status}`, "read npm's messages above; the npm registry must be reachable");
}

// ---- compiled code --------------------------------------------------------------------------------------------------

const filesBelow = (folder) =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => statSync(join(folder, path)).isFile())
    : [];

/** dist/ for these sources: same key, nothing to do. */
function sourcesKey(sources) {
  const hash = createHash("sha256");
  const tools = ["tsconfig.json", "scripts/bundle.mjs", "node_modules/typescript/package.json"];
  const inputs = [...sources.map((path) => join("src", path)), ...tools, "node_modules/esbuild/package.json"];
  for (const path of inputs.sort()) {
    const { size, mtimeMs } = statSync(join(root, path));
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  return hash.digest("hex");
}

/** Removes compiled files whose source is gone: a test deleted from src/ must not live on in dist/. */
function sweepDist(dist, sources) {
  const stems = new Set(sources.map((path) => path.replace(/\.ts$/, "")));
  for (const path of filesBelow(dist)) {
    if (path.startsWith("bin/")) continue; // made from the rest, whole each time
    const stem = path.replace(/\.(d\.ts|js)$/, "");
    if (stem !== path && !stems.has(stem)) rmSync(join(dist, path));
  }
}

/** Compiles where a source changed. Throws SetupError where the compiler complains (its words go to standard error). */
export async function ensureBuild() {
  const dist = join(root, "dist");
  const stampFile = join(dist, ".stamp");
  const sources = filesBelow(join(root, "src")).filter((path) => path.endsWith(".ts"));
  const compiled = (path) => existsSync(join(dist, path.replace(/\.ts$/, ".js")));
  const whole = sources.every((path) => path.endsWith(".d.ts") || compiled(path));
  const command = join(dist, "bin/vipward.js");
  const key = sourcesKey(sources);
  if (whole && existsSync(command) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === key) return;
  // The incremental record says what was written, not what is still there.
  if (!whole) rmSync(join(dist, ".tsbuildinfo"), { force: true });
  rmSync(stampFile, { force: true });
  const status = await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc")]);
  if (status !== 0) throw new SetupError(`tsc ended with ${status}`, "correct the errors above");
  sweepDist(dist, sources);
  const { bundleCommand } = await import("./bundle.mjs"); // needs a package, so not before they are there
  await bundleCommand(root);
  chmodSync(command, 0o755);
  writeFileSync(stampFile, key);
}

// ---- for the scripts beside this one ---------------------------------------------------------------------------------

/** Runs a script's main function; a set-up that failed is told in two lines, not with a stack. */
export async function main(work) {
  try {
    if (process.platform !== "linux") throw new SetupError("vipward needs Linux", "use a Linux machine or VM");
    const major = Number(process.versions.node.split(".")[0]);
    if (major < 20) throw new SetupError(`Node ${process.versions.node} is too old`, "install Node 20 or later");
    process.exitCode = await work(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`setup: ${error.message}\n  remedy: ${error.remedy}`);
    process.exitCode = 1;
  }
}

/** Runs a compiled program in our place: same terminal, same exit status, signals passed on. */
export function runCompiled(path, args) {
  const file = join(root, "dist", path);
  if (!existsSync(file)) throw new SetupError(`dist/${path} is not there`, "this checkout does not have that part");
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file, ...args], { stdio: "inherit" });
    // Ctrl-C reaches the child by itself, since it shares our terminal; we wait for it to clean up.
    process.on("SIGINT", () => {});
    for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
    child.on("error", () => resolve(70));
    child.on("close", (code, signal) =>
      resolve(code ?? 128 + (signal === "SIGINT" ? 2 : signal === "SIGTERM" ? 15 : 9)),
    );
  });
}
