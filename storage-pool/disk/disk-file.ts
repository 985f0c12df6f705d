// What a disk needs from the file below it, and the implementation on Linux files, directories and block devices.
// Source: pread(2), pwrite(2), fdatasync(2), fallocate(2). Thread: the pool's worker. Hot: yes (read, write).
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { makeDirectory } from "../../base/directory/index.js";
import { PlinthError } from "../../base/errors/index.js";
import {
  closeFile,
  EINTR,
  EOPNOTSUPP,
  IoVectors,
  O_CREAT,
  O_RDWR,
  openFile,
  punchHole,
  RWF_NOWAIT,
  syncDirectory,
  sysFdatasync,
  sysPread,
  sysPreadv2,
  sysPwrite,
} from "../../base/linux/index.js";
import { storageError } from "../errors.js";
import { DOUBT_AT, DOUBT_SIZE } from "../log/format.js";
import { DataBuffer } from "./data-buffer.js";
import { DirectFile } from "./direct-file.js";

/**
 * Random-access bytes with a size. All calls return 0 or a positive errno and never throw. A write is in the system's
 * page cache when it returns (it survives this process), and on the medium after the next successful `sync`.
 */
export interface DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Punching what holds nothing costs next to nothing. */
  readonly sparse: boolean;
  /** For io_uring; −1 when there is none. */
  readonly descriptor: number;
  /** The same file around the page cache; undefined where that cannot be. */
  readonly direct?: DirectFile | undefined;
  /** Files of the same number take their space from the same file system; undefined for one with a size of its own. */
  readonly filesystem?: number | undefined;
  /**
   * Fills the whole range; what was never written reads as zeros. With `wait` false it may be EAGAIN: the medium would
   * have to be waited for. It has been asked, so that the same call is quick a little later.
   */
  read(target: DataBuffer, at: number, length: number, offset: number, wait?: boolean): number;
  /** All or an error; after an error any part of the range may hold old or new bytes. */
  write(source: DataBuffer, at: number, length: number, offset: number): number;
  /** Everything written before is on the medium, with what is needed to read it back. */
  sync(): number;
  /** The range reads as zeros; its space goes back where the file system can. */
  punch(offset: number, length: number): number;
  /** What is open is still what `path` names, and no copy of it. */
  isInPlace(): boolean;
  /** How far the file reaches now; undefined for what has a length of its own, as a device. */
  lengthBytes?(): number | undefined;
  /** What the system below would still give: a directory shares its file system with others. */
  availableBytes(): number;
  close(): void;
}

/** What tells a disk from others, and its openings from each other. */
const HEAD_SIZE = 4096;
const vectors = new IoVectors(1);

/** A regular file, made when missing; one inside a directory; or a block device. */
class LinuxDiskFile implements DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sparse: boolean;
  readonly descriptor: number;
  readonly direct: DirectFile | undefined;
  readonly filesystem: number | undefined;
  #punches = true;
  #readsAhead = true;

  /** `inner`: what `descriptor` was opened by. */
  constructor(
    path: string,
    inner: string,
    sizeBytes: number,
    descriptor: number,
    sparse: boolean,
    filesystem?: number,
  ) {
    this.path = path;
    this.direct = DirectFile.open(inner);
    this.sparse = sparse;
    this.sizeBytes = sizeBytes;
    this.descriptor = descriptor;
    this.filesystem = filesystem;
  }

  read(target: DataBuffer, at: number, length: number, offset: number, wait = true): number {
    let done = 0;
    while (done < length) {
      const address = target.address + at + done;
      const count =
        wait || !this.#readsAhead
          ? sysPread(this.descriptor, address, length - done, offset + done)
          : this.#readNow(address, length - done, offset + done);
      if (count === -EINTR) continue;
      if (count < 0) return -count;
      if (count === 0) {
        target.bytes.fill(0, at + done, at + length);
        return 0;
      }
      done += count;
    }
    return 0;
  }

  /** Bytes read without waiting, or the negated errno; EINTR where the file system cannot tell. */
  #readNow(address: number, length: number, offset: number): number {
    vectors.set(0, address, length);
    const count = sysPreadv2(this.descriptor, vectors.address, 1, offset, RWF_NOWAIT);
    if (count !== -EOPNOTSUPP) return count;
    this.#readsAhead = false;
    return -EINTR;
  }

  write(source: DataBuffer, at: number, length: number, offset: number): number {
    let done = 0;
    while (done < length) {
      const count = sysPwrite(this.descriptor, source.address + at + done, length - done, offset + done);
      if (count === -EINTR) continue;
      if (count < 0) return -count;
      done += count;
    }
    return 0;
  }

  sync(): number {
    for (;;) {
      const result = sysFdatasync(this.descriptor);
      if (result !== -EINTR) return -result;
    }
  }

  punch(offset: number, length: number): number {
    if (!this.#punches) return 0;
    try {
      punchHole(this.descriptor, offset, length);
      return 0;
    } catch (thrown) {
      // A file system without holes keeps the space; nothing relies on the zeros.
      if (thrown instanceof PlinthError && thrown.context["errno"] === EOPNOTSUPP) {
        this.#punches = false;
        return 0;
      }
      return thrown instanceof PlinthError ? Number(thrown.context["errno"] ?? 5) : 5;
    }
  }

  isInPlace(): boolean {
    try {
      return this.#isNamed();
    } catch {
      // A file system that is gone gives errors.
      return false;
    }
  }

  #isNamed(): boolean {
    const held = fstatSync(this.descriptor);
    const named = statSync(this.path, { throwIfNoEntry: false });
    const inner = named?.isDirectory()
      ? statSync(join(this.path, SEGMENTS_FILE), { throwIfNoEntry: false })
      : named;
    if (inner === undefined || held.nlink === 0) return false;
    // A device that is plugged in again may get another node with the same number.
    if (held.isBlockDevice()) return inner.isBlockDevice() && inner.rdev === held.rdev;
    if (inner.dev === held.dev && inner.ino === held.ino) return true;
    // Some file systems in user space give a file another number whenever it is looked for.
    return this.#hasHeadOf(inner.size, named?.isDirectory() ? join(this.path, SEGMENTS_FILE) : this.path);
  }

  /** A copy has the head of its time: what is written into this one now is not in it. */
  #hasHeadOf(size: number, path: string): boolean {
    const [here, there] = [Buffer.alloc(HEAD_SIZE), Buffer.alloc(HEAD_SIZE)];
    if (size < HEAD_SIZE) return false;
    const other = openSync(path, "r");
    try {
      writeSync(this.descriptor, randomBytes(DOUBT_SIZE), 0, DOUBT_SIZE, DOUBT_AT);
      if (this.sync() !== 0) return false;
      readSync(this.descriptor, here, 0, HEAD_SIZE, 0);
      readSync(other, there, 0, HEAD_SIZE, 0);
      return here.equals(there);
    } finally {
      closeSync(other);
    }
  }

  lengthBytes(): number | undefined {
    const held = fstatSync(this.descriptor);
    return held.isFile() ? held.size : undefined;
  }

  availableBytes(): number {
    if (!statSync(this.path, { throwIfNoEntry: false })?.isDirectory()) return this.sizeBytes;
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  close(): void {
    this.direct?.close();
    closeFile(this.descriptor);
  }
}

/** What holds the segments of a disk that is a directory. */
export const SEGMENTS_FILE = "segments";

/** Whether a disk that was used before is there: an empty directory is a mount point without its file system. */
export function isDiskPresent(path: string): boolean {
  return existsSync(path) && (!statSync(path).isDirectory() || existsSync(join(path, SEGMENTS_FILE)));
}

/**
 * Opens what the user named as a disk: an existing directory (or a path ending in "/", or one that does not exist: made
 * as a directory) holds one sparse file and grows up to the size of its file system; an existing file or block device
 * is used as it is, with its own size.
 */
export function openDiskFile(path: string): LinuxDiskFile {
  const existing = statSync(path, { throwIfNoEntry: false });
  if (existing === undefined || existing.isDirectory()) {
    makeDiskDirectory(path);
    const { blocks, bsize } = statfsSync(path);
    const inner = join(path, SEGMENTS_FILE);
    const fresh = !existsSync(inner);
    const descriptor = openFile(inner, O_RDWR | O_CREAT);
    if (fresh) syncNames(path);
    return new LinuxDiskFile(path, inner, blocks * bsize, descriptor, true, statSync(path).dev);
  }
  if (existing.isFile()) return new LinuxDiskFile(path, path, existing.size, openFile(path, O_RDWR), true);
  if (existing.isBlockDevice()) {
    const descriptor = openFile(path, O_RDWR);
    return new LinuxDiskFile(path, path, deviceSize(path, descriptor), descriptor, false);
  }
  throw storageError("PARAMETER_INVALID", `${path} is no file, directory or block device`, {
    field: "disks",
  });
}

function makeDiskDirectory(path: string): void {
  try {
    makeDirectory(path, 0o700);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw storageError("PARAMETER_INVALID", `the directory ${path} cannot be made: ${code}`, {
      field: "disks",
      cause,
    });
  }
}

/** Makes new names in a directory durable, and the directory's own. */
export function syncNames(path: string): void {
  syncDirectory(path);
  syncDirectory(dirname(path));
}

/** The largest offset that can be read, found by halving: Node has no call for a device's size. */
function deviceSize(path: string, descriptor: number): number {
  let low = 0;
  let high = 2 ** 46;
  const scratch = new DataBuffer(512);
  const readable = (offset: number) => sysPread(descriptor, scratch.address, 512, offset) > 0;
  while (high - low > 512) {
    const middle = low + Math.floor((high - low) / 1024) * 512;
    if (readable(middle)) low = middle;
    else high = middle;
  }
  if (low === 0) throw storageError("DISK_TOO_SMALL", `${path} has no readable size`, { field: "disks" });
  return low + 512;
}
