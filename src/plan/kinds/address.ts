import type { ChangeKind } from "../kind.ts";

/** Always a /32: a shorter prefix on lo makes the whole subnet local (A-2.2-05), on a NIC it may win select() (B-2.6-06). */
export interface AddressState {
  readonly prefixLength: number;
  /** Scope number of rtnetlink(7). */
  readonly scope: number;
  readonly label?: string;
}

export interface AddressChange {
  readonly kind: "address";
  readonly link: string;
  readonly ip: string;
  readonly before: AddressState | null;
  readonly after: AddressState | null;
}

/** Shows in `ip address` whose it is; the kernel allows 15 characters. */
export function labelOf(link: string): string | undefined {
  const label = `${link}:vipward`;
  return label.length <= 15 ? label : undefined;
}

export const address: ChangeKind<AddressChange> = {
  key: (c) => `address ${c.link} ${c.ip}`,
  describe: (c) =>
    c.after === null ? `remove ${c.ip} from ${c.link}` : `add ${c.ip}/${c.after.prefixLength} to ${c.link}`,
  phase: (c) => (c.after === null ? "disappear" : "appear"),
  operations: (c) => {
    const state = c.after ?? c.before;
    if (state === null) return [];
    return [
      {
        op: "address",
        action: c.after === null ? "delete" : "add",
        link: c.link,
        ip: c.ip,
        prefixLength: state.prefixLength,
        scope: state.scope,
        ...(state.label === undefined ? {} : { label: state.label }),
      },
    ];
  },
  current: (c, host) => {
    const found = host.address(c.link, c.ip);
    if (found === undefined) return null;
    // The kernel labels every address; the link's own name says nothing.
    const label = found.label === undefined || found.label === c.link ? {} : { label: found.label };
    const state = { prefixLength: found.prefixLength, scope: found.scope };
    // A label decides nothing, and not every boot system can give one: without it the address is the same address.
    const same = [c.after, c.before].find((s) => s?.prefixLength === state.prefixLength && s.scope === state.scope);
    return same ?? { ...state, ...label };
  },
  effect: (c, host) => {
    if (c.before !== null) host.removeAddress(c.link, c.ip);
    if (c.after !== null) host.addAddress({ link: c.link, ip: c.ip, ...c.after });
  },
  conflicts: (c, host) => {
    if (host.link(c.link) === undefined) return [`there is no interface ${c.link} to hold ${c.ip}`];
    const found = host.address(c.link, c.ip);
    if (c.after !== null && found !== undefined && found.prefixLength !== 32)
      return [
        `${c.link} holds ${c.ip}/${found.prefixLength}, which vipward did not add; as /32 it would do no harm ` +
          `(A-2.2-05): \`ip address delete ${c.ip}/${found.prefixLength} dev ${c.link}\` first`,
      ];
    return [];
  },
  lasting: false,
};
