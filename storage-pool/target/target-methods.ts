// What the main thread can ask of the storage worker: name → what goes in, what comes out. Thread: both.
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { VolumeSpec } from "../pool/open-pool.js";
import type { NewMap, PoolUsage } from "../pool/pool.js";
import type { Listening, PoolOpening, UsageReport } from "./target.js";

interface OfVolume {
  readonly pool: string;
  readonly id: number;
}

export interface TargetMethods {
  io: [undefined, { plainReason: string }];
  formatPool: [{ name: string; poolId: string; disks: readonly string[] }, void];
  /** Volume id → damage. */
  openPool: [PoolOpening, Record<number, string>];
  poolUsage: [{ pool: string }, PoolUsage];
  createVolume: [{ pool: string; spec: VolumeSpec }, void];
  cloneVolume: [{ pool: string; spec: VolumeSpec; origin: number; snapshot: string }, NewMap];
  deleteVolume: [OfVolume & { name: string }, void];
  growVolume: [OfVolume & { sizeBytes: number }, void];
  createSnapshot: [OfVolume & { name: string }, NewMap];
  deleteSnapshot: [OfVolume & { name: string }, void];
  prepareRevert: [OfVolume & { snapshot: string }, NewMap];
  finishRevert: [OfVolume & { recorded: boolean }, void];
  usage: [OfVolume, UsageReport];
  hold: [{ pool: string }, void];
  release: [{ pool: string }, void];
  checkpointNow: [OfVolume, CheckpointRecord | undefined];
  checkpointRecorded: [{ pool: string; recorded: boolean }, void];
  listen: [Listening, void];
  unlisten: [{ path: string }, void];
}
