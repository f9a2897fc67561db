import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ipv4 } from "../../base/ipv4.ts";
import { parseMac } from "../../base/mac.ts";
import { prefix } from "../../base/prefix.ts";
import type { RouteFacts } from "../../model/facts.ts";
import type { Operation, OperationName } from "../../plan/operation.ts";
import type { Performer } from "../../ports/apply.ts";
import { HostError, NetlinkError } from "../errors.ts";
import { loadModule } from "../modules.ts";
import type { Namespace } from "../namespace.ts";
import type { NetlinkRequest } from "../netlink.ts";
import { applyNft } from "../nft.ts";
import { ask, openRtnetlink, type RouteSettings, type Rtnetlink } from "../rtnetlink.ts";
import { ipv4Conf, readSysctl, writeSysctl } from "../sysctl.ts";
import { findProgram } from "../vm/process.ts";
import { putFile } from "./files.ts";

type OperationOf<Name extends OperationName> = Extract<Operation, { readonly op: Name }>;

/** An operation is idempotent: what is there already, or gone already, is no error. */
function unless(errnoName: string, body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errnoName !== errnoName) throw error;
  }
}

function program(name: string, args: readonly string[]): string {
  try {
    return execFileSync(findProgram(name) ?? name, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000,
    });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string };
    if (code === "ENOENT")
      throw new HostError(`${name}/missing`, `cannot run ${name}: it is not here`, {
        remedy: `install it, or choose another policy (vipward policies)`,
        cause: error,
      });
    const said = stderr?.trim().split("\n")[0] ?? String(error);
    throw new HostError(`${name}/refused`, `${name} ${args.join(" ")}: ${said}`, {
      remedy: "see its words",
      cause: error,
    });
  }
}

const succeeds = (name: string, args: readonly string[]): boolean => {
  try {
    execFileSync(findProgram(name) ?? name, args, { stdio: "ignore", timeout: 60_000 });
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") program(name, args); // throws with the remedy
    return false;
  }
};

const routeSettings = (r: RouteFacts): RouteSettings => ({
  ...(r.dst === "default" ? {} : { destination: prefix(r.dst) }),
  ...(r.type === undefined ? {} : { type: r.type as NonNullable<RouteSettings["type"]> }),
  ...(r.table === undefined ? {} : { table: r.table }),
  ...(r.via === undefined ? {} : { gateway: ipv4(r.via) }),
  ...(r.dev === undefined ? {} : { link: r.dev }),
  ...(r.scope === undefined ? {} : { scope: r.scope }),
  ...(r.metric === undefined ? {} : { metric: r.metric }),
});

/**
 * A write to `default` reaches links without addresses whose own value nobody has written yet (S-ALL-03, devinet_copy_dflt_conf):
 * each is given the value that it has, so that what a change says is all that it does.
 */
function setApart(file: string): void {
  for (const link of readdirSync("/proc/sys/net/ipv4/conf")) {
    const value = link === "all" || link === "default" ? undefined : readSysctl(ipv4Conf(link, file));
    if (value !== undefined) writeSysctl(ipv4Conf(link, file), value);
  }
}

/** One entry an operation; `address` is done in batches below. */
const performers: { readonly [Name in OperationName]: (o: OperationOf<Name>, rt: Rtnetlink, root: string) => void } = {
  sysctl: (o) => {
    const [, family, , scope, file] = o.path;
    if (family === "ipv4" && scope === "default" && file !== undefined) setApart(file);
    writeSysctl(o.path, o.value);
  },
  "link-create": (o, rt) =>
    unless("EEXIST", () => {
      if (o.type === "dummy") rt.createDummy(o.name);
      else if (o.type === "ipip") rt.createIpip(o.name);
      else throw new HostError("link/type", `vipward makes no ${o.type} links`, { remedy: "report this" });
    }),
  "link-delete": (o, rt) => unless("ENODEV", () => rt.deleteLink(o.name)),
  "link-set": (o, rt) =>
    rt.setLink(o.name, {
      ...(o.up === undefined ? {} : { up: o.up }),
      ...(o.noarp === undefined ? {} : { noArp: o.noarp }),
    }),
  address: (o, rt) => addresses([o], rt),
  route: (o, rt) => {
    if (o.action === "add") unless("EEXIST", () => rt.addRoute(routeSettings(o.route)));
    else unless("ESRCH", () => rt.removeRoute(routeSettings(o.route)));
  },
  neighbour: (o, rt) => {
    const mac = o.mac === undefined ? undefined : parseMac(o.mac);
    if (o.action === "delete") unless("ENOENT", () => rt.removeNeighbour(o.link, ipv4(o.ip)));
    else if (mac !== undefined) rt.setNeighbour(o.link, { address: ipv4(o.ip), mac, state: "stale" });
  },
  module: (o) => {
    if (o.action === "unload") program("modprobe", ["-r", "--", o.name]);
    // A parameter needs modprobe; without one our own loader does, also where there is no modprobe.
    else if (o.parameters === "" || !succeeds("modprobe", ["--", o.name, o.parameters])) loadModule(o.name);
  },
  nft: (o) => applyNft(o.commands),
  rule: (o) => {
    const wait = o.program === "iptables" ? ["-w"] : [];
    const there = succeeds(o.program, [...wait, "-t", o.table, "-C", o.chain, ...o.spec]);
    if (there === (o.action === "add")) return;
    program(o.program, [...wait, "-t", o.table, o.action === "add" ? "-A" : "-D", o.chain, ...o.spec]);
  },
  file: (o, _, root) => putFile(join(root, o.path), o.content),
};

/** Thousands of addresses in a few sends. */
function addresses(list: readonly OperationOf<"address">[], rt: Rtnetlink): void {
  const indexes = new Map<string, number>();
  const requests = list.map((o): NetlinkRequest => {
    const index = indexes.get(o.link) ?? rt.indexOf(o.link);
    indexes.set(o.link, index);
    const own = { address: ipv4(o.ip), length: o.prefixLength };
    if (o.action === "delete") return ask.removeAddress(index, own, o.link);
    const label = o.label === undefined ? {} : { label: o.label };
    return ask.addAddress(index, { prefix: own, scope: o.scope, ...label }, o.link);
  });
  for (const { index, error } of rt.batch(requests)) {
    const fine = list[index]?.action === "add" ? "EEXIST" : "EADDRNOTAVAIL";
    if (error.errnoName !== fine) throw error;
  }
}

export class MachinePerformer implements Performer {
  readonly #namespace: Namespace | undefined;
  readonly #root: string;
  /** `root` stands for / where files are written. */
  constructor(namespace?: Namespace, root = "/") {
    this.#namespace = namespace;
    this.#root = root;
  }

  async perform(operations: readonly Operation[]): Promise<void> {
    const rt = openRtnetlink(this.#namespace);
    const body = (): void => {
      for (let i = 0; i < operations.length; ) {
        const batch: OperationOf<"address">[] = [];
        for (let o = operations[i]; o?.op === "address"; o = operations[++i]) batch.push(o);
        if (batch.length > 0) addresses(batch, rt);
        const o = operations[i++];
        if (o !== undefined)
          (performers[o.op] as (o: Operation, rt: Rtnetlink, root: string) => void)(o, rt, this.#root);
      }
    };
    try {
      if (this.#namespace === undefined) body();
      else this.#namespace.run(body);
    } finally {
      rt.close();
    }
  }
}
