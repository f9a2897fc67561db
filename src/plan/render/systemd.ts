import { HEADER, type Renderer, text } from "./render.ts";
import { bootScript } from "./shell.ts";

export const SCRIPT = "/etc/vipward/boot.sh";
export const UNIT_NAME = "vipward-vips.service";
export const UNIT = `/etc/systemd/system/${UNIT_NAME}`;
export const WANTED = `/etc/systemd/system/multi-user.target.wants/${UNIT_NAME}`;
/** How long a boot may take to bring the interfaces that must be silent first. */
export const WAIT_S = 30;

export const UNIT_FILES = [SCRIPT, UNIT, WANTED];

/**
 * The safe default: a unit that makes it all again early, silence before VIP, whatever else manages the network. Where
 * the silence is an nft table, what reloads or restarts nftables flushes it, so the unit goes along.
 */
export const systemd: Renderer = (changes) => {
  const follows = changes.some((c) => c.kind === "nftTable")
    ? ["PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service"]
    : [];
  const unit = text([
    HEADER,
    "[Unit]",
    "Description=vipward: VIPs of this real server, silent on ARP",
    "After=systemd-sysctl.service systemd-modules-load.service network-pre.target nftables.service",
    "Before=network-online.target",
    ...follows,
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    `ExecStart=/bin/sh ${SCRIPT} ${WAIT_S}`,
    `ExecReload=/bin/sh ${SCRIPT}`,
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ]);
  const script = bootScript(changes);
  return {
    files: [
      { path: SCRIPT, text: script.text, mode: 0o755 },
      { path: UNIT, text: unit, mode: 0o644 },
    ],
    notCovered: script.notCovered,
  };
};
