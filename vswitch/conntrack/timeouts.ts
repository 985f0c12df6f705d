// How long a connection is remembered after its last packet, by protocol and state. Milliseconds.
// Source: RFC 5382 (TCP: established at least 2 h 4 min), RFC 4787 (UDP), RFC 5508 (ICMP: at least 60 s).

export const STATE_NONE = 0;
/** UDP, ICMP: one direction only so far. */
export const STATE_SINGLE = 1;
/** UDP, ICMP: both directions seen. */
export const STATE_MULTIPLE = 2;
export const TCP_SYN_SENT = 3;
export const TCP_SYN_RECEIVED = 4;
export const TCP_ESTABLISHED = 5;
/** One side has sent FIN. */
export const TCP_FIN_WAIT = 6;
/** Both sides have sent FIN. */
export const TCP_TIME_WAIT = 7;
/** Ended by RST. */
export const TCP_CLOSED = 8;

/** By state. */
export const TIMEOUTS_MS = Float64Array.of(
  0,
  60_000,
  120_000,
  30_000,
  60_000,
  86_400_000,
  120_000,
  30_000,
  10_000,
);
export const STATE_NAMES = [
  "none",
  "single",
  "multiple",
  "syn-sent",
  "syn-received",
  "established",
  "fin-wait",
  "time-wait",
  "closed",
] as const;
