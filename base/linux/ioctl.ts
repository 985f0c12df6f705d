// ioctl(2), whose request is `unsigned long`. Private to this folder.
import { define } from "./ffi.js";

/** The argument is an address or a plain integer, whichever the request wants. −1 on failure. */
export const cIoctl = define<(fd: number, request: number, argument: number) => number>(
  "int ioctl(int fd, unsigned long request, intptr_t argument)",
);
