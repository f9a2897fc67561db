/** What packs a client's packets on their way to a real server (LVS/TUN), as the cluster file has it. */
export interface TunnelView {
  readonly type: "ipip" | "gue" | "gre";
  /** For gue. */
  readonly port: number | undefined;
  readonly checksum: "none" | "checksum" | "remote";
}
