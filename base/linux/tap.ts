// TAP devices: Ethernet frames of the host's own stack by descriptor. Needs CAP_NET_ADMIN, but for a device that was
// made for us to use. Frames have a virtio-net header of 10 bytes in front, both ways.
// Source: linux/if_tun.h. A device that is not persistent disappears with its last descriptor. Thread: any.
import { check, raw } from "./errno.js";
import { addressOf } from "./ffi.js";
import { closeFile, O_NONBLOCK, O_RDWR, openFile } from "./file.js";
import { cIoctl } from "./ioctl.js";
import { IFNAMSIZ, interfaceRequest } from "./net-device.js";

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TAP = 2;
const IFF_MULTI_QUEUE = 0x100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 1;
const TUN_F_TSO = 2 | 4 | 8;
const TUN_F_USO = 0x20 | 0x40;
const VNET_HEADER_SIZE = 10;

export interface TapOptions {
  /** At most 15 bytes. */
  readonly name: string;
  /** Whether frames have a virtio-net header in front. */
  readonly vnetHeader?: boolean;
  /** Descriptors, each with a queue of its own; 1 when absent. */
  readonly queues?: number;
  /** The device outlives its descriptors. */
  readonly persistent?: boolean;
}

/** Makes a TAP device, or takes one that is there and free, and returns its non-blocking descriptors. */
export function openTapQueues(options: TapOptions): number[] {
  const { name, vnetHeader = false, queues = 1, persistent = false } = options;
  const flags = IFF_TAP | IFF_NO_PI | (vnetHeader ? IFF_VNET_HDR : 0) | (queues > 1 ? IFF_MULTI_QUEUE : 0);
  const fds: number[] = [];
  try {
    for (let i = 0; i < queues; i++) {
      const fd = openFile("/dev/net/tun", O_RDWR | O_NONBLOCK);
      fds.push(fd);
      const request = interfaceRequest(name);
      new DataView(request.buffer).setUint16(IFNAMSIZ, flags, true);
      check(cIoctl(fd, TUNSETIFF, addressOf(request)), "ioctl(TUNSETIFF)", name);
      if (!vnetHeader) continue;
      const size = Int32Array.of(VNET_HEADER_SIZE);
      check(cIoctl(fd, TUNSETVNETHDRSZ, addressOf(size)), "ioctl(TUNSETVNETHDRSZ)", name);
    }
    const [first = -1] = fds;
    if (persistent) check(cIoctl(first, TUNSETPERSIST, 1), "ioctl(TUNSETPERSIST)", name);
  } catch (thrown) {
    for (const fd of fds) closeFile(fd);
    throw thrown;
  }
  return fds;
}

/** A TAP device with one queue and bare frames. */
export function openTap(name: string): number {
  return openTapQueues({ name })[0] as number;
}

/** What the host's stack may leave to whoever reads from the device. */
export interface TapOffloads {
  readonly checksum: boolean;
  readonly tso: boolean;
  readonly uso: boolean;
}

/** Asks for as many offloads as this kernel knows; returns which it has. The device has a virtio-net header. */
export function setTapOffloads(fd: number): TapOffloads {
  const choices = [TUN_F_CSUM | TUN_F_TSO | TUN_F_USO, TUN_F_CSUM | TUN_F_TSO, TUN_F_CSUM];
  for (const flags of choices) {
    if (raw(cIoctl(fd, TUNSETOFFLOAD, flags)) < 0) continue;
    return { checksum: true, tso: (flags & TUN_F_TSO) !== 0, uso: (flags & TUN_F_USO) !== 0 };
  }
  return { checksum: false, tso: false, uso: false };
}

/** False when the device was removed under its descriptor. It may have moved to another network namespace. */
export function isTapThere(fd: number): boolean {
  return cIoctl(fd, TUNGETIFF, addressOf(interfaceRequest(""))) === 0;
}

/** The device goes with its last descriptor. */
export function endTapPersistence(fd: number): void {
  cIoctl(fd, TUNSETPERSIST, 0);
}
