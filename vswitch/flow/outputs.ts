// Where the packet in hand goes: ports, reserved ports, controllers, and back into the tables.
// Source: OpenFlow 1.3.5, 4.5 and 7.2.5; ovs-actions(7). Thread: datapath worker. Hot: yes.
import {
  OFPP_ALL,
  OFPP_CONTROLLER,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NORMAL,
  OFPP_TABLE,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import * as D from "./drop-reasons.js";
import type { InHand } from "./in-hand.js";
import * as K from "./key.js";
import type { PacketSink, Remainder, Tracker } from "./pipeline-modules.js";
import { REASONS } from "./program.js";
import { Recirculation } from "./recirculation.js";
import type { ValueOperations } from "./value-operations.js";

const REASON_ACTION = REASONS.indexOf("action");
const WHOLE_PACKET = 0xffff;

export class Outputs {
  /** Copies that go on in a table when the run is over. */
  readonly waiting = new Recirculation();
  readonly #hand: InHand;
  readonly sink: PacketSink;
  readonly #values: ValueOperations;

  constructor(hand: InHand, sink: PacketSink, values: ValueOperations) {
    this.#hand = hand;
    this.sink = sink;
    this.#values = values;
  }

  /** `meterId` 0 = that of all controllers. A packet with a `remainder` waits there. */
  toController(
    maxLength: number,
    reason: number,
    controllerId: number,
    userdata: Uint8Array | null,
    meterId = 0,
    remainder: Remainder | null = null,
  ): void {
    const { packet, key, unowned } = this.#hand;
    // 7.4.1: there is no one flow behind a group bucket, an action set or a packet-out; that went through no table.
    const flow = unowned > 0 ? null : this.#hand.flow;
    const tableId = this.#hand.tableId === OFPTT_ALL ? 0 : this.#hand.tableId;
    const told = { tableId, flow, userdata, remainder };
    this.sink.controller(packet, key, { maxLength, reason, controllerId, meterId, ...told });
  }

  /** No flow matches the packet in hand, which ends here. False when that is all that has become of it. */
  miss(): boolean {
    const hand = this.#hand;
    // It was not looked up any more.
    if (hand.dropped) return true;
    if (!this.sink.wantsMisses) {
      hand.drop(D.DROP_TABLE_MISS);
      return false;
    }
    hand.outputs++;
    hand.dropped = true;
    this.sink.miss(hand.packet, hand.key, hand.tableId);
    return true;
  }

  output(port: number, maxLength: number): void {
    const hand = this.#hand;
    hand.outputs++;
    const inPort = hand.key[K.K_IN_PORT]! >>> 0;
    switch (port) {
      case OFPP_IN_PORT:
        this.sink.output(hand.packet, inPort);
        return;
      case OFPP_NORMAL:
        this.sink.normal(hand.packet, hand.key, hand.headers);
        return;
      case OFPP_FLOOD:
      case OFPP_ALL:
        this.sink.flood(hand.packet, inPort, port === OFPP_ALL);
        return;
      case OFPP_TABLE:
        this.queue(0);
        return;
      case OFPP_CONTROLLER:
        this.toController(maxLength, REASON_ACTION, 0, null);
        return;
      default:
        if (port === inPort) hand.countDrop(D.DROP_OUTPUT_TO_INPUT);
        else this.sink.output(hand.packet, port);
    }
  }

  /** Outputs to what a field or a bundle says, as OpenFlow 1.0 numbers ports; larger numbers are no port. */
  number(number: number, maxLength: number): void {
    const none = number >>> 0 >= 0xffff || number === 0 || (number >= 0xff00 && number < 0xfff8);
    if (!none) this.output(K.widenNumber(number), maxLength);
    else {
      this.#hand.outputs++;
      this.#hand.countDrop(D.DROP_BAD_PORT);
    }
  }

  truncated(port: number, maxLength: number): void {
    const hand = this.#hand;
    if (hand.observer !== null) hand.observer.cut(maxLength);
    if (hand.observer !== null || this.#hand.pool.length[hand.packet]! <= maxLength >>> 0) {
      this.output(port, WHOLE_PACKET);
      return;
    }
    const whole = hand.packet;
    const part = this.#hand.pool.copy(whole);
    if (part < 0) {
      hand.outputs++;
      hand.countDrop(D.DROP_NO_BUFFER);
      return;
    }
    this.#hand.pool.length[part] = maxLength;
    hand.packet = part;
    this.output(port, WHOLE_PACKET);
    hand.packet = whole;
    this.#hand.pool.free(part);
  }

  /**
   * The packet waits with the tracker; the fragments that need wait no longer go on in `table`, or (−1) where this run
   * began, of a packet-out nowhere.
   */
  goOn(tracker: Tracker, table: number): void {
    const hand = this.#hand;
    const tableId = table >= 0 ? table : hand.runTable;
    hand.outputs++;
    hand.dropped = true;
    const { key } = hand;
    for (let next = tracker.release(key); next >= 0; next = tracker.release(key)) {
      const reason = tracker.releaseReason;
      if (reason < 0 && tableId >= 0 && this.waiting.push(next, tableId, key, this.#values)) continue;
      hand.countDropOf(next, reason >= 0 ? reason : D.DROP_NESTING);
      hand.pool.free(next);
    }
  }

  /** A copy of the packet goes on in `tableId` when this run is over. */
  queue(tableId: number): void {
    const { packet, key, pool } = this.#hand;
    if (this.waiting.push(packet, tableId, key, this.#values)) pool.retain(packet);
    else this.#hand.countDrop(D.DROP_NESTING);
  }
}
