// What a pool tells and asks of whoever runs it. Thread: the pool's worker.
import type { Packing } from "../log/packer.js";
import type { LostRange } from "../volume/lost-blocks.js";
import type { DurablePosition } from "./durable-notes.js";
import type { MapMemory } from "./open-pool.js";

export interface PoolHooks {
  /** It is only looked at: nothing that is written stays, so no mark ends what a log lost its end to. */
  readonly isLookedAt?: boolean;
  /** Memory for maps; default: what limits.ts says. */
  readonly mapMemory?: MapMemory;
  /** What is packed of volumes that are to be compressed, and when; default: what packer.ts says. */
  readonly packing?: Packing;
  /** Syncs the pool beside other work; without it checkpoints wait for the disks. */
  readonly syncAside?: (onSynced: () => void) => void;
  /** Milliseconds since 1970; default: the system's. */
  readonly wallClock?: () => number;
  /** Milliseconds of a clock that only rises, for measuring steps of jobs; default: the system's. */
  readonly steadyClock?: () => number;
  /** How far logs are on the medium: the next opening is to be told. */
  readonly onDurable?: (positions: readonly DurablePosition[]) => void;
  /** A disk failed, or one that was suspect is trusted again. */
  readonly onFailed?: (disk: number) => void;
  readonly onTrusted?: (disk: number) => void;
  /** Room is short: this deleted volume is to go for good now. */
  readonly onPurge?: (volume: number) => void;
  /** Room was short: a volume cannot be rewound as far back as its window says. */
  readonly onHistoryShort?: (volume: string) => void;
  /** A volume cannot be rewound to before now any more. */
  readonly onHistoryLost?: (volume: string, why: string) => void;
  /** A block of `volume` was found unreadable, for the first time. */
  readonly onLost?: (volume: string, range: LostRange) => void;
}
