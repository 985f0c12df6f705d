// What connection tracking has read of the packet in hand. Thread: datapath worker. Hot: yes.
import { Datagram } from "./datagram.js";
import { Quoted } from "./read-tuple.js";
import { Segment } from "./tcp-segment.js";
import { TUPLE_WORDS } from "./tuple.js";

export class ObservedPacket {
  /** Of the pool. */
  packet = -1;
  readonly datagram = new Datagram();
  readonly ownSegment = new Segment();
  /** Of TCP: the packet's own, or the first fragment's of its datagram. */
  segment = this.ownSegment;
  /** Of an ICMP error. */
  readonly quoted = new Quoted();
  /** Of an ICMP error that of the quoted datagram. */
  readonly tuple = new Int32Array(TUPLE_WORDS);
  /** This zone has translated the packet before. */
  isTranslated = false;
}
