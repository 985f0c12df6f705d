// Runs a pass over the present state whenever something changed: one at a time, and again when something changed
// meanwhile. A pass that fails is tried again after a pause, so that every controller here is level-triggered.
import { describeError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";

const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 10_000;
const PARALLEL_MAX = 32;

export class PassRunner {
  readonly #name: string;
  readonly #pass: () => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #due = false;
  #running: Promise<void> | undefined;
  #retryMs = RETRY_MS_MIN;
  #retry: Timer | undefined;
  #closed = false;

  constructor(
    name: string,
    pass: () => Promise<void>,
    modules: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#name = name;
    this.#pass = pass;
    this.#clock = modules.clock;
    this.#log = modules.log;
  }

  /** Something changed: a pass starts soon. */
  trigger(): void {
    this.#due = true;
    if (!this.#closed) this.#running ??= this.#run();
  }

  /** No pass starts any more; resolves when the one under way is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#running;
  }

  async #run(): Promise<void> {
    // Changes that come together are looked at together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#due && !this.#closed) {
      this.#due = false;
      try {
        await this.#pass();
        this.#retryMs = RETRY_MS_MIN;
      } catch (thrown) {
        this.#log.warn({ err: thrown }, `${this.#name} is tried again: ${describeError(thrown)}`);
        this.#retry?.cancel();
        this.#retry = this.#clock.after(this.#retryMs, () => this.trigger());
        this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
      }
    }
    this.#running = undefined;
  }
}

/** Works on many items at a time, so that their writes share the store's disk writes. Rejects with the first failure. */
export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) await work(items[next++] as T);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_MAX, items.length) }, worker));
}
