// Every bound of the network functions. Reaching one is ordinary: it is counted or refused by name.

/** Functions that one nfd runs. */
export const FUNCTIONS_MAX = 256;
/** Endpoints behind one load balancer. */
export const ENDPOINTS_MAX = 256;
/** Balanced ports of one load balancer; a service number is 8 bits in the connection table. */
export const SERVICES_MAX = 32;
/** Connections that one load balancer remembers; a power of two. 1 MiB of memory. */
export const CONNECTIONS_MAX = 65_536;
/** A connection without a packet for this long is forgotten (TCP keep-alive's default is 2 h; established Linux conntrack 5 d). */
export const CONNECTION_IDLE_S = 3_600;
/** Longest sleep of the engine: probes and reconnects are due at this precision. */
export const TICK_MS = 20;
/** What the main thread asks for is done so much at a time: packets need not wait for many requests. */
export const REQUESTS_PER_TURN = 1;
/** Polls without a packet before the engine sleeps. */
export const IDLE_POLLS_MAX = 64;
/** Longest path of an HTTP check: with it the request fits into one segment on every link. */
export const HTTP_PATH_MAX = 256;
/** The longest that the worker may take to answer the main thread; then the daemon ends and is started again. */
export const ANSWER_DEADLINE_MS = 30_000;
