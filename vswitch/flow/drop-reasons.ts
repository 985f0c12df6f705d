// Why the data path let go of a packet: one counter each. The names are stable; they appear in statistics and traces.

export const DROP_REASONS = [
  /** No flow matched, and the table has no table-miss flow. */
  "table-miss",
  /** The flows that matched sent it nowhere, or flooded it where there was no port for it. */
  "no-output",
  "meter",
  "ttl-exceeded",
  /** A group had no live bucket, or was gone. */
  "no-live-bucket",
  /** The packet pool was empty. */
  "no-buffer",
  /** Too many resubmits, nested groups, recirculations or mirrors of mirrors. */
  "nesting",
  /** Output to a port that does not exist, is down or may not forward. */
  "bad-port",
  /** Output to the port it came in by, without IN_PORT. */
  "output-to-input",
  /** The port may not receive (OFPPC_NO_RECV or OFPPC_PORT_DOWN). */
  "no-receive",
  /** Frame tagged with a VLAN that its port is not a member of. */
  "vlan-not-allowed",
  /** Reserved destination address that NORMAL never forwards (01-80-C2-00-00-0x). */
  "reserved-address",
  /** The connection table was full of younger or busier connections. */
  "conntrack-full",
  /** NAT found no free port. */
  "nat-exhausted",
  /** More packet-ins than the controller's queue takes. */
  "packet-in-limit",
  /** Came in by a port that is set aside for the output of a mirror. */
  "mirror-output",
  /** From one protected port to another. */
  "protected-port",
  /** More than the port's ingress policing lets in. */
  "policed",
  /** Longer than the port's MTU allows. */
  "too-long",
  /** The connection's zone has as many connections as it may. */
  "conntrack-zone-limit",
  /** An IP fragment, where the switch was told to drop them. */
  "fragment",
  /** An IP fragment that could not be put together with others: broken, overlapping, too late, or no room. */
  "reassembly",
  /** A fragmented segment of a connection whose text a helper changes. */
  "helper-fragment",
  /** More waits in the queue that it was to leave by than that holds, or the queue has gone. */
  "queue-full",
] as const;

export type DropReason = (typeof DROP_REASONS)[number];

export const DROP_TABLE_MISS = 0;
export const DROP_NO_OUTPUT = 1;
export const DROP_METER = 2;
export const DROP_TTL = 3;
export const DROP_NO_LIVE_BUCKET = 4;
export const DROP_NO_BUFFER = 5;
export const DROP_NESTING = 6;
export const DROP_BAD_PORT = 7;
export const DROP_OUTPUT_TO_INPUT = 8;
export const DROP_NO_RECEIVE = 9;
export const DROP_VLAN = 10;
export const DROP_RESERVED_ADDRESS = 11;
export const DROP_CONNTRACK_FULL = 12;
export const DROP_NAT_EXHAUSTED = 13;
export const DROP_PACKET_IN_LIMIT = 14;
export const DROP_MIRROR_OUTPUT = 15;
export const DROP_PROTECTED = 16;
export const DROP_POLICED = 17;
export const DROP_TOO_LONG = 18;
export const DROP_CONNTRACK_ZONE_LIMIT = 19;
export const DROP_FRAGMENT = 20;
export const DROP_REASSEMBLY = 21;
export const DROP_HELPER_FRAGMENT = 22;
export const DROP_QUEUE_FULL = 23;

/** No drop: the packet is a fragment, which the tracker keeps (with a reference of its own) until its datagram is whole. */
export const TRACK_HELD = -2;
