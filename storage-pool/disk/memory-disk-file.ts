// A disk file in memory, for tests and as the base of the crash simulation. Thread: any.
import type { DataBuffer } from "./data-buffer.js";
import type { DiskFile } from "./disk-file.js";

const CHUNK = 16 * 1024;

/** Sparse bytes: chunks exist once written, and copies share them until one of both writes. */
export class SparseBytes {
  readonly #chunks = new Map<number, Uint8Array>();
  /** Chunks that no copy shares. */
  readonly #own = new Set<number>();

  read(target: Uint8Array, at: number, length: number, offset: number): void {
    this.#each(at, length, offset, (chunk, from, to, position) => {
      const bytes = this.#chunks.get(chunk);
      if (bytes === undefined) target.fill(0, position, position + to - from);
      else target.set(bytes.subarray(from, to), position);
    });
  }

  write(source: Uint8Array, at: number, length: number, offset: number): void {
    this.#each(at, length, offset, (chunk, from, to, position) => {
      this.#writable(chunk).set(source.subarray(position, position + to - from), from);
    });
  }

  zero(offset: number, length: number): void {
    this.#each(0, length, offset, (chunk, from, to) => {
      if (from === 0 && to === CHUNK) this.#chunks.delete(chunk);
      else if (this.#chunks.has(chunk)) this.#writable(chunk).fill(0, from, to);
    });
  }

  /** The same content, independent from now on. */
  copy(): SparseBytes {
    const copy = new SparseBytes();
    for (const [index, chunk] of this.#chunks) copy.#chunks.set(index, chunk);
    this.#own.clear();
    return copy;
  }

  /** Bytes held, in whole chunks. */
  get heldBytes(): number {
    return this.#chunks.size * CHUNK;
  }

  /** Where one of the chunks that are held begins, the same for the same `choice`; undefined when there is none. */
  anyChunk(choice: number): number | undefined {
    const indexes = [...this.#chunks.keys()].sort((a, b) => a - b);
    return indexes.length === 0 ? undefined : (indexes[choice % indexes.length] as number) * CHUNK;
  }

  #writable(index: number): Uint8Array {
    const chunk = this.#chunks.get(index);
    if (chunk !== undefined && this.#own.has(index)) return chunk;
    const own = chunk?.slice() ?? new Uint8Array(CHUNK);
    this.#chunks.set(index, own);
    this.#own.add(index);
    return own;
  }

  #each(
    at: number,
    length: number,
    offset: number,
    visit: (chunk: number, from: number, to: number, position: number) => void,
  ): void {
    let done = 0;
    while (done < length) {
      const from = (offset + done) % CHUNK;
      const count = Math.min(CHUNK - from, length - done);
      visit(Math.floor((offset + done) / CHUNK), from, from + count, at + done);
      done += count;
    }
  }
}

export class MemoryDiskFile implements DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sparse = true;
  readonly descriptor = -1;
  readonly content = new SparseBytes();
  syncCount = 0;

  constructor(path: string, sizeBytes: number) {
    this.path = path;
    this.sizeBytes = sizeBytes;
  }

  read(target: DataBuffer, at: number, length: number, offset: number): number {
    this.content.read(target.bytes, at, length, offset);
    return 0;
  }

  write(source: DataBuffer, at: number, length: number, offset: number): number {
    this.content.write(source.bytes, at, length, offset);
    return 0;
  }

  sync(): number {
    this.syncCount++;
    return 0;
  }

  punch(offset: number, length: number): number {
    this.content.zero(offset, length);
    return 0;
  }

  isInPlace(): boolean {
    return true;
  }

  availableBytes(): number {
    return this.sizeBytes;
  }

  close(): void {}
}
