// A log file that stays bounded: when it would pass `sizeBytesMax` it becomes FILE.1 and a new one begins.
// Writes are synchronous, so a SIGKILL loses no line. Thread: any, one writer per file.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { makeDirectory } from "../directory/index.js";

export const LOG_FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024;

export class RotatingFile {
  readonly #path: string;
  readonly #sizeBytesMax: number;
  #fd: number;
  #sizeBytes: number;

  /** Opens `path` for appending, making its directory. At most two files of `sizeBytesMax` exist at a time. */
  constructor(path: string, sizeBytesMax = LOG_FILE_SIZE_BYTES_MAX) {
    makeDirectory(dirname(path), 0o777);
    this.#path = path;
    this.#sizeBytesMax = sizeBytesMax;
    this.#fd = openSync(path, "a", 0o600);
    this.#sizeBytes = fstatSync(this.#fd).size;
  }

  /** Appends one line. A full disk loses the line, never the daemon: a log must not take its writer down. */
  write(line: string): void {
    const sizeBytes = Buffer.byteLength(line);
    try {
      if (this.#sizeBytes + sizeBytes > this.#sizeBytesMax && this.#sizeBytes > 0) this.#rotate();
      writeSync(this.#fd, line);
      this.#sizeBytes += sizeBytes;
    } catch {
      // Nowhere left to report it.
    }
  }

  /** Goes on in a file of the same name, also where somebody has moved the one before away. Throws as `openSync`. */
  reopen(): void {
    const next = openSync(this.#path, "a", 0o600);
    closeSync(this.#fd);
    this.#fd = next;
    this.#sizeBytes = fstatSync(next).size;
  }

  /** Nothing may be written after. */
  close(): void {
    closeSync(this.#fd);
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    this.reopen();
  }
}
