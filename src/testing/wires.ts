import { execFileSync } from "node:child_process";
import { createNamespace, type Namespace, removeNamespace } from "../host/namespace.ts";

/** Namespaces on one switch, for tests: machine `name` has `eth0`; the switch is a bridge in a namespace of its own. */
export interface Wires {
  readonly switch: Namespace;
  machine(name: string): Namespace;
  /** Runs a program inside, with arguments as they are. */
  run(name: string, command: string, ...args: string[]): string;
  /** Takes everything away; harmless when called twice. */
  close(): void;
}

const runIn = (namespace: Namespace, command: string, args: readonly string[], input?: string): string =>
  namespace.run(() =>
    execFileSync(command, args, {
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
      ...(input !== undefined && { input }),
    }),
  );

/** `machines` maps a name to its `ip` batch lines, run when eth0 is there and before it goes up. */
export function buildWires(prefix: string, machines: Readonly<Record<string, readonly string[]>>): Wires {
  const made: Namespace[] = [];
  const close = (): void => {
    for (const namespace of made.splice(0)) {
      namespace.close();
      removeNamespace(namespace.name);
    }
  };
  const make = (name: string): Namespace => {
    const namespace = createNamespace(`${prefix}${name}`);
    made.push(namespace);
    return namespace;
  };
  try {
    const fabric = make("switch");
    const places = new Map<string, Namespace>();
    runIn(fabric, "ip", ["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
    runIn(fabric, "ip", ["link", "set", "br0", "up"]);
    let number = 0;
    for (const [name, lines] of Object.entries(machines)) {
      const port = `p${++number}`;
      const machine = make(name);
      places.set(name, machine);
      const mac = `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`;
      runIn(machine, "ip", [
        "link",
        "add",
        "eth0",
        "address",
        mac,
        "type",
        "veth",
        "peer",
        "name",
        port,
        "netns",
        fabric.name,
      ]);
      runIn(fabric, "ip", ["-batch", "-"], `link set ${port} master br0\nlink set ${port} up\n`);
      runIn(machine, "ip", ["-batch", "-"], ["link set lo up", ...lines, "link set eth0 up", ""].join("\n"));
    }
    const machine = (name: string): Namespace => {
      const found = places.get(name);
      if (found === undefined) throw new RangeError(`no machine ${name}`);
      return found;
    };
    return { switch: fabric, machine, run: (name, command, ...args) => runIn(machine(name), command, args), close };
  } catch (error) {
    close();
    throw error;
  }
}
