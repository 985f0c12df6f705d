// What a TCP segment does to its connection. Sequence numbers are not checked: both ends do that themselves.
// Source: RFC 9293 3.3.2, seen from the middle. Thread: datapath worker. Hot: yes.
import { FIN_ORIGINAL, FIN_REPLY, ORIGINAL, REPLY } from "./connection-table.js";
import * as T from "./timeouts.js";

const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;

/** Flag combinations that no TCP sends. */
export function flagsInvalid(flags: number): boolean {
  const f = flags & (FIN | SYN | RST | ACK);
  return f === 0 || (f & (SYN | FIN)) === (SYN | FIN) || (f & (SYN | RST)) === (SYN | RST) || f === FIN;
}

/** The state of a connection that begins with this segment, or STATE_NONE: it may not begin so. */
export function openingState(flags: number): number {
  const f = flags & (FIN | SYN | RST | ACK);
  if (f === SYN) return T.TCP_SYN_SENT;
  // In the middle of a conversation that began before we did.
  if (f === ACK) return T.TCP_ESTABLISHED;
  if (f === (ACK | FIN)) return T.TCP_FIN_WAIT;
  return T.STATE_NONE;
}

/** True when this segment opens the connection anew, whatever it was before. */
export function reopens(state: number, flags: number): boolean {
  return (flags & (SYN | ACK)) === SYN && (state === T.TCP_TIME_WAIT || state === T.TCP_CLOSED);
}

/** The FIN flag that the segment adds to a connection's flags. */
export function finFlag(flags: number, direction: number): number {
  if ((flags & FIN) === 0) return 0;
  return direction === ORIGINAL ? FIN_ORIGINAL : FIN_REPLY;
}

/** The state after the segment; `fins` are the connection's flags including this segment's. */
export function nextState(state: number, flags: number, direction: number, fins: number): number {
  if ((flags & RST) !== 0) return T.TCP_CLOSED;
  if (state === T.TCP_CLOSED || state === T.TCP_TIME_WAIT) return state;
  if ((fins & FIN_ORIGINAL) !== 0 && (fins & FIN_REPLY) !== 0) return T.TCP_TIME_WAIT;
  if ((fins & (FIN_ORIGINAL | FIN_REPLY)) !== 0) return T.TCP_FIN_WAIT;
  if (state === T.TCP_SYN_SENT) {
    if (direction === REPLY && (flags & ACK) !== 0) {
      return (flags & SYN) !== 0 ? T.TCP_SYN_RECEIVED : T.TCP_ESTABLISHED;
    }
    return state;
  }
  if (state === T.TCP_SYN_RECEIVED && direction === ORIGINAL && (flags & ACK) !== 0) return T.TCP_ESTABLISHED;
  return state;
}
