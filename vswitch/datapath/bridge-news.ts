// Where the news of a bridge go: to whoever listens, to the file that keeps what is in force, and for the time of a
// bundle nowhere, since it may be undone. Thread: datapath worker.
import type { GroupMod, MeterMod } from "../../base/openflow/index.js";
import type { BridgeEvent } from "./events.js";
import type { FlowKeeper } from "./flow-keeper.js";

type News = BridgeEvent | GroupMod | MeterMod;

export class BridgeNews {
  /** Every change of a flow is told too. */
  isWatched = false;
  /** Keeps what is in force; null where nobody does. */
  keeper: FlowKeeper | null = null;
  readonly #emit: (event: BridgeEvent) => boolean;
  #held: News[] | null = null;

  /** `emit` takes an event; false when there is no room for it. */
  constructor(emit: (event: BridgeEvent) => boolean) {
    this.#emit = emit;
  }

  /** A group or meter was changed so. False when an event had no room. */
  tell(news: News): boolean {
    if (this.#held === null) return this.#publish(news);
    this.#held.push(news);
    return true;
  }

  /** A flow-mod did nothing but what it says. False where somebody is to be told what that was. */
  keepMessage(encoded: Uint8Array): boolean {
    if (this.#held !== null || this.isWatched) return false;
    this.keeper?.keepMessage(encoded);
    return true;
  }

  hold(): void {
    this.#held = [];
  }

  /** What was held has come to pass. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (let i = 0; i < held.length; i++) this.#publish(held[i] as News);
  }

  /** What was held has not come to pass. */
  forget(): void {
    this.#held = null;
  }

  #publish(news: News): boolean {
    switch (news.type) {
      case "group_mod":
      case "meter_mod":
        this.keeper?.keep(news);
        return true;
      case "flow_change":
        this.keeper?.keepFlow(news);
        return this.isWatched ? this.#emit(news) : true;
      default:
        return this.#emit(news);
    }
  }
}
