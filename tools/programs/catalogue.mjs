// Which programs Plinth runs or tests against, and the Debian package that brings each. Plain data, no dependencies:
// it is read before anything is installed.

/**
 * `module` is one of Debian's Python: its folder is looked for, and `program` is only what people are told.
 * @typedef {{ program: string, module?: string, package: string, service?: string, why: string }} Program
 */

/** What `npm start` needs. @type {Program[]} */
export const START_PROGRAMS = [
  { program: "qemu-system-x86_64", package: "qemu-system-x86", why: "runs the virtual machines" },
  { program: "setpriv", package: "util-linux", why: "ends a guest with the process that probes by it" },
  { program: "dpkg-deb", package: "dpkg", why: "unpacks the guest kernel and busybox" },
];

/** The guest's kernel comes from one of these: Debian's, Ubuntu's. It is downloaded, never installed. */
export const KERNEL_PACKAGES = ["linux-image-cloud-amd64", "linux-image-virtual"];

/** What the unit tests need besides, and with them `npm run ok`. @type {Program[]} */
export const UNIT_PROGRAMS = [
  { program: "cpio", package: "cpio", why: "reads our initramfs" },
  { program: "busybox", package: "busybox-static", why: "judges the guest's scripts" },
];

/** What the suites with real clients and VMs need besides. @type {Program[]} */
export const TEST_PROGRAMS = [
  { program: "qemu-img", package: "qemu-utils", why: "a volume client that we did not write" },
  { program: "qemu-io", package: "qemu-utils", why: "a volume client that we did not write" },
  {
    program: "ovs-vsctl",
    package: "openvswitch-switch",
    service: "openvswitch-switch",
    why: "drives our OVSDB",
  },
  { program: "ovs-ofctl", package: "openvswitch-common", why: "drives our OpenFlow" },
  {
    program: "ovs-vswitchd",
    package: "openvswitch-switch",
    service: "openvswitch-switch",
    why: "a real switch for our controller",
  },
  { program: "iperf3", package: "iperf3", why: "TCP and UDP streams through the switch" },
  { program: "ethtool", package: "ethtool", why: "sets devices as AF_XDP needs them" },
  { program: "ping", package: "iputils-ping", why: "asks whether an address is reached" },
  { program: "osken-manager", package: "python3-os-ken", why: "a controller that we did not write" },
  {
    program: "ovs-testcontroller",
    package: "openvswitch-testcontroller",
    service: "openvswitch-testcontroller",
    why: "a controller that we did not write",
  },
  {
    program: "ovsdbapp",
    module: "ovsdbapp",
    package: "python3-ovsdbapp",
    why: "drives our OVSDB as OpenStack does",
  },
  { program: "nbdinfo", package: "libnbd-bin", why: "drives our NBD" },
  { program: "nbdcopy", package: "libnbd-bin", why: "drives our NBD" },
  { program: "nbdsh", package: "python3-libnbd", why: "drives our NBD step by step" },
  { program: "nbd-client", package: "nbd-client", why: "the reference client of NBD" },
  { program: "nbdkit", package: "nbdkit", why: "the peer of the volume benches" },
  {
    program: "nbd-server",
    package: "nbd-server",
    service: "nbd-server",
    why: "a peer of the volume benches",
  },
  { program: "fio", package: "fio", why: "verifies what volumes hold" },
  { program: "dpdk-testpmd", package: "dpdk-dev", why: "drives vhost-user" },
  { program: "tshark", package: "tshark", why: "reads our captures" },
  { program: "capinfos", package: "wireshark-common", why: "judges our captures" },
  { program: "promtool", package: "prometheus", service: "prometheus", why: "judges our metrics" },
  { program: "debootstrap", package: "debootstrap", why: "a fresh machine to install on" },
  { program: "ip", package: "iproute2", why: "network namespaces of the tests" },
  { program: "syslinux", package: "syslinux", why: "makes a disk image that boots" },
  { program: "mcopy", package: "mtools", why: "fills a disk image" },
  { program: "mkfs.fat", package: "dosfstools", why: "formats a disk image" },
  { program: "mkfs.xfs", package: "xfsprogs", why: "makes and judges XFS on volumes" },
  { program: "mkfs.ext4", package: "e2fsprogs", why: "makes and judges ext4 on volumes" },
  { program: "stress-ng", package: "stress-ng", why: "loads file systems on volumes" },
];

/** Services that a package would start by itself; Plinth only wants the programs. */
export const UNWANTED_SERVICES = [
  "openvswitch-testcontroller",
  "openvswitch-switch",
  "ovs-vswitchd",
  "ovsdb-server",
  "nbd-client",
  "nbd-server",
  "ovs-record-hostname",
  "prometheus",
];
