// The main thread's end of the storage worker. Requests are carried out in the order in which they were made.
// Thread: main.
import type { PlinthError } from "../../base/errors/index.js";
import { WorkerHandle } from "../../base/worker/index.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { DurablePosition } from "../pool/durable-notes.js";
import type { LostRange } from "../volume/lost-blocks.js";
import type { TargetMethods } from "./target-methods.js";

export interface TargetEvents {
  /** A checkpoint is on the medium: record it in the catalogue, then call `checkpointRecorded`. */
  onCheckpoint(pool: string, record: CheckpointRecord): void;
  /** How far logs are on the medium: to be recorded in the catalogue. */
  onDurable(positions: readonly DurablePosition[]): void;
  /** A block of a volume was found unreadable. */
  onLost(volume: string, range: LostRange): void;
  /** A disk failed and what it holds may become old, or is trusted again. */
  onSuspect(pool: string, disk: number, suspect: boolean): void;
  /** Room is short: a deleted volume is to go for good. */
  onPurge(pool: string, volume: number): void;
  /** A volume cannot be rewound as far back as it should. */
  onHistory(volume: string, why: string): void;
  /** The thread died: a broken invariant. */
  onDied(error: PlinthError): void;
}

/** What the worker tells without being asked, and whom. */
const TOLD = {
  durable: (events: TargetEvents, body: { positions: readonly DurablePosition[] }) =>
    events.onDurable(body.positions),
  lost: (events: TargetEvents, body: { volume: string; range: LostRange }) =>
    events.onLost(body.volume, body.range),
  suspect: (events: TargetEvents, body: { pool: string; disk: number; suspect: boolean }) =>
    events.onSuspect(body.pool, body.disk, body.suspect),
  purge: (events: TargetEvents, body: { pool: string; volume: number }) =>
    events.onPurge(body.pool, body.volume),
  history: (events: TargetEvents, body: { volume: string; why: string }) =>
    events.onHistory(body.volume, body.why),
  checkpoint: (events: TargetEvents, body: { pool: string; record: CheckpointRecord }) =>
    events.onCheckpoint(body.pool, body.record),
};

export class TargetHandle {
  readonly #worker: WorkerHandle;

  constructor(events: TargetEvents) {
    this.#worker = new WorkerHandle(new URL("./target-worker.js", import.meta.url), {
      name: "storage",
      onEvent: (event, body) => {
        const say = (TOLD as Record<string, (events: TargetEvents, body: never) => void>)[event];
        say?.(events, body as never);
      },
      onDied: (error) => events.onDied(error),
    });
  }

  /** Asks the worker; rejects with its PlinthError. */
  ask<M extends keyof TargetMethods>(method: M, body: TargetMethods[M][0]): Promise<TargetMethods[M][1]> {
    return this.#worker.request<TargetMethods[M][1]>(method, body);
  }

  /** Everything committed is durable and every socket gone when it resolves. */
  close(): Promise<void> {
    return this.#worker.close(15_000);
  }
}
