// The packet in hand: what the parts of the pipeline share about it.
// Invariants: key and headers describe the packet; exactly one reference to it belongs to the pipeline.
// Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";
import { DropCounters } from "./drop-counters.js";
import { DROP_NO_BUFFER, DROP_REASONS } from "./drop-reasons.js";
import type { Flow } from "./flow.js";
import { Headers, K_OPTIONS, K_PIPELINE, K_QUEUE, KEY_WORDS, KEY_WORDS_MAX } from "./key.js";
import type { Path } from "./path.js";
import type { PacketWatch, PipelineObserver } from "./pipeline-modules.js";
import { OP_SET_QUEUE } from "./program.js";
import { Rewriter } from "./rewrite.js";
import { clearOptions } from "./saved-options.js";

export class InHand {
  packet = -1;
  nowMs = 0;
  /** The last flow that it met; null before the first, and in a packet-out. */
  flow: Flow | null = null;
  /** Of that flow, or where none matched; OFPTT_ALL in a packet-out, −1 when no packet is in hand. */
  tableId = -1;
  /** Where this run through the tables began; −1 in a packet-out. */
  runTable = -1;
  outputs = 0;
  /** It has been dropped: nothing more happens to it. */
  dropped = false;
  /** `exit` was met: no more actions, but the action set. */
  exited = false;
  /** Lookups and buckets that it has been through. */
  steps = 0;
  /** How deep in an action set or a bucket: what happens there is no single flow's doing. */
  unowned = 0;
  /** Its length when this run through the tables began, which is what flows and groups count. */
  sizeBytes = 0;
  /** How many programs and lookups it is inside of. */
  nesting = 0;
  /** Pipeline words of the key may not be zero. */
  marked = true;
  readonly key = new Int32Array(KEY_WORDS_MAX);
  readonly headers = new Headers();
  readonly drops = new DropCounters();
  readonly pool: PacketPool;
  readonly path: Path;
  readonly rewriter: Rewriter;
  readonly observer: PipelineObserver | null;
  /** Null while nobody captures. */
  watch: PacketWatch | null = null;
  /** Every lookup is to be told to the observer or to the watch. */
  isAttended: boolean;

  /** A trace, and one that teaches nothing. */
  get isDry(): boolean {
    return this.observer !== null && !this.observer.teaches;
  }

  constructor(pool: PacketPool, path: Path, observer: PipelineObserver | null) {
    this.pool = pool;
    this.path = path;
    this.observer = observer;
    this.isAttended = observer !== null;
    this.rewriter = new Rewriter(pool, this.key, this.headers);
  }

  /** OP_SET_QUEUE and OP_POP_QUEUE. */
  chooseQueue(code: Int32Array, at: number): number {
    const sets = code[at] === OP_SET_QUEUE;
    this.key[K_QUEUE] = sets ? code[at + 1]! + 1 : 0;
    this.marked = true;
    return sets ? at + 2 : at + 1;
  }

  /** A key with the pipeline words that packets come in with; null: all are zero. */
  given: Int32Array | null = null;

  /** Makes the pipeline words of the key what they are when a packet has just come in. */
  clearPipelineWords(): void {
    const { given } = this;
    clearOptions(this.key);
    if (given !== null) for (let i = K_OPTIONS; i < given.length; i++) this.key[i] = given[i]!;
    for (let i = K_PIPELINE; i < KEY_WORDS; i++) this.key[i] = given === null ? 0 : given[i]!;
    this.marked = given !== null;
  }

  /** A run begins: nothing has happened to the packet in it. */
  renew(): void {
    this.outputs = 0;
    this.dropped = false;
    this.exited = false;
    this.unowned = 0;
  }

  /** Counts a drop that leaves the packet in hand alone: an output that did not happen. */
  countDrop(reason: number): void {
    this.countDropOf(this.packet, reason);
  }

  /** Counts the drop of any packet; −1: there was no room for it. */
  countDropOf(packet: number, reason: number): void {
    this.drops.count(reason, this.tableId, this.flow);
    if (this.watch !== null && packet >= 0)
      this.watch.dropped(packet, this.key, reason, this.tableId, this.flow);
    if (this.observer !== null) this.observer.drop(DROP_REASONS[reason]!);
  }

  drop(reason: number): void {
    if (!this.dropped) this.countDrop(reason);
    this.dropped = true;
  }

  /** Makes sure that nobody else holds the packet's bytes; false when there was no room for a copy. */
  writable(): boolean {
    if (!this.pool.isShared(this.packet)) return true;
    const twin = this.pool.copy(this.packet);
    if (twin < 0) {
      this.drop(DROP_NO_BUFFER);
      return false;
    }
    this.pool.free(this.packet);
    this.packet = twin;
    this.headers.parse(this.pool, twin, this.key);
    return true;
  }
}
