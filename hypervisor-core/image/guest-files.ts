// The text files of the guest image: what runs inside a guest of ours, from its first process on.
// They are written for busybox ash and its applets only. Per-machine facts come in /etc/plinth (guest-seed.ts).
//
//   /init ─ modules, names, network ─▶ exec init ─┬─ agent (commands of the host over virtio-serial)
//                                                 ├─ shell on ttyS0
//                                                 ├─ acpid (power button → /etc/acpi/PWRF/00000080)
//                                                 └─ user data, once the interfaces have addresses

/** Printed on the console when the accelerator probe asked for nothing else (kernel argument plinth.probe). */
export const PROBE_MARKER = "PLINTH-PROBE-PASSED";
/** Printed on the console when the agent can be reached and the interfaces exist. */
export const READY_MARKER = "PLINTH-GUEST-READY";
/** Restarts the guest in an orderly way: programs are told, file systems are left clean. */
export const REBOOT_PROGRAM = "/etc/reboot";
/** Name of the virtio-serial port of the agent. */
export const AGENT_PORT_NAME = "plinth.agent";

const INIT = `#!/bin/sh
export PATH=/bin HOME=/root TERM=vt100
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
case " $(cat /proc/cmdline) " in *" plinth.probe "*)
  echo ${PROBE_MARKER}
  poweroff -f
esac
while read -r module; do insmod /lib/modules/$module; done </lib/modules/early
mkdir -p /dev/pts /dev/shm /dev/disk /run/exec
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
[ -r /etc/plinth/hostname ] && hostname -F /etc/plinth/hostname
exec /bin/init
`;

const INITTAB = `::sysinit:/etc/start
::respawn:/etc/agent
ttyS0::respawn:-/bin/sh
::once:/etc/late
::ctrlaltdel:${REBOOT_PROGRAM}
`;

/** Names, addresses, disks: everything the agent's first command may rely on. */
const START = `#!/bin/sh
# What stays needs a session of its own: init hangs up the terminal of a script that ended.
# Interfaces get the names of the specification, found by hardware address. Two passes, since names may swap.
name_of() { while read -r mac name; do [ "$mac" = "$1" ] && echo $name; done </etc/plinth/interfaces; }
ip link set lo up
i=0
for d in /sys/class/net/*; do
  old=\${d##*/}
  [ $old = lo ] && continue
  ip link set $old name plinth$i
  i=$((i + 1))
done
for d in /sys/class/net/plinth*; do
  [ -r $d/address ] || continue
  read -r mac <$d/address
  name=$(name_of $mac)
  ip link set \${d##*/} name \${name:-eth\${d##*/plinth}}
done
for d in /sys/class/net/*; do
  name=\${d##*/}
  [ $name = lo ] && continue
  ip link set $name up
  setsid udhcpc -f -S -i $name -s /etc/udhcpc -O mtu -O staticroutes -x hostname:$(hostname) -T 1 -t 8 -A 1 \\
    >/run/udhcpc.$name.log 2>&1 </dev/null &
done
for d in /sys/block/vd*; do
  [ -r $d/serial ] || continue
  IFS= read -r serial <$d/serial || [ -n "$serial" ] || continue
  ln -sf ../\${d##*/} /dev/disk/$serial
done
echo ${READY_MARKER}
`;

const LATE = `#!/bin/sh
while read -r module; do insmod /lib/modules/$module; done </lib/modules/late 2>/dev/null
setsid acpid -f -l /dev/null -c /etc/acpi >/dev/null 2>&1 </dev/null &
[ -s /etc/plinth/user-data ] || exit 0
n=0
while [ $n -lt 150 ]; do
  waiting=
  for d in /sys/class/net/*; do
    name=\${d##*/}
    [ $name = lo ] || [ -e /run/lease.$name ] || waiting=$name
  done
  [ -z "$waiting" ] && break
  usleep 100000
  n=$((n + 1))
done
cp /etc/plinth/user-data /run/user-data
chmod 755 /run/user-data
cd /root
case "$(head -c 2 /run/user-data)" in
  '#!') setsid /run/user-data ;;
  *) setsid sh /run/user-data ;;
esac >/run/user-data.log 2>&1 </dev/null
echo $? >/run/user-data.exit
`;

const UDHCPC = `#!/bin/sh
# Called by udhcpc with the lease in the environment (busybox: examples/udhcp/simple.script names the variables).
case "$1" in
deconfig)
  rm -f /run/lease.$interface
  ifconfig $interface 0.0.0.0 up
  ;;
bound | renew)
  [ -n "$mtu" ] && ip link set $interface mtu $mtu
  ifconfig $interface $ip netmask \${subnet:-255.255.255.0} \${broadcast:+broadcast $broadcast}
  read -r index </sys/class/net/$interface/ifindex
  while ip route del default dev $interface 2>/dev/null; do :; done
  for gateway in $router; do ip route add default via $gateway dev $interface metric $index; done
  set -- $staticroutes
  while [ $# -ge 2 ]; do
    ip route replace $1 via $2 dev $interface 2>/dev/null
    shift 2
  done
  : >/run/resolv.$interface
  [ -n "$domain" ] && echo "search $domain" >>/run/resolv.$interface
  for server in $dns; do echo "nameserver $server" >>/run/resolv.$interface; done
  cat /run/resolv.* >/etc/resolv.conf
  echo "$ip/\${mask:-24}" >/run/lease.$interface
  ;;
esac
`;

/**
 * The command agent; the protocol is in guest/exec-wire.ts. Writing to the port blocks until a host listens, so an
 * agent without a host costs nothing. Replies are written whole, under a lock, because commands run side by side.
 */
const AGENT = `#!/bin/sh
port=
while [ -z "$port" ]; do
  for d in /sys/class/virtio-ports/*; do
    [ -r $d/name ] || continue
    read -r name <$d/name
    [ "$name" = ${AGENT_PORT_NAME} ] && port=/dev/\${d##*/}
  done
  [ -n "$port" ] || usleep 100000
done
run() {
  d=/run/exec/$1
  base64 -d <$d/command64 >$d/command
  base64 -d <$d/input64 >$d/input
  mkfifo $d/output.pipe $d/error.pipe
  for s in output error; do
    (
      (ulimit -f $3; exec cat >$d/$s)
      : >$d/$s.end
      cat >/dev/null
    ) <$d/$s.pipe 2>/dev/null 3>&- &
  done
  (cd /root; exec setsid sh $d/command <$d/input >$d/output.pipe 2>$d/error.pipe 3>&-) &
  command=$!
  setsid sh -c "sleep $2; : >$d/expired; kill -9 -$command" </dev/null >/dev/null 2>&1 3>&- &
  watchdog=$!
  wait $command
  code=$?
  kill -9 -$watchdog 2>/dev/null
  # What the command left running may hold its output open; that is no reason to wait for it.
  n=0
  while [ $n -lt 50 ] && ! { [ -e $d/output.end ] && [ -e $d/error.end ]; }; do
    usleep 10000
    n=$((n + 1))
  done
  [ -e $d/expired ] && expired=1 || expired=0
  {
    echo "S $1 $code $expired"
    base64 -w 1024 $d/output | sed "s/^/O $1 /"
    base64 -w 1024 $d/error | sed "s/^/E $1 /"
    echo "Z $1"
  } >$d/reply
  until mkdir /run/agent.lock 2>/dev/null; do usleep 10000; done
  cat $d/reply >&3
  rmdir /run/agent.lock
  rm -rf $d
}
exec 3<>$port
rm -rf /run/agent.lock
while :; do
  echo "H" >&3
  while read -r -u 3 kind id a b; do
    case "$kind" in
    X) rm -rf /run/exec/$id; mkdir -p /run/exec/$id; d=/run/exec/$id
       echo "$a $b" >$d/limits; : >$d/command64; : >$d/input64 ;;
    C) [ -d /run/exec/$id ] && echo "$a" >>/run/exec/$id/command64 ;;
    I) [ -d /run/exec/$id ] && echo "$a" >>/run/exec/$id/input64 ;;
    G) [ -r /run/exec/$id/limits ] && read -r seconds blocks </run/exec/$id/limits &&
         run $id $seconds $blocks >/dev/null 2>&1 & ;;
    esac
  done
done
`;

const power = (verb: "poweroff" | "reboot"): string => `#!/bin/sh
kill -TERM -1
usleep 200000
sync
umount -a -r 2>/dev/null
${verb} -f
`;

const PROFILE = `export PATH=/bin PS1='\\h:\\w\\$ '
cd /root
[ -r /etc/motd ] && cat /etc/motd
`;

const MOTD = "A guest of Plinth: busybox, `ip`, `wget`, `nc`, `mke2fs`. Press Enter for a prompt.\n";

export interface GuestFile {
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/** Everything but the binary, the modules and the symbolic links; its text is part of the image's content key. */
export const GUEST_FILES: readonly GuestFile[] = [
  { path: "init", mode: 0o755, text: INIT },
  { path: "etc/inittab", mode: 0o644, text: INITTAB },
  { path: "etc/start", mode: 0o755, text: START },
  { path: "etc/late", mode: 0o755, text: LATE },
  { path: "etc/udhcpc", mode: 0o755, text: UDHCPC },
  { path: "etc/agent", mode: 0o755, text: AGENT },
  { path: REBOOT_PROGRAM.slice(1), mode: 0o755, text: power("reboot") },
  { path: "etc/acpi/PWRF/00000080", mode: 0o755, text: power("poweroff") },
  { path: "etc/profile", mode: 0o644, text: PROFILE },
  { path: "etc/motd", mode: 0o644, text: MOTD },
  {
    path: "etc/passwd",
    mode: 0o644,
    text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
  },
  { path: "etc/group", mode: 0o644, text: "root:x:0:\nnogroup:x:65534:\n" },
  { path: "etc/hosts", mode: 0o644, text: "127.0.0.1 localhost\n" },
  { path: "etc/plinth/interfaces", mode: 0o644, text: "" },
];

/** Directories of the image, parents first. */
export const GUEST_DIRECTORIES = [
  "bin",
  "dev",
  "etc",
  "etc/acpi",
  "etc/acpi/PWRF",
  "etc/plinth",
  "lib",
  "lib/modules",
  "mnt",
  "proc",
  "root",
  "run",
  "sys",
  "tmp",
  "usr",
  "var",
  "var/www",
] as const;

/** Symbolic links besides the applets: everything that looks for a program finds /bin. */
export const GUEST_LINKS: readonly { readonly path: string; readonly target: string }[] = [
  { path: "sbin", target: "bin" },
  { path: "usr/bin", target: "../bin" },
  { path: "usr/sbin", target: "../bin" },
  { path: "var/run", target: "../run" },
];
