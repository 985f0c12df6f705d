// Every maximum of the API server.

/** A request body. */
export const BODY_SIZE_BYTES_MAX = 3 * 1024 * 1024;
/** Objects and lists inside each other in a request body, and in what a patch makes. */
export const DOCUMENT_DEPTH_MAX = 128;
/** One object, as JSON in the store. */
export const OBJECT_SIZE_BYTES_MAX = 1536 * 1024;
/** Items of one list answer when the client asks for pages. */
export const LIST_LIMIT_MAX = 10_000;
/** Requests a second that one user may go on sending, the reserve for bursts, and requests under way at a time. */
export const USER_REQUESTS_PER_SECOND = 50;
export const USER_BURST_REQUESTS = 200;
export const USER_REQUESTS_IN_FLIGHT_MAX = 64;
/** Requests of all users under way at a time; those that wait for them, of one user and in all; and for how long. */
export const REQUESTS_IN_FLIGHT_MAX = 200;
export const USER_QUEUED_REQUESTS_MAX = 32;
export const QUEUED_REQUESTS_MAX = 1_000;
export const QUEUE_WAIT_MS_MAX = 15_000;
/** Users whose requests are counted at a time. */
export const LIMITED_USERS_MAX = 10_000;
/** Answers longer than this are compressed for clients that take gzip. */
export const GZIP_SIZE_BYTES_MIN = 128 * 1024;
/** Watches open at a time. */
export const WATCHES_MAX = 2_000;
/** Bytes that a slow watcher may leave unread before it is cut off. */
export const WATCH_BACKLOG_BYTES_MAX = 16 * 1024 * 1024;
/** Time between bookmarks on a quiet watch; also keeps the connection alive. */
export const BOOKMARK_INTERVAL_MS = 10_000;
/** A watch ends after this, or earlier when asked by timeoutSeconds. */
export const WATCH_DURATION_MS_MAX = 60 * 60_000;
/** Managers of one object that update it; the oldest are then kept as one. */
export const UPDATE_MANAGERS_MAX = 10;
/** ResourceQuotas in one namespace: each may be written with what it counts. */
export const QUOTAS_PER_NAMESPACE_MAX = 64;
/** Operations of one JSON patch. */
export const PATCH_OPERATIONS_MAX = 1_000;
/** How often a patch is tried again when another write came between. */
export const PATCH_ATTEMPTS_MAX = 8;
/** Objects that the deletion of a collection takes away in one transaction: a store's transaction holds little more. */
export const COLLECTION_OBJECTS_MAX = 4_000;
/** Time for a client to send its request. */
export const REQUEST_TIMEOUT_MS = 60_000;
/** Requests to the host agent (exec, reboot, revert) end after this unless they ask for less. */
export const HOST_CALL_TIMEOUT_MS_MAX = 10 * 60_000;
/** How long an Event is kept. */
export const EVENT_TTL_MS = 60 * 60_000;
/** Events kept at most; the oldest go first. */
export const EVENTS_MAX = 5_000;
/** Console connections at a time. */
export const CONSOLES_MAX = 64;
