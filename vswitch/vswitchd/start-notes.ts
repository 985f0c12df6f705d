// Says, once for each configuration, what is asked of the switch's threads and tables and is not so. Thread: main.
import type { Logger } from "../../base/log/index.js";
import type { SwitchConfig } from "./model.js";
import { type StartConfig, startConfigOf } from "./start-config.js";

export class StartNotes {
  readonly #running: StartConfig;
  readonly #log: Pick<Logger, "warn">;
  #told = "";

  /** `running`: what the switch was started with, whatever the database comes to say. */
  constructor(running: StartConfig, log: Pick<Logger, "warn">) {
    this.#running = running;
    this.#log = log;
  }

  observe(config: Pick<SwitchConfig, "threads" | "connectionsMax">): void {
    const { cores, connectionsMax } = startConfigOf(config);
    const running = this.#running;
    const late = [
      ...(JSON.stringify(cores) === JSON.stringify(running.cores) ? [] : ["pmd-cpu-mask"]),
      ...(connectionsMax === running.connectionsMax ? [] : ["ct-maxconns"]),
    ];
    const all = [
      ...config.threads.problems,
      ...late.map(
        (key) =>
          `other_config:${key} takes effect when the switch is started again${key === "ct-maxconns" ? "" : ", or upgraded"}`,
      ),
    ];
    const text = JSON.stringify([cores, connectionsMax, all]);
    if (text === this.#told) return;
    this.#told = text;
    for (const problem of all) this.#log.warn({ cores, running: running.cores }, problem);
  }
}
