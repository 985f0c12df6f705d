// What a pool gives up when writers wait and cleaning wins nothing more, the dearest last: open segments of others, promises
// that nobody needs, deleted volumes, the past. Thread: the pool's worker. Hot: no.
import type { LogWriter } from "../log/log-writer.js";
import type { Volume } from "../volume/volume.js";
import type { HistoryKeeper } from "./history-keeper.js";
import type { Room } from "./room.js";

/** Until a deleted volume is gone for good. */
const PURGE_WAIT_MS = 10_000;

export interface SparingOptions {
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly room: Room;
  /** A deleted volume is to go for good, soon. */
  readonly onPurge: (volume: number) => void;
}

export class Sparing {
  readonly #options: SparingOptions;
  readonly #history: HistoryKeeper;
  /** Open segments were closed for the room that is wanted now. */
  #sealed = false;
  /** The deleted volume that was asked to go, and how long it is waited for. */
  #purging = 0;
  #purgeUntilMs = 0;

  constructor(options: SparingOptions, history: HistoryKeeper) {
    this.#options = options;
    this.#history = history;
  }

  /** "again": something was given up, cleaning may win; "wait": something will be; "retry": ask again; "nothing" is left. */
  spare(nowMs: number): "again" | "wait" | "retry" | "nothing" {
    const { volumes, room, onPurge } = this.#options;
    if (!this.#sealed) {
      this.#sealed = true;
      sealLogs(volumes, []);
      return "again";
    }
    if (room.recountAll()) return "retry";
    const deleted = [...volumes.values()].filter((volume) => volume.deletedAtMs > 0);
    if (deleted.length > 0) {
      const oldest = deleted.reduce((a, b) => (b.deletedAtMs < a.deletedAtMs ? b : a));
      if (this.#purging !== oldest.id) {
        this.#purging = oldest.id;
        this.#purgeUntilMs = nowMs + PURGE_WAIT_MS;
        onPurge(oldest.id);
        return "wait";
      }
      if (nowMs < this.#purgeUntilMs) return "wait";
    }
    return this.#history.shorten() ? "again" : "nothing";
  }

  /** Nobody waits any more. */
  end(): void {
    this.#sealed = false;
  }
}

/** Nothing more goes into segments that are open. */
export function sealLogs(volumes: ReadonlyMap<number, Volume>, others: readonly LogWriter[]): void {
  for (const { writer } of volumes.values()) {
    writer.settle();
    writer.seal();
  }
  for (const writer of others) writer.seal();
}
