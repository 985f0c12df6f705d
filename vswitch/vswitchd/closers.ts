// What a daemon has opened, to be closed in the opposite order. Thread: main.
import type { Logger } from "../../base/log/index.js";

interface Opened {
  readonly close: () => void | Promise<void>;
  readonly isKept: boolean;
}

export class Closers {
  readonly #log: Logger;
  #opened: Opened[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `isKept`: not closed by closeMost(). */
  push(close: Opened["close"], isKept = false): void {
    this.#opened.push({ close, isKept });
  }

  /** Closed behind all others, and kept by closeMost(). */
  pushLast(close: Opened["close"]): void {
    this.#opened.unshift({ close, isKept: true });
  }

  async closeAll(): Promise<void> {
    await this.#close(this.#opened.splice(0));
  }

  async closeMost(): Promise<void> {
    const going = this.#opened.filter(({ isKept }) => !isKept);
    this.#opened = this.#opened.filter(({ isKept }) => isKept);
    await this.#close(going);
  }

  async #close(going: Opened[]): Promise<void> {
    for (const { close } of going.reverse()) {
      try {
        await close();
      } catch (thrown) {
        // What comes after must be closed all the same, the lock above all.
        this.#log.error({ err: thrown }, "could not close in order");
      }
    }
  }
}
