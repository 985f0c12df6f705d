// Where map files are kept: maps of volumes and snapshots written down, so that recovery replays only the records after.
// What is in them: see format.ts and map-store.ts. Invariant: a file is complete and on the medium before anything names it; a name is never
// written twice. Thread: the pool's worker. Hot: no.
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { adviseWillNeed, beginWriteBack, syncDirectory } from "../../base/linux/index.js";
import { syncNames } from "../disk/disk-file.js";

/** Where map files are kept. */
export interface MapFiles {
  /** A new file; bytes are given in order. */
  create(name: string): MapFileSink;
  /** For reading; undefined when there is none. */
  open(name: string): MapFileSource | undefined;
  remove(name: string): void;
  list(): string[];
}

export interface MapFileSink {
  append(bytes: Uint8Array): void;
  /** Returns once the file and its name are on the medium. */
  finish(): void;
  abort(): void;
}

export interface MapFileSource {
  /** The bytes from `at` on, fewer than `length` at the end of the file; in `into`, when it is given and has room, or not. */
  read(at: number, length: number, into?: Uint8Array): Uint8Array;
  /** So many bytes from `at` on will be read soon. */
  expect?(at: number, length: number): void;
  close(): void;
}

/** Map files in a directory. Throws what node:fs throws (a full file system makes the checkpoint fail, no more). */
export class DirectoryMapFiles implements MapFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    syncNames(dirname(directory));
  }

  create(name: string): MapFileSink {
    const path = join(this.#directory, name);
    const descriptor = openSync(path, "w", 0o600);
    let end = 0;
    return {
      append(bytes) {
        for (let done = 0; done < bytes.byteLength; ) done += writeSync(descriptor, bytes, done);
        // Nobody is served while the file is synced at its end: most of it is on the medium by then.
        beginWriteBack(descriptor, end, bytes.byteLength);
        end += bytes.byteLength;
      },
      finish: () => {
        fsyncSync(descriptor);
        closeSync(descriptor);
        // Its own name was made durable with it.
        syncDirectory(this.#directory);
      },
      abort() {
        closeSync(descriptor);
        rmSync(path, { force: true });
      },
    };
  }

  open(name: string): MapFileSource | undefined {
    let descriptor: number;
    try {
      descriptor = openSync(join(this.#directory, name), "r");
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw thrown;
    }
    return {
      read(at, length, into) {
        const isGiven = into !== undefined && into.byteLength >= length;
        const most = isGiven ? length : Math.max(0, Math.min(length, fstatSync(descriptor).size - at));
        const bytes = isGiven ? into : new Uint8Array(most);
        let done = 0;
        while (done < most) {
          const count = readSync(descriptor, bytes, done, most - done, at + done);
          if (count === 0) break;
          done += count;
        }
        return bytes.subarray(0, done);
      },
      expect: (at, length) => adviseWillNeed(descriptor, at, length),
      close: () => closeSync(descriptor),
    };
  }

  remove(name: string): void {
    rmSync(join(this.#directory, name), { force: true });
  }

  list(): string[] {
    return readdirSync(this.#directory);
  }
}
