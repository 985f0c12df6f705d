// The main thread's end of the storage worker. Requests are carried out in the order in which they were made.
// Thread: main.
import type { PlinthError } from "../../base/errors/index.js";
import { WorkerHandle } from "../../base/worker/index.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { LostRange } from "../volume/lost-blocks.js";
import type { TargetMethods } from "./target-methods.js";

export interface TargetEvents {
  /** A checkpoint is on the medium: record it in the catalogue, then call `checkpointRecorded`. */
  onCheckpoint(pool: string, record: CheckpointRecord): void;
  /** A block of a volume was found unreadable. */
  onLost(volume: string, range: LostRange): void;
  /** A disk failed and what it holds may become old, or is trusted again. */
  onSuspect(pool: string, disk: number, suspect: boolean): void;
  /** The thread died: a broken invariant. */
  onDied(error: PlinthError): void;
}

export class TargetHandle {
  readonly #worker: WorkerHandle;

  constructor(events: TargetEvents) {
    this.#worker = new WorkerHandle(new URL("./target-worker.js", import.meta.url), {
      name: "storage",
      onEvent: (event, body) => {
        if (event === "lost") {
          const { volume, range } = body as { volume: string; range: LostRange };
          events.onLost(volume, range);
          return;
        }
        if (event === "suspect") {
          const { pool, disk, suspect } = body as { pool: string; disk: number; suspect: boolean };
          events.onSuspect(pool, disk, suspect);
          return;
        }
        const { pool, record } = body as { pool: string; record: CheckpointRecord };
        events.onCheckpoint(pool, record);
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
