// From a machine's description to QEMU's arguments. Source: qemu(1), docs/system/invocation.rst.
// Invariant: every value that is not ours is escaped, so no name or path can add an option. Pure.
import { AGENT_PORT_NAME } from "../image/guest-files.js";
import {
  checkMachineSpec,
  type MachineBoot,
  type MachineDisk,
  type MachineInterface,
  type MachinePaths,
  type MachineSpec,
} from "./machine-spec.js";

/** A disk waits this long for its server to come back before the guest sees an error; a restart takes about a second. */
const DISK_RECONNECT_SECONDS = 3600;
const DISK_OPEN_SECONDS = 10;
/** Translated code of an emulated machine. QEMU's default of an eighth of the host's memory is meant for one machine. */
const TCG_BUFFER_MIB = 64;
const DISK_SERIAL_BYTES_MAX = 20;
/** Where QEMU finds the open image that it boots from. */
export const BOOT_DISK_FD = 3;

export type HostArchitecture = "x64" | "arm64";

/** The arguments (without the program) of QEMU for `spec`. Throws MACHINE_SPEC_INVALID. */
export function commandLine(
  spec: MachineSpec,
  paths: MachinePaths,
  architecture: HostArchitecture = "x64",
): string[] {
  checkMachineSpec(spec);
  return [
    ...["-name", optionList({ guest: spec.name, "debug-threads": "on" })],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...machineArguments(spec, architecture),
    ...consoleArguments(paths),
    ...bootArguments(spec, paths, architecture),
    ...spec.interfaces.flatMap((nic, index) => interfaceArguments(nic, index, spec, paths)),
    ...spec.disks.flatMap(diskArguments),
  ];
}

function machineArguments(spec: MachineSpec, architecture: HostArchitecture): string[] {
  const type =
    architecture === "arm64" ? "virt,gic-version=max" : "q35,usb=off,sata=off,smbus=off,vmport=off";
  const memory = `${spec.memoryBytes / 1024}K`;
  return [
    ...["-machine", `${type},memory-backend=memory`],
    ...["-accel", spec.accelerator === "kvm" ? "kvm" : `tcg,tb-size=${TCG_BUFFER_MIB}`],
    ...["-cpu", spec.accelerator === "kvm" ? "host" : "max"],
    ...["-smp", `cpus=${spec.cpus}`, "-m", `size=${memory}`],
    // Shared, since the switch reads frames out of the guest's own memory.
    ...["-object", `memory-backend-memfd,id=memory,size=${memory},share=on`],
    ...["-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random"],
  ];
}

function consoleArguments(paths: MachinePaths): string[] {
  const listen = (id: string, path: string, more: Record<string, string> = {}): string[] => [
    "-chardev",
    options("socket", { id, path, server: "on", wait: "off", ...more }),
  ];
  return [
    ...[...listen("qmp", paths.qmp), "-mon", "chardev=qmp,mode=control"],
    ...[
      ...listen("serial", paths.serial, { logfile: paths.serialLog, logappend: "on" }),
      "-serial",
      "chardev:serial",
    ],
    ...["-device", "virtio-serial-pci,id=ports,max_ports=2", ...listen("agent", paths.agent)],
    ...["-device", `virtserialport,bus=ports.0,chardev=agent,name=${AGENT_PORT_NAME}`],
  ];
}

/** Arguments of the guest's kernel: quiet, and what an emulated processor need not spend time on. */
function kernelArguments(
  boot: Extract<MachineBoot, { type: "kernel" }>,
  accelerator: MachineSpec["accelerator"],
  architecture: HostArchitecture,
): string {
  const console = architecture === "arm64" ? "ttyAMA0" : "ttyS0";
  const emulated = accelerator === "tcg" ? " mitigations=off no_timer_check cryptomgr.notests" : "";
  return `console=${console} quiet panic=1 random.trust_cpu=on${emulated} ${boot.arguments}`.trimEnd();
}

function bootArguments(spec: MachineSpec, paths: MachinePaths, architecture: HostArchitecture): string[] {
  const { boot } = spec;
  if (boot.type === "disk") {
    // Opened by us, since the machine's user may have no rights to the file or to the folders on the way to it.
    const descriptor = ["-add-fd", `fd=${BOOT_DISK_FD},set=${BOOT_DISK_FD}`];
    const file = `/dev/fdset/${BOOT_DISK_FD}`;
    const drive = { if: "none", id: "boot", file, format: boot.format, snapshot: "on" };
    return [...descriptor, "-drive", optionList(drive), "-device", "virtio-blk-pci,drive=boot,bootindex=0"];
  }
  return [
    ...["-kernel", paths.kernel],
    ...(boot.initramfs === undefined ? [] : ["-initrd", paths.initramfs]),
    ...["-append", kernelArguments(boot, spec.accelerator, architecture)],
  ];
}

function interfaceArguments(
  nic: MachineInterface,
  index: number,
  spec: MachineSpec,
  paths: MachinePaths,
): string[] {
  const id = `net${index}`;
  const path = paths.network(index);
  // `romfile=` leaves out the network boot program. Without vectors the guest takes the one interrupt line that a
  // vhost-user backend can raise under emulation.
  const vectors = spec.accelerator === "tcg" && nic.backend === "vhost-user" ? { vectors: "0" } : {};
  const device = { id: `nic${index}`, netdev: id, mac: nic.macAddress, romfile: "", ...vectors };
  const backend =
    nic.backend === "vhost-user"
      ? [
          ...["-chardev", options("socket", { id: `${id}c`, path, server: "on", wait: "off" })],
          ...["-netdev", options("vhost-user", { id, chardev: `${id}c` })],
        ]
      : ["-netdev", options("stream", { id, server: "on", "addr.type": "unix", "addr.path": path })];
  return [...backend, "-device", options("virtio-net-pci", device)];
}

function diskArguments(disk: MachineDisk, index: number): string[] {
  const node = {
    driver: "nbd",
    "node-name": `disk${index}`,
    "server.type": "unix",
    "server.path": disk.socket,
    export: disk.exportName,
    "read-only": disk.readOnly ? "on" : "off",
    discard: "unmap",
    "reconnect-delay": String(DISK_RECONNECT_SECONDS),
    "open-timeout": String(DISK_OPEN_SECONDS),
  };
  const device = {
    id: `blk${index}`,
    drive: `disk${index}`,
    serial: Buffer.from(disk.name).subarray(0, DISK_SERIAL_BYTES_MAX).toString("latin1"),
    // A full pool stops the machine instead of telling the guest's file system that its disk is broken.
    werror: "enospc",
    rerror: "report",
  };
  return ["-blockdev", optionList(node), "-device", options("virtio-blk-pci", device)];
}

function options(type: string, values: Readonly<Record<string, string>>): string {
  return `${type},${optionList(values)}`;
}

/** key=value pairs; a comma in a value is doubled (qemu(1), -drive file=). */
function optionList(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${value.replaceAll(",", ",,")}`)
    .join(",");
}
