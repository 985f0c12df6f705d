// What the switch tells of only while some connection of the bridge wants it: changes of flows, and misses.
// Thread: main.

import type { SwitchModel } from "./switch-model.js";

type Told = Pick<SwitchModel, "watchFlows" | "tellMisses">;

export class Watches {
  readonly #model: Told;
  readonly #watchers = { flows: 0, misses: 0 };
  #origin = 0;

  constructor(model: Told) {
    this.#model = model;
  }

  /** A number that names a connection in flow-change events. Never 0. */
  nextOrigin(): number {
    return ++this.#origin;
  }

  /** One more connection watches, or one less. */
  change(what: "flows" | "misses", isWatching: boolean): void {
    const watchers = this.#watchers;
    watchers[what] += isWatching ? 1 : -1;
    const isTurn = isWatching ? watchers[what] === 1 : watchers[what] === 0;
    if (!isTurn) return;
    const model = this.#model;
    const done = what === "flows" ? model.watchFlows(isWatching) : model.tellMisses(isWatching);
    // When the switch is gone, every connection hears of it by its own requests.
    done.catch(() => undefined);
  }
}
