// What others than the pipeline have to do with packets: they count drops of their own, and they capture.
// Thread: datapath worker. Hot: yes (drop).
import type { InHand } from "./in-hand.js";
import { K_IN_PORT } from "./key.js";
import type { PacketWatch } from "./pipeline-modules.js";

export class Onlookers {
  readonly #hand: InHand;

  constructor(hand: InHand) {
    this.#hand = hand;
  }

  /** Who captures live packets, or null. */
  set watch(watch: PacketWatch | null) {
    this.#hand.watch = watch;
    this.#hand.isAttended = watch !== null || this.#hand.observer !== null;
  }

  /** Counts a drop of the packet in hand. */
  drop(reason: number): void {
    this.#hand.countDrop(reason);
  }

  /** The same of another packet; −1: it is gone, or there was no room for it. */
  dropOf(packet: number, reason: number): void {
    this.#hand.countDropOf(packet, reason);
  }

  /** The same of so many packets that have waited and are gone. */
  lose(packets: number, reason: number): void {
    for (let i = 0; i < packets; i++) this.#hand.countDropOf(-1, reason);
  }

  /** The same of a packet that has just come in by `inPort` and is not looked at further. */
  refuse(packet: number, inPort: number, reason: number): void {
    const hand = this.#hand;
    hand.key[K_IN_PORT] = inPort;
    if (hand.watch !== null) hand.headers.parse(hand.pool, packet, hand.key);
    hand.countDropOf(packet, reason);
  }
}
