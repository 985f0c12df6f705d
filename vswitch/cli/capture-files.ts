// Where a capture is written: a stream (standard output), one file, or a ring of files of which the oldest go.
// Invariant: every file begins with the section and all interfaces seen so far, so that each can be read by itself.
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import { PCAPNG_INTERFACE, PCAPNG_SECTION_HEADER, type PcapngBlock } from "../../base/packet/index.js";

/** Takes whole blocks in their order. Throws CAPTURE_FILE_FAILED. */
export interface CaptureSink {
  /** Resolves when the next block may come. */
  write(block: PcapngBlock): Promise<void> | undefined;
  close(): void;
}

export interface RingOptions {
  /** Bytes after which a new file is begun; undefined: never. */
  readonly sizeMax?: number | undefined;
  /** Files that are kept; undefined: all. */
  readonly filesMax?: number | undefined;
}

export class FileSink implements CaptureSink {
  readonly #path: string;
  readonly #options: RingOptions;
  readonly #head: Uint8Array[] = [];
  readonly #files: string[] = [];
  #fd = -1;
  #size = 0;
  #number = 0;

  /** The first file is made with the first block, which comes at once: a refusal leaves none behind. */
  constructor(path: string, options: RingOptions = {}) {
    this.#path = path;
    this.#options = options;
  }

  write({ type, bytes }: PcapngBlock): undefined {
    const { sizeMax } = this.#options;
    if (this.#files.length === 0) this.#open();
    const isHead = type === PCAPNG_SECTION_HEADER || type === PCAPNG_INTERFACE;
    if (isHead) this.#head.push(bytes.slice());
    else if (sizeMax !== undefined && this.#size + bytes.byteLength > sizeMax && this.#size > this.#headSize)
      this.#next();
    this.#append(bytes);
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  get #headSize(): number {
    return this.#head.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  #next(): void {
    this.close();
    this.#open();
    for (const block of this.#head) this.#append(block);
    const { filesMax = Number.POSITIVE_INFINITY } = this.#options;
    while (this.#files.length > filesMax) unlinkSync(this.#files.shift() as string);
  }

  #open(): void {
    const path = this.#options.sizeMax === undefined ? this.#path : numbered(this.#path, ++this.#number);
    try {
      this.#fd = openSync(path, "w", 0o600);
    } catch (cause) {
      throw new PlinthError("CAPTURE_FILE_FAILED", `cannot write ${path}: ${(cause as Error).message}`, {
        cause,
      });
    }
    this.#files.push(path);
    this.#size = 0;
  }

  #append(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
    } catch (cause) {
      const path = this.#files.at(-1);
      throw new PlinthError("CAPTURE_FILE_FAILED", `cannot write ${path}: ${(cause as Error).message}`, {
        cause,
      });
    }
    this.#size += bytes.byteLength;
  }
}

/** "trace.pcapng" and 3 make "trace_00003.pcapng". */
function numbered(path: string, number: number): string {
  const dot = path.lastIndexOf(".");
  const at = dot > path.lastIndexOf("/") + 1 ? dot : path.length;
  return `${path.slice(0, at)}_${String(number).padStart(5, "0")}${path.slice(at)}`;
}

/** Standard output, or what stands for it; `isClosed` once its reader has gone. */
export class StreamSink implements CaptureSink {
  readonly #stream: NodeJS.WritableStream;
  isClosed = false;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
    // EPIPE: whoever read has seen enough.
    stream.on("error", () => {
      this.isClosed = true;
    });
  }

  write({ bytes }: PcapngBlock): Promise<void> | undefined {
    if (this.isClosed || this.#stream.write(bytes.slice())) return undefined;
    return new Promise((resolve) => {
      const done = (): void => {
        this.#stream.removeListener("drain", done);
        this.#stream.removeListener("error", done);
        resolve();
      };
      this.#stream.on("drain", done);
      this.#stream.on("error", done);
    });
  }

  close(): void {}
}
