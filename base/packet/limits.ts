// Sizes of the packet layer. Thread: any.

/** The longest frame a port may take in: Ethernet header and payload, without FCS. Longer ones are dropped and counted. */
export const FRAME_SIZE_MAX = 9216;
/** The shortest frame that has an Ethernet header. Shorter ones are dropped and counted. */
export const FRAME_SIZE_MIN = 14;
/**
 * Free bytes in front of a received frame, for tags and headers that are pushed on the way. Four more than a multiple of
 * eight, as behind the header of virtio: frames from and to guests move by words of eight bytes.
 */
export const HEADROOM = 132;
/** Bytes per slot: headroom, frame and tailroom. An odd number of cache lines, so that headers spread over all cache sets. */
export const SLOT_SIZE = 151 * 64;
/** The longest frame of a packet that is still to be cut into segments: an IP datagram behind two tags. */
export const LARGE_FRAME_SIZE_MAX = 65535 + 22;
/** Bytes per slot for such packets. */
export const LARGE_SLOT_SIZE = 1029 * 64;
/** Packets in a burst. */
export const BATCH_SIZE = 64;
/** Packets in a pool unless asked otherwise: enough for every port's queue in the datapath. */
export const POOL_SLOTS = 4096;
/** Large packets in a pool whose ports take segments from the host: several bursts of them. */
export const POOL_LARGE_SLOTS = 512;
/** Offsets stay below 2^31: small integers to the compiler, and copies are measurably faster there. */
export const ARENA_SIZE_MAX = 0x7fffffff;
/** References to one packet: more than any flood needs. */
export const REFERENCES_MAX = 0xffff;
