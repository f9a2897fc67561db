/** What brings a host's network up at boot, as far as running managers and files tell. Read by host/, used by keep.ts. */

export const managers = ["networkd", "netplan", "networkmanager", "ifupdown"] as const;
export type Manager = (typeof managers)[number];

/** Who has a link in hand. */
export interface ManagedLink {
  readonly by: Manager;
  /** networkd: base name of the .network file that it applies. NetworkManager: the profile's uuid. */
  readonly profile: string;
  /** Where that was read, for people. */
  readonly evidence: string;
}

export interface BootFacts {
  /** False in a network namespace that no boot makes. */
  readonly boots: boolean;
  readonly systemd: boolean;
  /** udev sets the sysctls of an interface that comes late. */
  readonly udev: boolean;
  readonly ifupdown: boolean;
  readonly managed: Readonly<Record<string, ManagedLink>>;
  /** The folder of which the host's nftables service loads each *.nft file, before any network. */
  readonly nftFolder?: string;
}

export const nothingKnown: BootFacts = { boots: true, systemd: false, udev: false, ifupdown: false, managed: {} };
