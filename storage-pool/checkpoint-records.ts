// What the worker has the catalogue record by itself: checkpoints, and how far logs are on the medium; one after the other.
// Invariant: whatever the worker handed over before `settled` was asked for is recorded when that resolves. Thread: main.
import type { Logger } from "../base/log/index.js";
import type { Catalogue } from "./catalogue/catalogue.js";
import type { CheckpointRecord } from "./pool/checkpoint.js";
import type { DurablePosition } from "./pool/durable-notes.js";
import { recordedKeyframes } from "./pool/keyframes.js";
import type { TargetHandle } from "./target/target-handle.js";

export interface CheckpointRecordsModules {
  readonly catalogue: Catalogue;
  readonly target: Pick<TargetHandle, "ask">;
}

export class CheckpointRecords {
  readonly #modules: CheckpointRecordsModules;
  readonly #log: Logger;
  readonly #startedMs = performance.now();
  /** Volume number → when its last checkpoint was recorded, by the monotonic clock. */
  readonly #recordedMs = new Map<number, number>();
  #chain: Promise<void> = Promise.resolve();

  constructor(modules: CheckpointRecordsModules, log: Logger) {
    this.#modules = modules;
    this.#log = log;
  }

  /** Everything handed over so far is recorded, or was refused. */
  get settled(): Promise<void> {
    return this.#chain;
  }

  /** Since the last checkpoint of a volume, or since the start. */
  ageSeconds(volume: number): number {
    return (performance.now() - (this.#recordedMs.get(volume) ?? this.#startedMs)) / 1000;
  }

  /** Records a checkpoint and tells the worker whether that worked. Never rejects. */
  record(pool: string, record: CheckpointRecord): Promise<void> {
    this.#chain = this.#chain.then(() => this.#record(pool, record));
    return this.#chain;
  }

  /** Records how far logs are on the medium. Never rejects. */
  note(positions: readonly DurablePosition[]): Promise<void> {
    this.#chain = this.#chain
      .then(() => this.#modules.catalogue.putDurable(positions))
      .catch((thrown: unknown) => this.#log.error({ err: thrown }, "how far logs are could not be recorded"));
    return this.#chain;
  }

  async #record(pool: string, record: CheckpointRecord): Promise<void> {
    const { catalogue, target } = this.#modules;
    let recorded = false;
    try {
      const volume = catalogue.volumeById(record.volume);
      if (volume !== undefined) {
        await catalogue.putVolume({
          ...volume,
          mapFile: record.files[""] ?? volume.mapFile,
          checkpointSequence: record.sequence,
          snapshots: volume.snapshots.map((each) => ({
            ...each,
            mapFile: record.files[each.name] ?? each.mapFile,
          })),
          keyframes: recordedKeyframes(volume, record),
          clockMs: record.clockMs,
        });
        recorded = true;
        this.#recordedMs.set(volume.id, performance.now());
      }
    } catch (thrown) {
      this.#log.error({ err: thrown, pool }, "a checkpoint could not be recorded");
    }
    await target.ask("checkpointRecorded", { pool, recorded }).catch(() => undefined);
  }
}
