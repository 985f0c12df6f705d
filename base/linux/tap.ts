// TAP devices: Ethernet frames of the host's own stack by descriptor. Needs CAP_NET_ADMIN.
// Source: linux/if_tun.h, netdevice(7). The device disappears when its descriptor is closed. Thread: any.
import { check } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile, O_NONBLOCK, O_RDWR, openFile } from "./file.js";
import { cIoctl } from "./ioctl.js";

const cSocket = define<(domain: number, type: number, protocol: number) => number>(
  "int socket(int domain, int type, int protocol)",
);

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;

/** Makes a TAP device called `name` (at most 15 bytes) and returns its non-blocking descriptor. */
export function openTap(name: string): number {
  const fd = openFile("/dev/net/tun", O_RDWR | O_NONBLOCK);
  try {
    const request = interfaceRequest(name);
    new DataView(request.buffer).setUint16(IFNAMSIZ, IFF_TAP | IFF_NO_PI, true);
    check(cIoctl(fd, TUNSETIFF, addressOf(request)), "ioctl(TUNSETIFF)", name);
  } catch (thrown) {
    closeFile(fd);
    throw thrown;
  }
  return fd;
}

export function setInterfaceUp(name: string, up: boolean): void {
  withSocket((fd) => {
    const request = interfaceRequest(name);
    const view = new DataView(request.buffer);
    check(cIoctl(fd, SIOCGIFFLAGS, addressOf(request)), "ioctl(SIOCGIFFLAGS)", name);
    const flags = view.getUint16(IFNAMSIZ, true);
    view.setUint16(IFNAMSIZ, up ? flags | IFF_UP : flags & ~IFF_UP, true);
    check(cIoctl(fd, SIOCSIFFLAGS, addressOf(request)), "ioctl(SIOCSIFFLAGS)", name);
  });
}

/** Sets the hardware address (6 bytes). */
export function setInterfaceMac(name: string, mac: Uint8Array): void {
  withSocket((fd) => {
    const request = interfaceRequest(name);
    new DataView(request.buffer).setUint16(IFNAMSIZ, ARPHRD_ETHER, true);
    request.set(mac.subarray(0, 6), IFNAMSIZ + 2);
    check(cIoctl(fd, SIOCSIFHWADDR, addressOf(request)), "ioctl(SIOCSIFHWADDR)", name);
  });
}

export function setInterfaceMtu(name: string, mtu: number): void {
  withSocket((fd) => {
    const request = interfaceRequest(name);
    new DataView(request.buffer).setInt32(IFNAMSIZ, mtu, true);
    check(cIoctl(fd, SIOCSIFMTU, addressOf(request)), "ioctl(SIOCSIFMTU)", name);
  });
}

function interfaceRequest(name: string): Uint8Array {
  const request = new Uint8Array(IFREQ_SIZE);
  request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  return request;
}

function withSocket(action: (fd: number) => void): void {
  const AF_INET = 2;
  const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
  const fd = check(cSocket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket");
  try {
    action(fd);
  } finally {
    closeFile(fd);
  }
}
