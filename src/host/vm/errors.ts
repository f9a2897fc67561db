import { HostError } from "../errors.ts";

/** What can go wrong between "run this in the VM" and its exit status: code -> remedy. Messages name the particulars. */
const remedies = {
  "vm/qemu-missing": "install QEMU: `apt-get install --no-install-recommends qemu-system-x86`",
  "vm/tool-missing": "install the package named in the message, or use the backend `netns`",
  "vm/architecture": "use the backend `netns`: the VM is made for x86-64 only",
  "vm/kernel-missing": "set VIPWARD_KERNEL to a folder with boot/vmlinuz-* and lib/modules/* of a kernel with IPVS",
  "vm/kernel-download":
    "check the network and `apt-get update`, or set VIPWARD_KERNEL to a folder with an unpacked kernel",
  "vm/not-built": "build first: `npm run build`",
  "vm/boot": "read the console lines below; VIPWARD_KERNEL chooses another kernel, VIPWARD_ACCELERATOR=tcg avoids KVM",
  "vm/panic": "read the console lines below; VIPWARD_KERNEL chooses another kernel",
  "vm/died": "read the console lines below; another program may have ended QEMU, or memory ran out",
  "vm/stalled": "is the machine overloaded? Raise the stall limit, or set VIPWARD_ACCELERATOR=tcg if KVM is in use",
  "vm/timeout": "raise the time limit, or give the VM less to do",
  "vm/aborted": "nothing is left behind; start again when you like",
} as const;

export type VmErrorCode = keyof typeof remedies;

/** The VM failed, not the command in it. `consoleTail`: the last lines of the console, oldest first. */
export class VmError extends HostError {
  override readonly name = "VmError";
  readonly consoleTail: readonly string[];
  constructor(code: VmErrorCode, message: string, consoleTail: readonly string[] = [], cause?: unknown) {
    const tail =
      consoleTail.length === 0 ? "" : `\nconsole's last lines:\n${consoleTail.map((l) => `  ${l}`).join("\n")}`;
    super(code, message + tail, { remedy: remedies[code], cause });
    this.consoleTail = consoleTail;
  }
}
