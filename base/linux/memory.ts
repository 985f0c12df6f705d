// Memory outside the JavaScript heap: anonymous blocks with a known address, memfd files, and the window into
// which other processes' memory is mapped.
// Invariant: addresses behind an ArrayBuffer handed out here stay mapped for as long as that buffer is reachable.
// Freeing drops the pages at once and leaves empty private memory in their place; the addresses go back when the
// garbage collector has taken the buffer. Late use is harmless. Views stay under 4 GiB (koffi aborts above).
// Source: mmap(2), memfd_create(2). Thread: the one that created the object.
import { alignUp } from "../bytes/index.js";
import { PlinthError } from "../errors/index.js";
import { check } from "./errno.js";
import { define, viewOf } from "./ffi.js";
import { noteDescriptor, noteMapping, strikeMapping } from "./thread-ledger.js";

const cMmap = define<(a: number, n: number, p: number, f: number, fd: number, o: number) => number>(
  "intptr_t mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)",
);
const cMunmap = define<(a: number, n: number) => number>("int munmap(intptr_t address, size_t length)");
const cMprotect = define<(a: number, n: number, p: number) => number>(
  "int mprotect(intptr_t address, size_t length, int protection)",
);
const cMemfd = define<(name: string, flags: number) => number>(
  "int memfd_create(const char *name, unsigned int flags)",
);
const cFcntl = define<(fd: number, command: number, argument: number) => number>(
  "int fcntl(int fd, int command, int64_t argument)",
);
const cFtruncate = define<(fd: number, length: number) => number>("int ftruncate(int fd, int64_t length)");

const cMadvise = define<(address: number, length: number, advice: number) => number>(
  "int madvise(intptr_t address, size_t length, int advice)",
);
const cMemcpy = define<(to: number, from: number, length: number) => number>(
  "intptr_t memcpy(intptr_t to, intptr_t from, size_t length)",
);

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
/** Since Linux 5.14. */
const MADV_POPULATE_WRITE = 23;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;

export const PAGE_SIZE_BYTES = 4096;
/** Where blocks that are to lie low are tried: clear of what programs that are not position independent take. */
const LOW_FIRST = 0x2000_0000;
const LOW_STEP = 0x10_0000;
const LOW_END = 0x4000_0000;
const VIEW_MAX_BYTES = 0xffff_f000;

/**
 * memcpy(3) between two addresses, for copies between arrays that share no buffer: some 50 ns more than copyWithin, and
 * a number on the heap for each address above 2³¹, where `set` with a subarray makes an object and takes longer. Where
 * it is done for each frame, put both into one window. The caller has checked both ranges; they must not overlap.
 */
export function copyMemory(to: number, from: number, length: number): void {
  cMemcpy(to, from, length);
}

export interface MemoryBlockOptions {
  /** Has its pages from the beginning. */
  readonly populate?: boolean;
  readonly isLow?: boolean;
}

/** A block of anonymous memory at a fixed address, zero-filled, page-aligned. `free()` ends it. */
export class MemoryBlock {
  readonly address: number;
  readonly sizeBytes: number;
  readonly buffer: ArrayBuffer;
  #freed = false;

  /**
   * `isLow`: below 2³¹ if there is room, so that its address is a small integer, which a call takes without garbage.
   */
  constructor(sizeBytes: number, { populate = false, isLow = false }: MemoryBlockOptions = {}) {
    this.sizeBytes = alignUp(Math.max(1, sizeBytes), PAGE_SIZE_BYTES);
    assertViewable(this.sizeBytes);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | (populate ? MAP_POPULATE : 0);
    const protection = PROT_READ | PROT_WRITE;
    const result = isLow
      ? mapLow(this.sizeBytes, protection, flags)
      : cMmap(0, this.sizeBytes, protection, flags, -1, 0);
    this.address = check(result, "mmap", `${this.sizeBytes} anonymous bytes`);
    noteMapping(this.address, this.sizeBytes);
    this.buffer = viewOf(this.address, this.sizeBytes);
  }

  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    retire(this.buffer, this.address, this.sizeBytes);
  }
}

/** A shared mapping of a whole file range, for ring buffers of the kernel and tests. `unmap()` ends it. */
export class FileMapping {
  readonly address: number;
  readonly sizeBytes: number;
  readonly buffer: ArrayBuffer;
  #unmapped = false;

  constructor(
    fd: number,
    sizeBytes: number,
    fileOffset = 0,
    protection = PROT_READ | PROT_WRITE,
    populate = true,
  ) {
    assertViewable(sizeBytes);
    this.sizeBytes = alignUp(sizeBytes, PAGE_SIZE_BYTES);
    const flags = MAP_SHARED | (populate ? MAP_POPULATE : 0);
    const result = cMmap(0, sizeBytes, protection, flags, fd, fileOffset);
    this.address = check(result, "mmap", `${sizeBytes} bytes of descriptor ${fd} at ${fileOffset}`);
    noteMapping(this.address, this.sizeBytes);
    this.buffer = viewOf(this.address, this.sizeBytes);
  }

  /** Fetches all pages as a write would, which changes nothing in them: writes wait for nothing then. Only a hint. */
  fetchForWrites(): void {
    cMadvise(this.address, this.sizeBytes, MADV_POPULATE_WRITE);
  }

  unmap(): void {
    if (this.#unmapped) return;
    this.#unmapped = true;
    retire(this.buffer, this.address, this.sizeBytes);
  }
}

/**
 * One reserved range of addresses, viewed once, into which files are mapped and from which they are dropped
 * while the view stays valid. Untouched parts are PROT_NONE: touching one kills the process, so whoever
 * computes offsets must have checked them.
 */
export class MemoryWindow {
  readonly address: number;
  readonly sizeBytes: number;
  readonly buffer: ArrayBuffer;
  #released = false;

  constructor(sizeBytes: number) {
    this.sizeBytes = alignUp(sizeBytes, PAGE_SIZE_BYTES);
    assertViewable(this.sizeBytes);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    this.address = check(cMmap(0, this.sizeBytes, PROT_NONE, flags, -1, 0), "mmap", "window");
    noteMapping(this.address, this.sizeBytes);
    this.buffer = viewOf(this.address, this.sizeBytes);
  }

  /** Maps `length` bytes of `fd` from `fileOffset` at `offset`; both page-aligned. Shared, readable, writable. */
  mapFile(offset: number, length: number, fd: number, fileOffset: number): void {
    this.#checkRange(offset, length);
    const flags = MAP_SHARED | MAP_FIXED;
    const result = cMmap(this.address + offset, length, PROT_READ | PROT_WRITE, flags, fd, fileOffset);
    check(result, "mmap", `${length} bytes of descriptor ${fd} at ${fileOffset}`);
  }

  /** Puts zero-filled private memory over a range: late accesses stay harmless. */
  mapAnonymous(offset: number, length: number): void {
    this.#checkRange(offset, length);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    check(cMmap(this.address + offset, length, PROT_READ | PROT_WRITE, flags, -1, 0), "mmap", "anonymous");
  }

  /** Takes a range back to PROT_NONE, its content is gone. */
  unmap(offset: number, length: number): void {
    this.#checkRange(offset, length);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    check(cMmap(this.address + offset, length, PROT_NONE, flags, -1, 0), "mmap", "PROT_NONE");
  }

  protect(offset: number, length: number, protection: number): void {
    this.#checkRange(offset, length);
    check(cMprotect(this.address + offset, length, protection), "mprotect");
  }

  /** Ends all mappings; what is left of the view reads as zeros. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    retire(this.buffer, this.address, this.sizeBytes);
  }

  #checkRange(offset: number, length: number): void {
    const inside = offset >= 0 && length > 0 && offset + length <= this.sizeBytes;
    if (this.#released || !inside || offset % PAGE_SIZE_BYTES !== 0) {
      throw new PlinthError("WINDOW_RANGE", `${length} bytes at ${offset} are not in the window`, {
        context: { offset, length, sizeBytes: this.sizeBytes },
      });
    }
  }
}

/** A file without a name in memory, `sizeBytes` long, that can be passed to another process. */
export function createMemfd(name: string, sizeBytes: number): number {
  const fd = noteDescriptor(check(cMemfd(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create", name));
  check(cFtruncate(fd, sizeBytes), "ftruncate", `memfd ${name} to ${sizeBytes}`);
  return fd;
}

/** Forbids that the file ever shrinks; true when it took. A mapping of such a file can never go stale. */
export function sealShrink(fd: number): boolean {
  return cFcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) === 0;
}

export function hasSealShrink(fd: number): boolean {
  const seals = cFcntl(fd, F_GET_SEALS, 0);
  return seals !== -1 && (seals & F_SEAL_SHRINK) !== 0;
}

/** Anywhere, where nothing is free at the addresses that are asked for: they are but hints. */
function mapLow(sizeBytes: number, protection: number, flags: number): number {
  for (let hint = LOW_FIRST; hint + sizeBytes <= LOW_END; hint += LOW_STEP) {
    const address = cMmap(hint, sizeBytes, protection, flags, -1, 0);
    if (address < LOW_END) return address;
    cMunmap(address, sizeBytes);
  }
  return cMmap(0, sizeBytes, protection, flags, -1, 0);
}

function assertViewable(sizeBytes: number): void {
  if (sizeBytes <= VIEW_MAX_BYTES) return;
  throw new PlinthError("VIEW_TOO_LARGE", `a view of ${sizeBytes} bytes; at most ${VIEW_MAX_BYTES} fit`);
}

const collected = new FinalizationRegistry<{ address: number; sizeBytes: number }>((range) => {
  unmapMemory(range.address, range.sizeBytes);
});

/** Gives a range of addresses back that nothing refers to any more: a later use of them kills the process. */
export function unmapMemory(address: number, sizeBytes: number): void {
  strikeMapping(address);
  cMunmap(address, sizeBytes);
}

/** Drops the pages now, and the addresses once `buffer` was collected. */
function retire(buffer: ArrayBuffer, address: number, sizeBytes: number): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  check(cMmap(address, sizeBytes, PROT_READ | PROT_WRITE, flags, -1, 0), "mmap", "retired range");
  collected.register(buffer, { address, sizeBytes });
}
