// Maxima of the OpenFlow agent; reaching one is ordinary, counted and answered.

/** Management connections (ovs-ofctl) of one bridge at a time; further ones are closed at once. */
export const MANAGEMENT_CONNECTIONS_MAX = 64;
/** Snoopers of one bridge at a time; further ones are closed at once. */
export const SNOOPERS_MAX = 8;
/** Bytes waiting to be written to a snooper above which it is hung up on; long answers come in one burst. */
export const SNOOP_QUEUE_BYTES_MAX = 16 * 1024 * 1024;
/** Controllers of one bridge. */
export const CONTROLLERS_MAX = 16;
/** Requests of one connection that wait for an answer; above, its socket is not read. */
export const REQUESTS_OUTSTANDING_MAX = 4096;
/** Bytes waiting to be written to one connection; above, its socket is not read. */
export const SEND_QUEUE_BYTES_MAX = 4 * 1024 * 1024;
/** Bytes waiting above which packet-ins to that connection are dropped and counted. */
export const PACKET_IN_QUEUE_BYTES_MAX = 1024 * 1024;
/** Bundles of one connection that are open or closed but not committed. */
export const BUNDLES_MAX = 64;
/** Messages in one bundle, and bytes of messages in all bundles of one connection. */
export const BUNDLE_MESSAGES_MAX = 262_144;
export const BUNDLE_BYTES_MAX = 32 * 1024 * 1024;
/** A bundle of which nothing is heard for so long is discarded. */
export const BUNDLE_IDLE_MS = 10_000;
/** Multipart requests of one connection of which more pieces are to come, and bytes of all their pieces. */
export const ASSEMBLIES_MAX = 16;
export const ASSEMBLY_BYTES_MAX = 4 * 1024 * 1024;
/** Bytes waiting above which a connection that is to be told something is closed: it does not read. */
export const UNREAD_BYTES_MAX = 64 * 1024 * 1024;
/** Flow monitors of one connection. */
export const FLOW_MONITORS_MAX = 256;
/** Bytes waiting to be written to one connection above which its flow monitors pause. */
export const MONITOR_QUEUE_BYTES_MAX = 1024 * 1024;
/** Flows that changed during a pause; beyond, the connection is closed. */
export const MONITOR_CHANGES_MAX = 65_536;
