// What a target is told and tells. Thread: both.
import type { BlkSocketOptions } from "../blk/blk-server.js";
import type { DiskEntry } from "../catalogue/catalogue.js";
import type { NbdPlace } from "../nbd/nbd-listener.js";
import type { TlsMode } from "../nbd/nbd-session.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { DurablePosition } from "../pool/durable-notes.js";
import type { Opening, VolumeSpec } from "../pool/open-pool.js";
import type { Unserved } from "../unserved.js";
import type { PackedUsage } from "../volume/compression.js";
import type { LostRange } from "../volume/lost-blocks.js";
import type { DiskName } from "./disk-returns.js";

export interface OpenDisk extends DiskName {
  readonly suspect: boolean;
  readonly diskClass: string;
  readonly draining: boolean;
  /** Segments that it holds, as far as is known. */
  readonly slotCount: number;
  /** Why it is not there; undefined when it is. */
  readonly missing: string | undefined;
}

export interface OpenedReport {
  /** Volume id → why it is not served. */
  readonly damaged: Readonly<Record<number, Unserved>>;
  /** Disk index → segments that it holds, which disk it is, and the opening that its stamp tells of; those that are there. */
  readonly found: Readonly<Record<number, Pick<DiskEntry, "slotCount" | "diskId" | "usedEpoch">>>;
}

export interface PoolOpening extends Opening {
  readonly name: string;
  readonly poolId: string;
  readonly disks: readonly OpenDisk[];
  readonly mapDirectory: string;
  /** For pages of maps; MAP_MEMORY_BYTES when undefined. */
  readonly mapMemoryBytes: number | undefined;
  /** What was not written for so long is packed; as packer.ts says when undefined. */
  readonly packAfterMs: number | undefined;
  readonly volumes: readonly VolumeSpec[];
}

export interface Listening {
  readonly name: string;
  readonly place: NbdPlace;
  /** What is offered, volumes and volume@snapshot; the first is the default export too. Without it, everything. */
  readonly exports?: readonly string[] | undefined;
  readonly readOnly: boolean;
  /** "refused" when absent. */
  readonly tls?: TlsMode;
}

/** A unix socket where QEMU's vhost-user-blk device finds one volume. */
export interface BlkListening extends BlkSocketOptions {
  readonly path: string;
  readonly volume: string;
  readonly readOnly: boolean;
}

export interface UsageReport extends PackedUsage {
  readonly allocatedBytes: number;
  readonly exclusiveBytes: number;
  readonly snapshots: Readonly<Record<string, number>>;
  /** Room that is kept for overwriting what is shared, one copy counted. */
  readonly promisedBytes: number;
  /** Held only to be rewound to, one copy counted. */
  readonly historyBytes: number;
  /** From then on it can be rewound, ms since 1970; 0: not at all. */
  readonly earliestMs: number;
  /** Room was short, and the window is not kept. */
  readonly historyShort: boolean;
  readonly lostRanges: readonly LostRange[];
  readonly connections: number;
}

export interface ChangedRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface TargetHooks {
  /** A checkpoint is on the medium and waits for the catalogue. */
  onCheckpoint(pool: string, record: CheckpointRecord): void;
  /** How far logs are on the medium, for the catalogue. */
  onDurable(positions: readonly DurablePosition[]): void;
  /** A block was found unreadable. */
  onLost(volume: string, range: LostRange): void;
  /** A disk failed and what it holds may become old, or is trusted again. */
  onSuspect(pool: string, disk: number, suspect: boolean): void;
  /** Room is short: a deleted volume is to go for good. */
  onPurge(pool: string, volume: number): void;
  /** A volume cannot be rewound as far back as it should; why. */
  onHistory(volume: string, why: string): void;
}
