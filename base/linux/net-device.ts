// Network devices of the host by name: what they are and how they are set. Changing one needs CAP_NET_ADMIN.
// Source: netdevice(7), linux/if.h, linux/sockios.h. Thread: any.
import { check, ENODEV, raw, systemError } from "./errno.js";
import { addressOf } from "./ffi.js";
import { closeFile } from "./file.js";
import { cIoctl } from "./ioctl.js";
import { cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCSIFTXQLEN = 0x8943;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
export const IFF_UP = 1;
/** Up, and the other end of the cable is there. */
export const IFF_RUNNING = 0x40;
const ARPHRD_ETHER = 1;
/** Bytes of a name with the zero that ends it. */
export const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;

export interface NetDeviceState {
  readonly index: number;
  /** IFF_* bits. */
  readonly flags: number;
  readonly mtu: number;
  /** 6 bytes. */
  readonly mac: Uint8Array;
}

/** What the kernel tells of devices in this network namespace; close() gives its socket back. */
export class NetDevices {
  readonly #fd = noteDescriptor(check(cSocket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket"));
  readonly #request = new Uint8Array(IFREQ_SIZE);
  readonly #view = new DataView(this.#request.buffer);
  readonly #address = addressOf(this.#request);

  /** undefined when there is no device of that name. */
  read(name: string): NetDeviceState | undefined {
    const flags = this.flags(name);
    const index = this.index(name);
    if (flags < 0 || index <= 0) return undefined;
    if (this.#ask(name, SIOCGIFMTU) < 0) return undefined;
    const mtu = this.#view.getInt32(IFNAMSIZ, true);
    if (this.#ask(name, SIOCGIFHWADDR) < 0) return undefined;
    return { index, flags, mtu, mac: this.#request.slice(IFNAMSIZ + 2, IFNAMSIZ + 8) };
  }

  /** IFF_* bits, or a negated errno: −ENODEV for a device that is not there. */
  flags(name: string): number {
    const result = this.#ask(name, SIOCGIFFLAGS);
    return result < 0 ? result : this.#view.getUint16(IFNAMSIZ, true);
  }

  /** Above 0, or a negated errno. A device that was made again under the same name has another. */
  index(name: string): number {
    const result = this.#ask(name, SIOCGIFINDEX);
    return result < 0 ? result : this.#view.getInt32(IFNAMSIZ, true);
  }

  setUp(name: string, up: boolean): void {
    const flags = this.flags(name);
    if (flags < 0) throw systemError("ioctl(SIOCGIFFLAGS)", flags, name);
    this.#view.setUint16(IFNAMSIZ, up ? flags | IFF_UP : flags & ~IFF_UP, true);
    this.#change(name, SIOCSIFFLAGS, "SIOCSIFFLAGS");
  }

  /** 6 bytes. */
  setMac(name: string, mac: Uint8Array): void {
    this.#view.setUint16(IFNAMSIZ, ARPHRD_ETHER, true);
    this.#request.set(mac.subarray(0, 6), IFNAMSIZ + 2);
    this.#change(name, SIOCSIFHWADDR, "SIOCSIFHWADDR");
  }

  setMtu(name: string, mtu: number): void {
    this.#view.setInt32(IFNAMSIZ, mtu, true);
    this.#change(name, SIOCSIFMTU, "SIOCSIFMTU");
  }

  /** Frames that wait to leave by the device at most, each queue. */
  setQueueLength(name: string, frames: number): void {
    this.#view.setInt32(IFNAMSIZ, frames, true);
    this.#change(name, SIOCSIFTXQLEN, "SIOCSIFTXQLEN");
  }

  close(): void {
    closeFile(this.#fd);
  }

  #ask(name: string, request: number): number {
    if (!isInterfaceName(name)) return -ENODEV;
    putName(this.#request, name);
    return raw(cIoctl(this.#fd, request, this.#address));
  }

  #change(name: string, request: number, what: string): void {
    putName(this.#request, name);
    check(cIoctl(this.#fd, request, this.#address), `ioctl(${what})`, name);
  }
}

/** Does something with NetDevices and closes them. */
export function withNetDevices<Result>(action: (devices: NetDevices) => Result): Result {
  const devices = new NetDevices();
  try {
    return action(devices);
  } finally {
    devices.close();
  }
}

/** What the kernel takes for a device's name: 1 to 15 bytes without slash, colon or space. */
export function isInterfaceName(name: string): boolean {
  const size = Buffer.byteLength(name);
  return size > 0 && size < IFNAMSIZ && !/[/:\s]/.test(name) && name !== "." && name !== "..";
}

/** Makes a `struct ifreq` of 40 bytes that names the device; what stands behind the name is left to the caller. */
export function interfaceRequest(name: string): Uint8Array {
  const request = new Uint8Array(IFREQ_SIZE);
  putName(request, name);
  return request;
}

function putName(request: Uint8Array, name: string): void {
  request.fill(0, 0, IFNAMSIZ);
  request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
}
