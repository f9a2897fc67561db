import type { HostDraft } from "../host.ts";
import type { ChangeKind } from "../kind.ts";

export interface ModuleChange {
  readonly kind: "module";
  readonly name: string;
  /** True: loaded, or built in. */
  readonly before: boolean;
  readonly after: boolean;
}

/** The device that a module brings, which also proves a built-in one that no list names. */
const brings: Readonly<Record<string, string>> = { ipip: "tunl0" };
/** dummy makes a dummy0 nobody asked for unless told not to. */
const parameters: Readonly<Record<string, string>> = { dummy: "numdummies=0" };

export const moduleThere = (name: string, host: HostDraft): boolean => {
  const device = brings[name];
  return host.modules?.includes(name) === true || (device !== undefined && host.link(device) !== undefined);
};

export const module: ChangeKind<ModuleChange> = {
  key: (c) => `module ${c.name}`,
  describe: (c) => `${c.after ? "load" : "unload"} the kernel module ${c.name}`,
  phase: (c) => (c.after ? "prepare" : "clear"),
  operations: (c) => [
    { op: "module", action: c.after ? "load" : "unload", name: c.name, parameters: parameters[c.name] ?? "" },
  ],
  current: (c, host) => moduleThere(c.name, host),
  effect: (c, host) => {
    const device = brings[c.name];
    if (c.after) {
      host.modules?.push(c.name);
      if (device !== undefined && host.link(device) === undefined)
        host.addLink({
          ifindex: host.freeIfindex(),
          name: device,
          kind: c.name,
          flags: ["NOARP"],
          mac: null,
          mtu: 1480,
        });
      return;
    }
    host.modules = host.modules?.filter((m) => m !== c.name);
    if (device !== undefined) host.removeLink(device);
  },
  conflicts: () => [],
  lasting: false,
};
