// Everything about the configuration database that has a maximum.

/** Rows in all tables together; beyond it an insert fails with "resources exhausted". */
export const ROWS_MAX = 200_000;
/** Operations in one transaction of a client; the switch's own have no limit, as they grow with its ports. */
export const OPERATIONS_MAX = 200_000;
/** The longest request of a client. */
export const REQUEST_BYTES_MAX = 64 * 1024 * 1024;
/** Transactions that a returning client's monitor may have missed, the changes in them, and their size. */
export const HISTORY_TRANSACTIONS_MAX = 1_000;
export const HISTORY_CHANGES_MAX = 20_000;
export const HISTORY_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes that may wait for a client that does not read; beyond it it is hung up on. */
export const CLIENT_BACKLOG_BYTES_MAX = 64 * 1024 * 1024;
/** Clients of one listener. */
export const CLIENTS_MAX = 256;
/** Monitors of one connection. */
export const MONITORS_MAX = 256;
/** Locks that one connection holds or waits for. */
export const LOCKS_MAX = 64;
/** The longest single record of the file; a longer one is damage. */
export const RECORD_BYTES_MAX = 256 * 1024 * 1024;
/** The file is rewritten when it is at least this large and more than COMPACT_FACTOR times its last compact size. */
export const COMPACT_BYTES_MIN = 1024 * 1024;
export const COMPACT_FACTOR = 4;
