import { portNames } from "./init.ts";

export type Accelerator = "tcg" | "kvm";

export interface MachineShape {
  readonly accelerator: Accelerator;
  readonly kernelPath: string;
  readonly imagePath: string;
  readonly memoryMib: number;
  readonly cpus: number;
}

/**
 * Without hardware help QEMU translates each instruction, so every check the kernel makes costs. Measured under TCG:
 * the emulated SMAP and fast-string flags cost a fifth of the time of each system call and half of each large copy;
 * Node's first start takes twice as long on the plain `qemu64` model. A VM for one run has nobody to be safe from.
 */
const cpuModel: Readonly<Record<Accelerator, string>> = { tcg: "max,-smap,-smep,-erms,-fsrm", kvm: "host" };
const acceleration: Readonly<Record<Accelerator, string>> = { tcg: "tcg,thread=multi", kvm: "kvm" };

export const kernelCommandLine = [
  "console=ttyS0",
  "loglevel=4",
  "panic=2", // seconds, in which QEMU hands on what the console said; with -no-reboot it then ends, and we learn of it
  "mitigations=off",
  "nokaslr",
  "init_on_alloc=0",
  "audit=0",
  "lsm=",
  "nowatchdog",
  "preempt=none",
  "tsc=reliable",
  "no_timer_check",
  "cryptomgr.notests",
  "random.trust_cpu=on",
  "rcupdate.rcu_expedited=1", // namespaces and links go away without waiting a grace period each
].join(" ");

/** File descriptors which QEMU inherits, one socket for each port. */
export const portDescriptors = { control: 3, stdout: 4, stderr: 5 } as const;

/** QEMU's arguments. The console is QEMU's standard output; the ports are inherited sockets, so no file is needed. */
export function qemuArguments(shape: MachineShape): string[] {
  const ports = (["control", "stdout", "stderr"] as const).flatMap((port) => [
    "-chardev",
    `socket,id=${port},fd=${portDescriptors[port]}`,
    "-device",
    `virtserialport,chardev=${port},name=${portNames[port]}`,
  ]);
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...["-machine", "pc,usb=off,vmport=off", "-accel", acceleration[shape.accelerator]],
    ...["-cpu", cpuModel[shape.accelerator], "-smp", String(shape.cpus), "-m", `${shape.memoryMib}M`],
    // A comma ends an option's value in QEMU, but not in these three.
    ...["-kernel", shape.kernelPath, "-initrd", shape.imagePath, "-append", kernelCommandLine],
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    ...["-device", "virtio-serial-pci", ...ports],
  ];
}
