// How long a connection is remembered after its last packet, by protocol and state. Milliseconds.
// A connection's state here is the name of the time-out that runs, as CT_Timeout_Policy of OVSDB calls them.
// Source: RFC 5382 (TCP: established at least 2 h 4 min), RFC 4787 (UDP), RFC 5508 (ICMP); the defaults are those of
// Open vSwitch's own tracker, ovs-vswitchd.conf.db(5).

/** No connection. */
export const STATE_NONE = 0;
export const TCP_SYN_SENT = 1;
export const TCP_SYN_RECV = 2;
export const TCP_ESTABLISHED = 3;
/** One side has sent FIN. */
export const TCP_FIN_WAIT = 4;
/** Both sides have sent FIN. */
export const TCP_TIME_WAIT = 5;
/** Both FINs are acknowledged, or it was reset. */
export const TCP_CLOSE = 6;
/** Any protocol but TCP and ICMP: the opener has sent one packet. */
export const UDP_FIRST = 7;
/** The opener has sent more. */
export const UDP_SINGLE = 8;
/** Both sides have sent. */
export const UDP_MULTIPLE = 9;
export const ICMP_FIRST = 10;
export const ICMP_REPLIED = 11;

/** By state. */
export const DEFAULT_TIMEOUTS_MS = Float64Array.of(
  0,
  30_000,
  30_000,
  86_400_000,
  900_000,
  45_000,
  30_000,
  60_000,
  60_000,
  30_000,
  60_000,
  30_000,
);

/** Keys of CT_Timeout_Policy.timeouts that mean something here, by state. */
export const TIMEOUT_NAMES = [
  "",
  "tcp_syn_sent",
  "tcp_syn_recv",
  "tcp_established",
  "tcp_fin_wait",
  "tcp_time_wait",
  "tcp_close",
  "udp_first",
  "udp_single",
  "udp_multiple",
  "icmp_first",
  "icmp_reply",
] as const;
