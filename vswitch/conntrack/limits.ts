// Bounds of connection tracking. Reaching one is ordinary and counted.

/** Connections in the table: a power of two. */
export const CONNECTIONS_MAX = 131_072;
/** Side connections that are waited for, of all helpers together: a power of two. */
export const EXPECTATIONS_MAX = 1024;
/** Control connections that the FTP helper watches at once; what comes later is not helped. */
export const FTP_CONVERSATIONS_MAX = 4096;
/** One zone has at most this part of them. */
export const FTP_CONVERSATIONS_SHARE = 2;
/** Ports that a helper tries for one data connection. */
export const HELPER_PORTS_MAX = 64;
/** Timeout policies, the default among them. */
export const TIMEOUT_POLICIES_MAX = 256;
/** Zones with a limit of their own. */
export const ZONE_LIMITS_MAX = 65_536;
/** Fragments that are held, unless dpctl/ipf-set-max-nfrags says otherwise. */
export const FRAGMENTS_MAX = 1000;
/** Fragments that it may say. */
export const FRAGMENTS_CAPACITY = 5000;
/** One sender holds at most this part of them. */
export const FRAGMENTS_SHARE = 4;
/** Datagrams that are put together or remembered. */
export const DATAGRAMS_MAX = 256;
/** Enough for 64 KiB in frames of 1500 bytes. */
export const FRAGMENTS_PER_DATAGRAM_MAX = 48;
/** Addresses of a range that are tried for one new connection. */
export const NAT_ADDRESSES_MAX = 64;
/** Ports tried on one address where the action names no range of them. */
export const NAT_PORTS_MAX = 1024;
