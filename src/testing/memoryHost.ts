import type { FilterChainFacts, HostFacts } from "../model/facts.ts";
import type { FileState, World } from "../plan/host.ts";
import { readNftTable } from "../plan/nftRead.ts";
import type { Operation } from "../plan/operation.ts";
import type { ApplyPorts } from "../ports/apply.ts";

/** What a killed process sees: nothing it calls returns any more. */
export class Killed extends Error {}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * A host in memory that understands operations, written apart from the changes' own effects: what a change says it will
 * do is held against what its operations do here. `fuel` counts the calls until the process is killed; half a call is
 * killed before its work, half after.
 */
export class MemoryHost {
  facts: Mutable<HostFacts>;
  files: Record<string, FileState>;
  journal = new Uint8Array();
  locked = false;
  nowMs = 1_000_000;
  confirmations = new Set<number>();
  /** Calls left; every port call takes one before its work and one after. */
  fuel = Number.POSITIVE_INFINITY;
  calls = 0;
  /** Octets of the last append that reach the disk when the process dies in it. */
  tearAt: number | undefined;
  writes = 0;
  /** Refuses these, as a kernel might. */
  refuse: (operation: Operation) => string | undefined = () => undefined;
  onSleep: () => void = () => undefined;

  constructor(facts: HostFacts) {
    this.facts = structuredClone(facts);
    this.files = {};
  }

  /** A new process: lock and fuel are fresh, the machine and the disk as they were. */
  restart(): void {
    this.locked = false;
    this.fuel = Number.POSITIVE_INFINITY;
    this.tearAt = undefined;
  }

  #burn(): void {
    this.calls++;
    if (this.fuel <= 0) throw new Killed();
    this.fuel--;
  }

  ports(): ApplyPorts {
    return {
      performer: {
        perform: async (operations) => {
          for (const operation of operations) {
            this.#burn();
            const why = this.refuse(operation);
            if (why !== undefined) throw new Error(why);
            this.writes++;
            this.#do(operation);
            this.#burn();
          }
        },
      },
      reader: { read: async (paths) => this.#read(paths) },
      journal: {
        load: async () => {
          this.#burn();
          return this.journal.slice();
        },
        append: async (octets) => {
          this.writes++;
          if (this.fuel <= 0 && this.tearAt !== undefined) this.#write(octets.slice(0, this.tearAt));
          this.#burn();
          this.#write(octets);
          this.#burn();
        },
        replace: async (octets) => {
          this.#burn();
          this.writes++;
          this.journal = octets.slice();
          this.#burn();
        },
      },
      lock: {
        acquire: async () => {
          this.#burn();
          if (this.locked) return undefined;
          this.locked = true;
          return async () => {
            this.locked = false;
          };
        },
      },
      clock: {
        nowMs: () => this.nowMs,
        sleep: async (durationMs) => {
          this.#burn();
          this.nowMs += durationMs;
          this.onSleep();
        },
      },
      confirmations: {
        confirmed: async (run) => this.confirmations.has(run),
        confirm: async (run) => void this.confirmations.add(run),
      },
    };
  }

  #write(octets: Uint8Array): void {
    const longer = new Uint8Array(this.journal.length + octets.length);
    longer.set(this.journal);
    longer.set(octets, this.journal.length);
    this.journal = longer;
  }

  #read(paths: readonly string[]): World {
    this.#burn();
    const files = Object.fromEntries(paths.map((p) => [p, this.files[p] ?? null]));
    return { facts: structuredClone(this.facts), files };
  }

  #do(o: Operation): void {
    const f = this.facts;
    switch (o.op) {
      case "sysctl": {
        const [, , kind, link, file] = o.path;
        const name =
          o.path.length === 3 ? String(kind) : kind === "neigh" ? `neigh.${link}.${file}` : `${link}.${file}`;
        if (o.path.length > 3 && link !== "all" && link !== "default" && !f.links.some((l) => l.name === link))
          throw new Error(`no ${o.path.join("/")}`);
        f.sysctls = { ...f.sysctls, [name]: Number(o.value) };
        return;
      }
      case "link-create":
        if (!f.links.some((l) => l.name === o.name)) this.#addLink(o.name, o.type, ["BROADCAST", "NOARP"]);
        return;
      case "link-delete":
        this.#removeLink(o.name);
        return;
      case "link-set":
        f.links = f.links.map((l) => {
          if (l.name !== o.name) return l;
          const flags = l.flags.filter(
            (x) => (o.up === undefined || (x !== "UP" && x !== "LOWER_UP")) && (o.noarp === undefined || x !== "NOARP"),
          );
          if (o.up) flags.push("UP", "LOWER_UP");
          if (o.noarp) flags.push("NOARP");
          return { ...l, flags };
        });
        return;
      case "address": {
        const there = f.addresses.some((a) => a.link === o.link && a.ip === o.ip);
        if (o.action === "delete") f.addresses = f.addresses.filter((a) => a.link !== o.link || a.ip !== o.ip);
        else if (!there) {
          const { op: _, action: __, ...address } = o;
          const order = f.links.map((l) => l.name);
          f.addresses = [...f.addresses, address].sort((a, b) => order.indexOf(a.link) - order.indexOf(b.link));
        }
        return;
      }
      case "route":
        f.routes = f.routes.filter((r) => r.dst !== o.route.dst || r.dev !== o.route.dev);
        if (o.action === "add") f.routes = [...f.routes, o.route];
        return;
      case "neighbour":
        f.neighbours = f.neighbours.filter((n) => n.ip !== o.ip);
        if (o.action === "set" && o.mac !== undefined)
          f.neighbours = [...f.neighbours, { link: o.link, ip: o.ip, mac: o.mac, state: "STALE" }];
        return;
      case "module": {
        f.modules = (f.modules ?? []).filter((m) => m !== o.name);
        if (o.action === "load") {
          f.modules = [...f.modules, o.name];
          if (o.name === "ipip" && !f.links.some((l) => l.name === "tunl0")) this.#addLink("tunl0", "ipip", ["NOARP"]);
        } else if (o.name === "ipip") this.#removeLink("tunl0");
        return;
      }
      case "nft":
        this.#nft(o.commands);
        return;
      case "rule":
        this.#rule(o);
        return;
      case "file":
        this.files[o.path] = o.content;
        return;
    }
  }

  #addLink(name: string, kind: string, flags: ("BROADCAST" | "NOARP")[]): void {
    const f = this.facts;
    const ifindex = Math.max(...f.links.map((l) => l.ifindex)) + 1;
    f.links = [...f.links, { ifindex, name, kind, flags, mac: null, ...(kind === "ipip" ? { mtu: 1480 } : {}) }];
    const born = Object.entries(f.sysctls).flatMap(([k, v]) =>
      k.startsWith("default.") ? [[k.replace("default", name), v] as const] : [],
    );
    f.sysctls = { ...f.sysctls, ...Object.fromEntries(born) };
  }

  #removeLink(name: string): void {
    const f = this.facts;
    f.links = f.links.filter((l) => l.name !== name);
    f.addresses = f.addresses.filter((a) => a.link !== name);
    f.routes = f.routes.filter((r) => r.dev !== name);
    f.sysctls = Object.fromEntries(Object.entries(f.sysctls).filter(([k]) => !k.startsWith(`${name}.`)));
  }

  #nft(commands: readonly unknown[]): void {
    const objects: Record<string, unknown>[] = [];
    let named = { family: "", name: "" };
    let gone = false;
    for (const c of commands as { add?: Record<string, unknown>; delete?: Record<string, unknown> }[]) {
      if (c.add?.table) named = c.add.table as typeof named;
      if (c.add) objects.push(c.add);
      if (c.delete) {
        gone = true;
        objects.length = 0;
      } else gone = false;
    }
    const others = this.facts.filters.filter((x) => x.family !== named.family || x.table !== named.name);
    const chains = gone ? [] : readNftTable(named.family as "arp" | "ip", named.name, objects);
    this.facts.filters = [...others, ...chains];
  }

  /** Rules are kept by their words: enough to see them come and go, and for the model to say that it cannot read them. */
  #rule(o: Extract<Operation, { op: "rule" }>): void {
    const text = o.spec.join(" ");
    const family = o.program === "arptables" ? "arp" : "ip";
    const others = this.facts.filters.filter((x) => x.chain !== o.chain || x.tool !== o.program);
    const chain = this.facts.filters.find((x) => x.chain === o.chain && x.tool === o.program);
    const rules = (chain?.rules ?? []).filter((r) => !("notUnderstood" in r) || r.notUnderstood !== text);
    if (o.action === "add") rules.push({ notUnderstood: text });
    const made: FilterChainFacts = {
      tool: o.program as "iptables",
      family,
      table: o.table,
      chain: o.chain,
      hook: o.chain === "INPUT" ? "input" : o.chain === "OUTPUT" ? "output" : "prerouting",
      rules,
    };
    this.facts.filters = rules.length === 0 ? others : [...others, made];
  }
}
