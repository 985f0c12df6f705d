// The calls of sockets(7) that sockets of every family need, as in C: results below zero leave errno.
// Addresses are numbers, see ffi.ts; lengths are in bytes. Thread: any.
import { define } from "./ffi.js";

export const cSocket = define<(domain: number, type: number, protocol: number) => number>(
  "int socket(int domain, int type, int protocol)",
);
export const cBind = define<(fd: number, address: number, length: number) => number>(
  "int bind(int fd, intptr_t address, unsigned int length)",
);
export const cListen = define<(fd: number, backlog: number) => number>("int listen(int fd, int backlog)");

type Option = (fd: number, level: number, name: number, value: number, length: number) => number;
export const cSetsockopt = define<Option>(
  "int setsockopt(int fd, int level, int name, intptr_t value, unsigned int length)",
);
/** `length` is the address of an int that holds the length. */
export const cGetsockopt = define<Option>(
  "int getsockopt(int fd, int level, int name, intptr_t value, intptr_t length)",
);

type Message = (fd: number, header: number, flags: number) => number;
export const cRecvmsg = define<Message>("int64_t recvmsg(int fd, intptr_t header, int flags)");
export const cSendmsg = define<Message>("int64_t sendmsg(int fd, intptr_t header, int flags)");

type Transfer = (fd: number, address: number, length: number, flags: number) => number;
export const cSend = define<Transfer>("int64_t send(int fd, intptr_t buffer, size_t length, int flags)");
export const cRecv = define<Transfer>("int64_t recv(int fd, intptr_t buffer, size_t length, int flags)");
