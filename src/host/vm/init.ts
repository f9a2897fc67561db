/** Names of the three virtio-serial ports between the VM and us. */
export const portNames = { control: "vipward.control", stdout: "vipward.stdout", stderr: "vipward.stderr" } as const;

/** One call of mount(8) does it all: under emulation each program started costs 50 ms and more. */
export const mountTable = `proc /proc proc defaults
sysfs /sys sysfs defaults
devtmpfs /dev devtmpfs defaults
devpts /dev/pts devpts x-mount.mkdir
tmpfs /dev/shm tmpfs x-mount.mkdir
tmpfs /run tmpfs defaults
`;

/** The links every Linux has in /dev, which the kernel does not make. */
export const deviceLinks = { fd: "/proc/self/fd", stdin: "fd/0", stdout: "fd/1", stderr: "fd/2" } as const;

/**
 * The VM's first process. It says on the control port, a line each: `phase NAME`, `exit STATUS`. It takes from there:
 * a line with the length of the order, the order (see order.ts), the files. After that, anything more on the control
 * port, or its end because the program outside is gone, switches the VM off: a VM never outlives who started it.
 * Output passes through `cat`, since a port takes at most 32 KiB at a time and Node does not repeat a short write.
 * Each output ends with a mark that the order names, so that we know when all of it has arrived.
 */
export const initScript = `#!/bin/bash
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C TERM=dumb
mount -a
cp -a /etc/vipward/dev/. /dev/
echo 1 >/proc/sys/kernel/sysrq
off() { echo o >/proc/sysrq-trigger; sleep 60; }
fail() { echo "vipward-init: $*"; off; }

modprobe -a $(</etc/vipward/channel-modules)
port() {
  local tries dir name
  for ((tries = 0; tries < 200; tries++)); do
    for dir in /sys/class/virtio-ports/*; do
      if [[ -r $dir/name ]]; then
        read -r name <"$dir/name"
        if [[ $name == "$1" && -c /dev/\${dir##*/} ]]; then found=/dev/\${dir##*/}; return; fi
      fi
    done
    sleep 0.05
  done
  fail "no port $1"
}
port ${portNames.control}; exec 3<>"$found"
port ${portNames.stdout}; exec 4>"$found"
port ${portNames.stderr}; exec 5>"$found"
echo "phase modules" >&3
modprobe -a $(</etc/vipward/lab-modules)
ip link set lo up
echo "phase order" >&3

read -r -u 3 size || fail "no order"
head -c "$size" <&3 >/run/order
mapfile -d '' -t order </run/order
at=0
take() { taken=\${order[at]}; at=$((at + 1)); }
take; mark=$taken
take; cwd=$taken
take; count=$taken; argv=("\${order[@]:at:count}"); at=$((at + count))
take; count=$taken; environment=("\${order[@]:at:count}"); at=$((at + count))
take; count=$taken
for ((i = 0; i < count; i++)); do
  take; path=$taken; take; mode=$taken; take; size=$taken
  mkdir -p "\${path%/*}/"
  head -c "$size" <&3 >"$path" || fail "cannot write $path"
  chmod "$mode" "$path"
done
(head -c 1 <&3 >/dev/null; off) &

mkfifo /run/stdout /run/stderr
cat /run/stdout >&4 & outCat=$!
cat /run/stderr >&5 & errCat=$!
echo "phase run" >&3
(
  exec </dev/null >/run/stdout 2>/run/stderr 3>&- 4>&- 5>&-
  cd "$cwd" || exit 127
  for pair in "\${environment[@]}"; do export "$pair"; done
  exec "\${argv[@]}"
)
status=$?
# A program left behind in the background may hold the output open; it gets a moment, not for ever.
(sleep 3; kill "$outCat" "$errCat" 2>/dev/null) &
wait "$outCat" "$errCat"
printf '%s' "$mark" >&4
printf '%s' "$mark" >&5
echo "exit $status" >&3
sleep 3600
`;
