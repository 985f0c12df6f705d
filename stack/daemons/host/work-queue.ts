// Level-triggered work by key: whatever was said about a key while it waited or ran leads to one more run. A run that
// fails comes back after a pause of its own key, so that one broken object holds up no other. Thread: main.
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";

const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 10_000;

export interface WorkQueueOptions {
  readonly name: string;
  /** Makes one object as it should be. May resolve with a time in ms after which to look again. */
  readonly run: (key: string) => Promise<number | undefined>;
  /** Keys worked on at once. */
  readonly concurrency: number;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #due = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #timers = new Map<string, Timer>();
  readonly #retryMs = new Map<string, number>();
  #closed = false;

  constructor(options: WorkQueueOptions, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#clock = modules.clock;
    this.#log = modules.log;
  }

  /** Something about `key` may have changed. A key that waits after a failure goes at once. */
  add(key: string): void {
    if (this.#closed) return;
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
    this.#due.add(key);
    this.#pump();
  }

  /** As add(), but a key that waits after a failure waits on. */
  suggest(key: string): void {
    if (!this.#timers.has(key)) this.add(key);
  }

  /** Looks at `key` after `delayMs`, if nothing does before. */
  addAfter(key: string, delayMs: number): void {
    if (this.#closed) return;
    this.#timers.get(key)?.cancel();
    this.#timers.set(
      key,
      this.#clock.after(delayMs, () => this.add(key)),
    );
  }

  /** Starts nothing more; resolves when what runs has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#due.clear();
    for (const timer of this.#timers.values()) timer.cancel();
    await Promise.all(this.#running.values());
  }

  #pump(): void {
    for (const key of this.#due) {
      if (this.#running.size >= this.#options.concurrency) return;
      if (this.#running.has(key)) continue;
      this.#due.delete(key);
      this.#running.set(key, this.#work(key));
    }
  }

  async #work(key: string): Promise<void> {
    await Promise.resolve();
    try {
      const againMs = await this.#options.run(key);
      this.#retryMs.delete(key);
      if (againMs !== undefined && !this.#due.has(key)) this.addAfter(key, againMs);
    } catch (thrown) {
      const retryMs = this.#retryMs.get(key) ?? RETRY_MS_MIN;
      this.#retryMs.set(key, Math.min(retryMs * 2, RETRY_MS_MAX));
      // The world's failures are said in a line; ours come with where they happened.
      const where = thrown instanceof PlinthError ? { code: thrown.code } : { err: thrown };
      this.#log.warn({ ...where, key, retryMs }, `${this.#options.name}: ${describeError(thrown)}`);
      if (!this.#due.has(key)) this.addAfter(key, retryMs);
    } finally {
      this.#running.delete(key);
      this.#pump();
    }
  }
}
