// What the main thread can ask of the storage worker: name → what goes in, what comes out. Thread: both.
import type { WorkerReport } from "../metrics/metrics.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { JobReport } from "../pool/job.js";
import type { KeyframeSpec, VolumeSpec } from "../pool/open-pool.js";
import type { NewMap } from "../pool/pool.js";
import type { PoolUsage } from "../pool/pool-usage.js";
import type { Reverted } from "../pool/reverts.js";
import type { RewindProgress } from "../pool/rewind.js";
import type { VolumeLimits } from "../qos/volume-share.js";
import type { DiffView } from "../snapshot-control.js";
import type { Compression } from "../volume/compression.js";
import type { DiskAway, DiskName } from "./disk-returns.js";
import type { BlkListening, Listening, OpenedReport, PoolOpening, UsageReport } from "./target-types.js";

interface OfVolume {
  readonly pool: string;
  readonly id: number;
}

export interface TargetMethods {
  io: [undefined, { plainReason: string }];
  formatPool: [{ name: string; poolId: string; disks: readonly string[] }, undefined];
  /** For each disk why it cannot be used, "" when it can. */
  probeDisks: [{ poolId: string; disks: readonly DiskName[] }, string[]];
  openPool: [PoolOpening, OpenedReport];
  /** Its clients are disconnected; they wait for `goOn` when it is to be opened again at once. */
  closePool: [{ pool: string; reopened: boolean }, undefined];
  /** Clients that wait go on, or are disconnected where their volume is not served. */
  goOn: [undefined, undefined];
  /** The disks on whose medium the stamp is. */
  stampDisks: [{ pool: string; epoch: number }, readonly number[]];
  /** Segments that the disk holds. */
  addDisk: [DiskName & { pool: string; poolId: string; diskClass: string }, number];
  /** Disks that are not as they should be, after a look whether they are at their paths. */
  disksAway: [{ pool: string }, readonly DiskAway[]];
  /** A disk that was missing or failed is used again (""), or why the pool has to be opened anew for it. */
  takeBackDisk: [DiskName & { pool: string; poolId: string; epoch: number }, string];
  /** New segments of volumes of a class are put there from now on, or not any more. */
  classDisk: [{ pool: string; index: number; diskClass: string }, undefined];
  /** The job's number. */
  drainDisk: [{ pool: string; index: number }, number];
  undrainDisk: [{ pool: string; index: number }, undefined];
  checkRemoveDisk: [{ pool: string; index: number; lost: boolean }, undefined];
  removeDisk: [{ pool: string; index: number }, undefined];
  scrub: [{ pool: string; bytesPerSecond: number; nextSegment: number }, number];
  cancelScrub: [{ pool: string }, undefined];
  prove: [OfVolume, number];
  jobs: [{ pool: string }, readonly JobReport[]];
  poolUsage: [{ pool: string }, PoolUsage];
  /** Key name → key, of encrypted volumes. */
  unlock: [{ pool: string; keys: Readonly<Record<string, Uint8Array>> }, undefined];
  setLimits: [OfVolume & { limits: VolumeLimits }, undefined];
  setCompression: [OfVolume & { compression: Compression }, undefined];
  /** What was counted since the start. */
  metrics: [undefined, WorkerReport];
  createVolume: [{ pool: string; spec: VolumeSpec }, undefined];
  cloneVolume: [{ pool: string; spec: VolumeSpec; origin: number; snapshot: string }, NewMap];
  deleteVolume: [OfVolume & { name: string }, undefined];
  /** Kept under another name, and found by nobody. */
  trashVolume: [OfVolume & { to: string; deletedAtMs: number }, undefined];
  untrashVolume: [OfVolume & { name: string }, undefined];
  /** Keyframes that the catalogue has to name. */
  setRewind: [OfVolume & { windowMs: number }, KeyframeSpec[]];
  beginRewind: [OfVolume & { timeMs: number }, undefined];
  stepRewind: [OfVolume, RewindProgress];
  endRewind: [OfVolume, undefined];
  growVolume: [OfVolume & { sizeBytes: number }, undefined];
  createSnapshots: [{ pool: string; ids: readonly number[]; name: string }, NewMap[]];
  /** `to` "": the volume as it is now. */
  diff: [OfVolume & { from: string; to: string }, DiffView];
  deleteSnapshot: [OfVolume & { name: string }, undefined];
  /** `snapshot` "": to the moment that was looked up. */
  prepareRevert: [OfVolume & { snapshot: string }, Reverted];
  finishRevert: [OfVolume & { recorded: boolean }, undefined];
  /** `exact`: counted now. */
  usage: [OfVolume & { exact: boolean }, UsageReport];
  hold: [{ pool: string }, undefined];
  release: [{ pool: string }, undefined];
  checkpointNow: [OfVolume, CheckpointRecord | undefined];
  checkpointRecorded: [{ pool: string; recorded: boolean }, undefined];
  /** The port, when there is one. */
  listen: [Listening, number];
  listenBlk: [BlkListening, undefined];
  unlisten: [{ name: string }, undefined];
}
