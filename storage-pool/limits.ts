// Every maximum of the storage pool. Reaching one is an ordinary, named error.

/** Bytes of one block: the unit of the map, of checksums and of alignment. */
export const BLOCK_SIZE = 4096;
/** Largest volume: block numbers stay far inside 32 bits. */
export const VOLUME_SIZE_BYTES_MAX = 4 * 1024 ** 4;
/** Volumes, snapshots and frozen maps that one pool holds; keeps a block's reference count inside 16 bits. */
export const ROOTS_MAX = 30_000;
export const SNAPSHOTS_PER_VOLUME_MAX = 1024;
/** Volumes of which one call makes snapshots at one moment. */
export const GROUP_VOLUMES_MAX = 256;
/** Ranges that a diff tells one by one. */
export const DIFF_RANGES_MAX = 4096;
export const COPIES_MAX = 2;
export const DISKS_MAX = 16;
/** "namespace/volume", or a snapshot's name. */
export const NAME_LENGTH_MAX = 253;

/** Longest window that a volume can be rewound within. */
export const REWIND_SECONDS_MAX = 90 * 86_400;
/** How long a deleted volume can be asked back when nothing else is said, and at most. */
export const UNDO_SECONDS = 24 * 3600;
export const UNDO_SECONDS_MAX = 90 * 86_400;
export const SCHEDULES_PER_VOLUME_MAX = 16;
/** Limits that a volume can have: requests and bytes each second, and seconds' worth that are saved up. */
export const IOPS_MAX = 100_000_000;
export const BYTES_PER_SECOND_MAX = 1024 ** 4;
export const BURST_SECONDS_MAX = 3600;
/** Characters of a passphrase for the key of a pool. */
export const PASSPHRASE_LENGTH_MIN = 8;
export const PASSPHRASE_LENGTH_MAX = 512;

/** One NBD request's payload. */
export const REQUEST_SIZE_BYTES_MAX = 32 * 1024 * 1024;
/** Replies of one connection that the client has not taken yet; then no more requests are read from it. */
export const REPLY_QUEUE_BYTES_MAX = 4 * 1024 * 1024;
export const NBD_STRING_BYTES_MAX = 4096;
export const NBD_OPTION_BYTES_MAX = 64 * 1024;
/** Longer options are not looked at, but answered up to this. */
export const NBD_OPTION_SKIPPED_BYTES_MAX = 32 * 1024 * 1024;
/**
 * Options in one handshake, those more for each export that there is (clients that list ask about every one of them), and
 * the time for it: a client that neither goes nor leaves is closed.
 */
export const NBD_OPTIONS_MAX = 128;
export const NBD_OPTIONS_PER_EXPORT_MAX = 8;
export const NBD_HANDSHAKE_MS = 30_000;
export const CONNECTIONS_MAX = 512;
/** Connections of one socket: a hostile client takes only its own share. */
export const CONNECTIONS_PER_SOCKET_MAX = 64;
/** Metadata contexts that one connection may choose. */
export const NBD_CONTEXTS_MAX = 16;
/** Flushes of one connection that wait for the disk; then no more requests are read from it. */
export const FLUSHES_MAX = 1024;
/** Extents in one block status reply, and the bytes that one request may make us look up in the map. */
export const STATUS_EXTENTS_MAX = 4096;
export const LOOKUP_SPAN_BYTES_MAX = 4 * 1024 ** 3;

/**
 * What a start may have to replay before a checkpoint is made, of all volumes together, in bytes of log; a record counts
 * as CHECKPOINT_RECORD_BYTES more, for its page of the map may have to be read. With many volumes each may have the least.
 */
export const CHECKPOINT_COST_BYTES = 1024 * 1024 * 1024;
export const CHECKPOINT_RECORD_BYTES = 4096;
export const CHECKPOINT_COST_LEAST = 32 * 1024 * 1024;
/** Memory for pages of maps, of one pool, when nothing else is said, and at least; a page is 4 KiB for each 2 MiB of volume. */
export const MAP_MEMORY_BYTES = 128 * 1024 * 1024;
export const MAP_MEMORY_BYTES_MIN = 8 * 1024 * 1024;
/** Share of these that may be changed before a checkpoint is made: more than a working set of 16 GiB side by side has. */
export const MAP_DIRTY_SHARE = 3 / 8;
/** Pages that are read when a pool is opened, so that small ones are counted at once; the others follow in the background. */
export const MAP_PAGES_AT_OPEN = 4 * 1024;
/** A changed volume gets its checkpoint after this time at the latest when the space of dead blocks waits for it. */
export const CHECKPOINT_IDLE_MS = 500;
/** The catalogue learns at most so often how far logs are on the medium. */
export const DURABLE_NOTE_MS = 1000;
/** Freed segments whose space may wait for reuse while writers are busy; more are given back at once. */
export const UNPUNCHED_MAX = 256;
/** So long after the last write freed segments keep their space for the next ones, unless it is wanted elsewhere. */
export const UNPUNCHED_MS = 30_000;
/** Segments whose space is given back in one step of housekeeping. */
export const PUNCH_STEP = 8;
/** Unreadable blocks of one volume or snapshot that are remembered by name; the pool counts all. */
export const LOST_BLOCKS_MAX = 4096;
/** Segments kept back from writers, so that the cleaner and TRIM can always make progress. */
export const RESERVE_SEGMENTS = 3;
/** The part of them that is kept back from TRIM and marks as well, for the cleaner alone. */
export const RESERVE_CLEANER = 2;
/** Share of a pool's blocks that may be stored or promised: the cleaner can always win something from the rest. */
export const USABLE_SHARE = 0.88;
/** Without a request for so long clients count as idle, and the cleaner does not hold back. */
export const CLEAN_IDLE_MS = 20;
/** A sealed segment with a smaller share of live blocks is worth moving (percent). */
export const CLEAN_LIVE_PERCENT = 50;
/** The same when free segments run out. */
export const CLEAN_LIVE_PERCENT_URGENT = 90;
