// Files by descriptor: positioned reads and writes, durability, and giving space back.
// Two forms. `sys…` calls take addresses and return the result or the negated errno (never throw): for data
// paths. The others take byte arrays, finish short transfers themselves and throw PlinthError.
// Source: the section 2 man pages. Thread: any. Hot: yes (`sys…`).
import { constants } from "node:fs";
import { check, EINTR, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { noteDescriptor, strikeDescriptor } from "./thread-ledger.js";

type Io = (fd: number, address: number, length: number, offset: number) => number;
type Vector = (fd: number, iovAddress: number, count: number, offset: number) => number;

const cOpen = define<(path: string, flags: number, mode: number) => number>(
  "int open(const char *path, int flags, int mode)",
);
const cClose = define<(fd: number) => number>("int close(int fd)");
const cRead = define<(fd: number, address: number, length: number) => number>(
  "int64_t read(int fd, intptr_t buffer, size_t length)",
);
const cWrite = define<(fd: number, address: number, length: number) => number>(
  "int64_t write(int fd, intptr_t buffer, size_t length)",
);
const cPread = define<Io>("int64_t pread(int fd, intptr_t buffer, size_t length, int64_t offset)");
const cPwrite = define<Io>("int64_t pwrite(int fd, intptr_t buffer, size_t length, int64_t offset)");
const cPreadv = define<Vector>("int64_t preadv(int fd, intptr_t iov, int count, int64_t offset)");
const cPwritev = define<Vector>("int64_t pwritev(int fd, intptr_t iov, int count, int64_t offset)");
const cPreadv2 = define<(fd: number, iov: number, count: number, offset: number, flags: number) => number>(
  "int64_t preadv2(int fd, intptr_t iov, int count, int64_t offset, int flags)",
);
const cReadv = define<(fd: number, iovAddress: number, count: number) => number>(
  "int64_t readv(int fd, intptr_t iov, int count)",
);
const cWritev = define<(fd: number, iovAddress: number, count: number) => number>(
  "int64_t writev(int fd, intptr_t iov, int count)",
);
const cFsync = define<(fd: number) => number>("int fsync(int fd)");
const cFdatasync = define<(fd: number) => number>("int fdatasync(int fd)");
const cFtruncate = define<(fd: number, length: number) => number>("int ftruncate(int fd, int64_t length)");
const cFallocate = define<(fd: number, mode: number, offset: number, length: number) => number>(
  "int fallocate(int fd, int mode, int64_t offset, int64_t length)",
);
const cFadvise = define<(fd: number, offset: number, length: number, advice: number) => number>(
  "int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)",
);
const cSyncRange = define<(fd: number, offset: number, length: number, flags: number) => number>(
  "int sync_file_range(int fd, int64_t offset, int64_t length, uint32_t flags)",
);
const cDup = define<(fd: number, command: number, from: number) => number>(
  "int fcntl(int fd, int command, int64_t argument)",
);

export const O_RDONLY = constants.O_RDONLY;
export const O_WRONLY = constants.O_WRONLY;
export const O_RDWR = constants.O_RDWR;
export const O_CREAT = constants.O_CREAT;
export const O_EXCL = constants.O_EXCL;
export const O_TRUNC = constants.O_TRUNC;
export const O_APPEND = constants.O_APPEND;
export const O_DIRECTORY = constants.O_DIRECTORY;
export const O_DIRECT = constants.O_DIRECT;
export const O_DSYNC = constants.O_DSYNC;
export const O_NONBLOCK = constants.O_NONBLOCK;
export const O_CLOEXEC = 0o2000000;
export const FALLOC_FL_KEEP_SIZE = 1;
const POSIX_FADV_WILLNEED = 3;
const SYNC_FILE_RANGE_WRITE = 2;
export const FALLOC_FL_PUNCH_HOLE = 2;
/** Only what is there without waiting for the disk. */
export const RWF_NOWAIT = 8;
const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const F_SETFL = 4;

/** Opens `path`, close-on-exec always. Throws with the errno's name. */
export function openFile(path: string, flags: number, mode = 0o600): number {
  return noteDescriptor(check(cOpen(path, flags | O_CLOEXEC, mode), "open", path));
}

/** Closes `fd`. Throws EBADF for one that is not open: a double close is our bug and hits somebody else's file. */
export function closeFile(fd: number): void {
  strikeDescriptor(fd);
  const result = raw(cClose(fd));
  if (result < 0 && result !== -EINTR) throw systemError("close", result, `descriptor ${fd}`);
}

/** A second descriptor for the same open file. */
export function duplicateFile(fd: number): number {
  return noteDescriptor(check(cDup(fd, F_DUPFD_CLOEXEC, 0), "fcntl(F_DUPFD_CLOEXEC)", `descriptor ${fd}`));
}

export function setNonBlocking(fd: number): void {
  const flags = check(cDup(fd, F_GETFL, 0), "fcntl(F_GETFL)", `descriptor ${fd}`);
  check(cDup(fd, F_SETFL, flags | O_NONBLOCK), "fcntl(F_SETFL)", `descriptor ${fd}`);
}

export const sysRead = (fd: number, address: number, length: number): number =>
  raw(cRead(fd, address, length));
export const sysWrite = (fd: number, address: number, length: number): number =>
  raw(cWrite(fd, address, length));
/** writev(2) over an IoVectors' address, or anything that looks like one. */
export const sysWritev = (fd: number, iov: number, count: number): number => raw(cWritev(fd, iov, count));
/** readv(2) over an IoVectors' address, for what has no positions. */
export const sysReadv = (fd: number, iov: number, count: number): number => raw(cReadv(fd, iov, count));
/** pread(2): bytes read (0 at the end of the file) or the negated errno. `offset` below 2⁵³. */
export const sysPread: Io = (fd, address, length, offset) => raw(cPread(fd, address, length, offset));
export const sysPwrite: Io = (fd, address, length, offset) => raw(cPwrite(fd, address, length, offset));
/** preadv(2) over an IoVectors' address. */
export const sysPreadv: Vector = (fd, iov, count, offset) => raw(cPreadv(fd, iov, count, offset));
/** The same with RWF_ flags. With RWF_NOWAIT what is not in memory is −EAGAIN, and the kernel begins to read it. */
export const sysPreadv2 = (fd: number, iov: number, count: number, offset: number, flags: number): number =>
  raw(cPreadv2(fd, iov, count, offset, flags));
export const sysPwritev: Vector = (fd, iov, count, offset) => raw(cPwritev(fd, iov, count, offset));
export const sysFdatasync = (fd: number): number => raw(cFdatasync(fd));

/** Fills `bytes` from `offset`; returns how many bytes were there (fewer only at the end of the file). */
export function preadFile(fd: number, bytes: Uint8Array, offset: number): number {
  return transfer(sysPread, "pread", fd, bytes, offset);
}

/** Writes all of `bytes` at `offset`. */
export function pwriteFile(fd: number, bytes: Uint8Array, offset: number): void {
  transfer(sysPwrite, "pwrite", fd, bytes, offset);
}

function transfer(io: Io, call: string, fd: number, bytes: Uint8Array, offset: number): number {
  const address = bytes.byteLength === 0 ? 0 : addressOf(bytes);
  let done = 0;
  while (done < bytes.byteLength) {
    const count = io(fd, address + done, bytes.byteLength - done, offset + done);
    if (count === -EINTR) continue;
    if (count < 0) throw systemError(call, count, `descriptor ${fd}, ${bytes.byteLength} bytes at ${offset}`);
    if (count === 0) break;
    done += count;
  }
  return done;
}

export function fsyncFile(fd: number): void {
  check(cFsync(fd), "fsync", `descriptor ${fd}`);
}

/** Makes the names in a directory durable. */
export function syncDirectory(path: string): void {
  const fd = openFile(path, O_RDONLY | O_DIRECTORY);
  try {
    fsyncFile(fd);
  } finally {
    closeFile(fd);
  }
}

/** Data and what is needed to read it back is on the medium when this returns. */
export function fdatasyncFile(fd: number): void {
  check(cFdatasync(fd), "fdatasync", `descriptor ${fd}`);
}

export function truncateFile(fd: number, sizeBytes: number): void {
  check(cFtruncate(fd, sizeBytes), "ftruncate", `descriptor ${fd} to ${sizeBytes}`);
}

/** fallocate(2) with the FALLOC_FL_ mode given; EOPNOTSUPP where the filesystem cannot. */
function allocateFile(fd: number, mode: number, offset: number, length: number): void {
  check(cFallocate(fd, mode, offset, length), "fallocate", `descriptor ${fd}, ${length} bytes at ${offset}`);
}

/** Reserves space for the first `length` bytes: writing to them later never lacks any. */
export function reserveFile(fd: number, length: number): void {
  allocateFile(fd, 0, 0, length);
}

/** Gives the space of a range back to the filesystem; it reads as zeros, the size stays. */
export function punchHole(fd: number, offset: number, length: number): void {
  allocateFile(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

/** Asks the kernel to begin reading a range, which is to be read soon. Only advice: where it cannot be taken nothing happens. */
export function adviseWillNeed(fd: number, offset: number, length: number): void {
  cFadvise(fd, offset, length, POSIX_FADV_WILLNEED);
}

/**
 * Asks the kernel to begin writing what was changed in a range, so that a later sync has less to wait for. It makes nothing
 * durable, and where it cannot be done nothing happens.
 */
export function beginWriteBack(fd: number, offset: number, length: number): void {
  cSyncRange(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

/** An array of `struct iovec` (u64 base, u64 length) for readv and writev calls and for io_uring. Hot: yes. */
export class IoVectors {
  readonly address: number;
  readonly capacity: number;
  readonly #words: Uint32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#words = new Uint32Array(capacity * 4);
    this.address = addressOf(this.#words);
  }

  set(index: number, address: number, length: number): void {
    const at = index * 4;
    this.#words[at] = address >>> 0;
    this.#words[at + 1] = (address / 0x1_0000_0000) >>> 0;
    this.#words[at + 2] = length >>> 0;
    this.#words[at + 3] = (length / 0x1_0000_0000) >>> 0;
  }
}
