// How many connections of a bridge watch its flows: the switch tells of changes only while somebody does.
// Thread: main.

import type { SwitchModel } from "./switch-model.js";

export class FlowWatch {
  readonly #model: Pick<SwitchModel, "watchFlows">;
  #watchers = 0;
  #origin = 0;

  constructor(model: Pick<SwitchModel, "watchFlows">) {
    this.#model = model;
  }

  /** A number that names a connection in flow-change events. Never 0. */
  nextOrigin(): number {
    return ++this.#origin;
  }

  /** One more connection watches, or one less. */
  change(isWatching: boolean): void {
    this.#watchers += isWatching ? 1 : -1;
    const isTurn = isWatching ? this.#watchers === 1 : this.#watchers === 0;
    // When the switch is gone, every connection hears of it by its own requests.
    if (isTurn) this.#model.watchFlows(isWatching).catch(() => undefined);
  }
}
