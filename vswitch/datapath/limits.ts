// Rhythm and bounds of the datapath.

export const BRIDGES_MAX = 64;
/** Frames that wait in one queue of a port: a power of two. */
export const QUEUE_FRAMES_MAX = 256;
/** Largest ordinary OpenFlow port number (OFPP_MAX − 1 lies beyond what OVSDB shows). */
export const OFPORT_MAX = 0xfeff;
/** Packet-ins per port: this many a second, and this many at once. */
export const PACKET_INS_PER_SECOND = 1000;
export const PACKET_INS_BURST = 200;
/** Events that wait for the main thread within one breath; further packet-ins are dropped. */
export const EVENTS_MAX = 1024;
/** Housekeeping of ports under load. */
export const TICK_INTERVAL_MS = 5;
/** The longest that a switch may take to hand its ports over; then it is killed, and they are opened anew. */
export const HAND_OVER_DEADLINE_MS = 5_000;
/** The longest that it goes on forwarding what the kernel had given it already. */
export const STOP_MAX_MS = 10;
/** The same, to what waits at a queue that is to be lent: no guest waits for that, and usually nothing does. */
export const LEND_MAX_MS = 100;
/** What it says of its ports and stations. */
export const HANDED_SIZE_MAX = 64 << 20;
/** A port with fewer frames in a breath has no more to do than it gets; see fair-turns.ts. */
export const FAIR_FRAMES_MIN = 16;
/** Frames that cost less than so many times what the cheapest do are as cheap. */
export const FAIR_COST_MIN = 1.5;
/**
 * What a frame leaves behind for others to find in the way, and to be swept up (a connection, a station, an entry of a
 * cache, a packet-in), counts as so many times the time that it took.
 */
export const NEWS_CHARGE = 2;
/** Breaths that a port sits out at most. */
export const TURNS_OUT_MAX = 256;
/** Time-outs of flows and connections, ageing. */
export const SWEEP_INTERVAL_MS = 500;
/** The longest sleep of an idle datapath: ports are ticked at least this often. */
export const SLEEP_MAX_MS = 250;
/** The same after so many sleeps that nothing ended. */
export const SLEEP_CALM_MS = 500;
export const CALM_SLEEPS = 20;
/** What the main thread asks for is done so much at a time, so that ports need not wait for many requests. */
export const REQUESTS_PER_TURN = 1;
/** Frames that go between two requests while frames come; by the express lane they take a few tenths of a millisecond. */
export const FRAMES_PER_REQUEST = 2048;
/** Frames that wait have so many times as long as a request took, but at most so long, before the next. */
export const FRAMES_SHARE = 12;
export const FRAMES_SHARE_MAX_MS = 20;
/** Changes of a bridge in one request; one of flows takes some ten microseconds. */
export const CHANGES_PER_REQUEST = 32;
/** How long to poll without work before sleeping: after at least SPIN_PACKETS since the last sleep, and after fewer. */
export const SPIN_BUSY_MS = 0.2;
export const SPIN_CALM_MS = 0.02;
export const SPIN_PACKETS = 256;
/**
 * The same for somebody who asks again as soon as there is an answer, as a client does that changes one flow at a time:
 * when so many requests have come in a row, each within that time after the one before.
 */
export const SPIN_ASKED_MS = 0.3;
export const SPIN_REQUESTS = 8;
/** Tables of a bridge: 0–253, as Open vSwitch has them. */
export const TABLE_COUNT = 254;
/** How far back the usage of ports by pmd-rxq-show goes, at most. */
export const USAGE_WINDOW_MS = 60_000;
/** Frames per port and breath: what a breath costs by itself, about half a microsecond, is shared by so many. */
export const BURST_SIZE = 64;
/** How long the main thread may wait for a single answer without doing anything else. */
export const LINGER_MS = 0.05;
/** The longest that the worker may take to answer the main thread; then the daemon ends and is started again. */
export const ANSWER_DEADLINE_MS = 30_000;
/** How often it is looked whether port workers breathe, and how many looks may find one where it was. */
export const WORKER_LOOK_MS = 1000;
export const STILL_LOOKS_MAX = 10;
/** Port workers that may die within so long and are started again; with one more the daemon ends. */
export const WORKER_DEATHS_MAX = 5;
export const WORKER_DEATHS_MS = 60_000;
/** How long to wait before a port is opened again that its new worker could not open. */
export const PORT_RETRY_MS = 1000;
/** How often it is looked whether queues of guests have come or changed. */
export const QUEUE_LOOK_MS = 250;
/** After a change nothing is published to port workers for so long: others may follow. */
export const PUBLISH_CALM_MS = 10;
/** Verdicts on frames of a port that found no place, before what is published makes room. */
export const REFUSALS_MAX = 256;
/** Bursts for which the express lane stays closed at most, where it brings nothing. */
export const EXPRESS_MISSES_MAX = 255;
