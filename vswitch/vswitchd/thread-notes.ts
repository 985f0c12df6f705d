// Says, once for each configuration, what is asked of the switch's threads and is not so. Thread: main.
import type { Logger } from "../../base/log/index.js";
import type { ThreadConfig } from "./read-threads.js";

export class ThreadNotes {
  readonly #running: readonly number[];
  readonly #log: Pick<Logger, "warn">;
  #told = "";

  /** `running`: the cores that the switch works on, whatever the database comes to say. */
  constructor(running: readonly number[], log: Pick<Logger, "warn">) {
    this.#running = running;
    this.#log = log;
  }

  observe({ cores, problems }: ThreadConfig): void {
    const isOther = JSON.stringify(cores) !== JSON.stringify(this.#running);
    const all = isOther
      ? [...problems, "other_config:pmd-cpu-mask takes effect when the switch is started again, or upgraded"]
      : problems;
    const text = JSON.stringify([cores, all]);
    if (text === this.#told) return;
    this.#told = text;
    for (const problem of all) this.#log.warn({ cores, running: this.#running }, problem);
  }
}
