// Every maximum of the store. Reaching one is an ordinary, named error.

/** A key in UTF-8 bytes. */
export const KEY_SIZE_BYTES_MAX = 1024;
/** One value. */
export const VALUE_SIZE_BYTES_MAX = 4 * 1024 * 1024;
/** Operations in one transaction. */
export const TRANSACTION_OPERATIONS_MAX = 4096;
/** Transactions waiting for the disk; more are refused with STORE_OVERLOADED. */
export const PENDING_TRANSACTIONS_MAX = 16_384;
/** After a failed write, how often writing is tried again at most. */
export const RECOVERY_INTERVAL_MS = 1000;
/** Events kept for watchers that come back. */
export const HISTORY_EVENTS_MAX = 20_000;
/** Of these, the events that outlive a restart of a level store that keeps them, and the bytes of their records. */
export const LEVEL_HISTORY_EVENTS_MAX = 4096;
export const LEVEL_HISTORY_SIZE_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes of values held by that history. */
export const HISTORY_SIZE_BYTES_MAX = 64 * 1024 * 1024;
