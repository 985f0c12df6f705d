// Listening TCP sockets by descriptor, and listening sockets that whoever started us has opened.
// Everything is non-blocking and close-on-exec. Source: ip(7), ipv6(7), tcp(7), sd_listen_fds(3).
// Thread: any. Hot: no.
import { isIP } from "node:net";
import { PlinthError } from "../errors/index.js";
import { check } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile, setNonBlocking } from "./file.js";
import { cBind, cGetsockopt, cListen, cSetsockopt, cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

const cGetsockname = define<(fd: number, address: number, length: number) => number>(
  "int getsockname(int fd, intptr_t address, intptr_t length)",
);
const cFcntl = define<(fd: number, command: number, argument: number) => number>(
  "int fcntl(int fd, int command, int argument)",
);

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_FLAGS = 1 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ACCEPTCONN = 30;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const SO_KEEPALIVE = 9;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const ADDRESS_SIZE_MAX = 128;
/** The first descriptor that is handed over. */
const SD_LISTEN_FDS_START = 3;
const LISTEN_FDS_MAX = 64;

export interface TcpListener {
  readonly fd: number;
  /** As asked for, or as the system chose when that was 0. */
  readonly port: number;
}

/** Listens at an address (IPv4 or IPv6, no name; "::" takes both) and port. Throws EADDRINUSE, EACCES, EADDRNOTAVAIL. */
export function listenTcp(address: string, port: number, backlog = 128): TcpListener {
  const bytes = encodeAddress(address, port);
  const family = isIP(address) === 6 ? AF_INET6 : AF_INET;
  const where = `${address} port ${port}`;
  const fd = noteDescriptor(check(cSocket(family, SOCK_STREAM_FLAGS, 0), "socket"));
  try {
    check(cSetsockopt(fd, SOL_SOCKET, SO_REUSEADDR, addressOf(ONE), 4), "setsockopt");
    check(cBind(fd, addressOf(bytes), bytes.byteLength), "bind", where);
    check(cListen(fd, backlog), "listen", where);
    return { fd, port: localPort(fd) };
  } catch (thrown) {
    closeFile(fd);
    throw thrown;
  }
}

/**
 * For a connection of questions and answers: small messages leave at once, and a peer that vanished without a word is
 * noticed after a few minutes. A socket that is not TCP is left as it is.
 */
export function tuneTcp(fd: number): void {
  const set = (level: number, name: number, value: Int32Array): void => {
    cSetsockopt(fd, level, name, addressOf(value), 4);
  };
  set(IPPROTO_TCP, TCP_NODELAY, ONE);
  set(SOL_SOCKET, SO_KEEPALIVE, ONE);
  set(IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
}

/**
 * Descriptors of listening sockets that we were started with ($LISTEN_FDS, $LISTEN_PID), made ours; none when the
 * variables are not meant for this process. Throws LISTEN_FDS_INVALID.
 */
export function inheritedListeners(environment: NodeJS.ProcessEnv = process.env): number[] {
  const count = environment["LISTEN_FDS"];
  if (count === undefined || environment["LISTEN_PID"] !== String(process.pid)) return [];
  if (!/^[1-9]\d?$/.test(count) || Number(count) > LISTEN_FDS_MAX) {
    throw new PlinthError("LISTEN_FDS_INVALID", `LISTEN_FDS is ${count}; expected 1 to ${LISTEN_FDS_MAX}`);
  }
  return Array.from({ length: Number(count) }, (_, i) => {
    const fd = SD_LISTEN_FDS_START + i;
    const value = new Int32Array(1);
    const length = new Int32Array([4]);
    const result = cGetsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, addressOf(value), addressOf(length));
    if (result !== 0 || value[0] !== 1) {
      throw new PlinthError("LISTEN_FDS_INVALID", `descriptor ${fd} of LISTEN_FDS is no listening socket`);
    }
    setNonBlocking(fd);
    cFcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
  });
}

const ONE = new Int32Array([1]);
const KEEPALIVE_IDLE_SECONDS = new Int32Array([120]);

function localPort(fd: number): number {
  const address = new Uint8Array(ADDRESS_SIZE_MAX);
  const length = new Int32Array([ADDRESS_SIZE_MAX]);
  check(cGetsockname(fd, addressOf(address), addressOf(length)), "getsockname");
  return new DataView(address.buffer).getUint16(2);
}

/** struct sockaddr_in: family u16 (host order), port, address; sockaddr_in6: family, port, flow 4, address 16, scope 4. */
function encodeAddress(address: string, port: number): Uint8Array {
  const version = isIP(address);
  const bytes = new Uint8Array(version === 6 ? 28 : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, version === 6 ? AF_INET6 : AF_INET, true);
  view.setUint16(2, port);
  if (version === 4) bytes.set(address.split(".").map(Number), 4);
  else if (version === 6) bytes.set(parseIpv6(address), 8);
  else throw new PlinthError("ADDRESS_INVALID", `${address} is neither an IPv4 nor an IPv6 address`);
  return bytes;
}

/** `text` was found to be IPv6; the URL parser writes it with hexadecimal groups only. */
function parseIpv6(text: string): Uint8Array {
  const plain = new URL(`http://[${text.replace(/%.*$/, "")}]/`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const all = [...before, ...new Array<string>(8 - before.length - after.length).fill("0"), ...after];
  const bytes = new Uint8Array(16);
  for (const [i, group] of all.entries())
    new DataView(bytes.buffer).setUint16(i * 2, Number.parseInt(group, 16));
  return bytes;
}
