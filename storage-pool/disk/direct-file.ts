// A disk's file read around the page cache: no pages are made, filled and copied from for bytes that nobody may want again.
// Source: open(2), O_DIRECT. The kernel writes back what is dirty of a range before it reads it so, hence both ways see the
// same bytes. Thread: the pool's worker. Hot: yes (isCold).
import { cachedPages, closeFile, O_DIRECT, O_RDONLY, openFile } from "../../base/linux/index.js";

/** What offsets, lengths and addresses of such reads are multiples of: no disk wants more. */
export const DIRECT_ALIGN = 4096;

export class DirectFile {
  readonly descriptor: number;
  /** A read came back otherwise than it would have through the page cache: it is not used any more. */
  failed = false;

  private constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  /** Undefined where the file system, or the kernel, does not have what it takes. `path`: of what is open as a disk. */
  static open(path: string): DirectFile | undefined {
    let descriptor: number;
    try {
      descriptor = openFile(path, O_RDONLY | O_DIRECT);
    } catch {
      return undefined; // e.g. EINVAL: reads go through the page cache, as everywhere else
    }
    if (cachedPages(descriptor, 0, DIRECT_ALIGN) >= 0) return new DirectFile(descriptor);
    closeFile(descriptor);
    return undefined;
  }

  /** Nothing of a range is in the page cache, nor being read into it. */
  isCold(offset: number, length: number): boolean {
    return !this.failed && cachedPages(this.descriptor, offset, length) === 0;
  }

  close(): void {
    closeFile(this.descriptor);
  }
}
