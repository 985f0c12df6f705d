// Everything about JSON-RPC that has a maximum.

/** The longest single JSON value that a peer may send (bytes). */
export const JSON_SIZE_BYTES_MAX = 32 * 1024 * 1024;
/** The deepest nesting of arrays and objects, as in Open vSwitch. */
export const JSON_DEPTH_MAX = 1000;
/** Bytes that may wait for a peer that does not read; beyond it the connection is closed. */
export const BACKLOG_BYTES_MAX = 128 * 1024 * 1024;
/** Requests of one peer that may be under way at once; further ones are answered with an error. */
export const REQUESTS_PENDING_MAX = 1024;
/** A call without its own deadline waits this long. */
export const CALL_TIMEOUT_MS = 10_000;
/** Peers that a listener serves at once. */
export const CONNECTIONS_MAX = 1024;
/** A TLS peer must be done with the handshake after this. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
