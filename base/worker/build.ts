// The build that this process was started from, to tell when its files have been replaced meanwhile: threads share memory
// whose layout is the program's, so a worker of another build would read and write it wrongly. Thread: main.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const SUFFIX = ".tsbuildinfo";

export class Build {
  readonly #directory: string;
  readonly #atStart: ReadonlyMap<string, string>;

  /** `directory` is where the compiler notes what it has built, a file for each top folder. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#atStart = this.#read();
  }

  /** Whether one of these top folders has been built anew since this object was made. */
  isReplaced(folders: readonly string[]): boolean {
    const now = this.#read();
    return folders.some((folder) => now.get(folder) !== this.#atStart.get(folder));
  }

  #read(): Map<string, string> {
    const stamps = new Map<string, string>();
    for (const name of this.#names()) {
      const stat = statSync(join(this.#directory, name), { throwIfNoEntry: false });
      if (stat !== undefined) stamps.set(name.slice(0, -SUFFIX.length), `${stat.mtimeMs} ${stat.size}`);
    }
    return stamps;
  }

  #names(): string[] {
    try {
      return readdirSync(this.#directory).filter((name) => name.endsWith(SUFFIX));
    } catch (thrown) {
      // A program that was put together without the compiler's notes is not known to be another one.
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw thrown;
    }
  }
}
