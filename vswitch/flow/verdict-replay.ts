// Does to a packet what a verdict says, operation by operation.
// Invariant: the same operations in the same order as the pipeline did them when the verdict was recorded.
// Thread: datapath worker. Hot: yes.
import type { CtProgram } from "./ct-program.js";
import { DROP_METER } from "./drop-reasons.js";
import type { FlowTables } from "./flow-tables.js";
import type { Group, GroupBucket } from "./groups.js";
import type { HeaderOperations } from "./header-operations.js";
import type { InHand } from "./in-hand.js";
import * as K from "./key.js";
import { NESTING_MAX } from "./limits.js";
import { METER_DROP } from "./meters.js";
import type { Outputs } from "./outputs.js";
import * as P from "./program.js";
import type { ValueOperations } from "./value-operations.js";
import {
  PIPELINE_WORDS,
  V_AT,
  V_BUCKET,
  V_CT,
  V_CT_HEAD,
  V_CT_LIVE,
  V_CT_WORDS,
  V_DROP,
  V_GROUP,
  V_LEAVE,
  V_METER,
  type Verdict,
} from "./verdict.js";

export interface ReplayModules {
  readonly hand: InHand;
  readonly tables: FlowTables;
  readonly outputs: Outputs;
  readonly headers: HeaderOperations;
  readonly values: ValueOperations;
  /** Tracks the packet in hand. */
  readonly ct: (ct: CtProgram) => void;
  /** Frees the packet in hand, and takes those that wait through the tables; `behind` have gone on before. */
  readonly finish: (behind: number) => void;
}

export class VerdictReplay {
  /** How many lookups of the verdict count for the packet that was last in hand. */
  lookups = 0;
  readonly #modules: ReplayModules;
  /** By nesting: the packet, input port, queue and tags before the bucket, and where it ends. */
  readonly #packets = new Int32Array(NESTING_MAX);
  readonly #inPorts = new Int32Array(NESTING_MAX);
  readonly #queues = new Int32Array(NESTING_MAX);
  readonly #tags = new Int32Array(NESTING_MAX);
  readonly #leaves = new Int32Array(NESTING_MAX);
  #depth = 0;
  /** Where what is done to the packet ends: the end of the code, or of a bucket behind which nothing stands. */
  #lastAt = 0;

  constructor(modules: ReplayModules) {
    this.#modules = modules;
  }

  /** All of it to the packet, whose reference it takes. The key is that of the packet if the verdict is live. */
  whole(verdict: Verdict, packet: number, inPort: number): void {
    const { hand, outputs, finish } = this.#modules;
    this.upTo(verdict, verdict.code.length, packet, inPort, 0);
    if (verdict.tracks && outputs.waiting.length > 0) finish(0);
    else hand.pool.free(hand.packet);
  }

  /** What stands before `end`; the packet stays in hand. It has gone on in a table `behind` times before. */
  upTo(verdict: Verdict, end: number, packet: number, inPort: number, behind: number): void {
    const { hand, outputs, headers, values } = this.#modules;
    const { code, flows } = verdict;
    hand.packet = packet;
    hand.renew();
    if (verdict.isLive) hand.key[K.K_ACTSET_OUTPUT] = K.OFPP_UNSET;
    else if (verdict.needsKey) this.readKey(inPort);
    if (verdict.tracks) this.#beginRun(verdict, behind);
    this.lookups = verdict.flows.length;
    hand.sizeBytes = hand.pool.length[packet]!;
    this.#depth = 0;
    this.#lastAt = code.length;
    for (let at = 0; at < end; ) {
      if (hand.dropped) {
        // A bucket's end is its own.
        if (this.#depth === 0) return;
        at = this.#leaves[this.#depth - 1]!;
      }
      switch (code[at]) {
        case V_AT:
          hand.tableId = code[at + 1]!;
          hand.flow = code[at + 2]! < 0 ? null : flows[code[at + 2]!]!;
          at += 3;
          break;
        case V_DROP:
          hand.drop(code[at + 1]!);
          at += 2;
          break;
        case V_GROUP:
          this.#group(verdict.groups[code[at + 1]!]!);
          at += 2;
          break;
        case V_BUCKET:
          this.#enter(verdict.buckets[code[at + 1]!]!, code[at + 2]!);
          at += 3;
          break;
        case V_LEAVE:
          this.#leave(verdict.needsKey);
          at += 1;
          break;
        case V_METER:
          this.#meter(code[at + 1]!, code[at + 2]!);
          at += 3;
          break;
        case V_CT:
          this.ct(verdict, at);
          at += V_CT_WORDS;
          if (hand.dropped) this.lookups = code[at - 1]!;
          break;
        case V_CT_LIVE:
          this.#modules.ct(verdict.cts[code[at + 1]!]!);
          at += 3;
          if (hand.dropped) this.lookups = code[at - 1]!;
          break;
        case P.OP_OUTPUT:
          outputs.output(code[at + 1]! >>> 0, code[at + 2]!);
          at += 3;
          break;
        case P.OP_SET:
          at = values.assign(code, at);
          break;
        case P.OP_DEC_NW_TTL:
        case P.OP_DEC_MPLS_TTL:
        case P.OP_DEC_TTL_IDS:
          at = headers.decrement(code, at);
          break;
        case P.OP_SET_QUEUE:
        case P.OP_POP_QUEUE:
          at = hand.chooseQueue(code, at);
          break;
        default:
          at = headers.run(code, at);
      }
    }
  }

  #meter(meterId: number, lookups: number): void {
    const { hand, tables } = this.#modules;
    if (tables.meters.measure(meterId, hand.pool.length[hand.packet]!, hand.nowMs) !== METER_DROP) return;
    this.lookups = lookups;
    hand.drop(DROP_METER);
  }

  #group(group: Group): void {
    const { sizeBytes } = this.#modules.hand;
    group.packets++;
    group.bytes += sizeBytes;
  }

  #enter(bucket: GroupBucket, leave: number): void {
    const { hand } = this.#modules;
    const { key, packet } = hand;
    bucket.packets++;
    bucket.bytes += hand.sizeBytes;
    const depth = this.#depth++;
    this.#packets[depth] = packet;
    this.#inPorts[depth] = key[K.K_IN_PORT]!;
    this.#queues[depth] = key[K.K_QUEUE]!;
    this.#tags[depth] = hand.headers.tagsLimit;
    this.#leaves[depth] = leave;
    hand.unowned++;
    if (leave + 1 === this.#lastAt) {
      // Nobody looks at the packet afterwards: it need not stay as it is.
      this.#lastAt = leave;
      this.#packets[depth] = -1;
    } else hand.pool.retain(packet);
  }

  /** What the bucket has changed ends with it. */
  #leave(needsKey: boolean): void {
    const { hand } = this.#modules;
    const { key, pool } = hand;
    const depth = --this.#depth;
    const packet = this.#packets[depth]!;
    hand.dropped = false;
    hand.unowned--;
    if (packet < 0) return;
    const changed = hand.packet !== packet;
    pool.free(hand.packet);
    hand.packet = packet;
    key[K.K_IN_PORT] = this.#inPorts[depth]!;
    key[K.K_QUEUE] = this.#queues[depth]!;
    hand.headers.tagsLimit = this.#tags[depth]!;
    if (needsKey && changed) hand.headers.parse(pool, packet, key);
  }

  /** Reads the key of the packet in hand. */
  readKey(inPort: number): void {
    const { hand } = this.#modules;
    hand.key[K.K_IN_PORT] = inPort;
    hand.headers.parseNew(hand.pool, hand.packet, hand.key);
    if (hand.marked) hand.clearPipelineWords();
  }

  /** Tracks the packet in hand as the V_CT at `at` says. */
  ct(verdict: Verdict, at: number): void {
    this.loadPipeline(verdict.code, at);
    this.#modules.ct(verdict.cts[verdict.code[at + 1]!]!);
  }

  /** Makes in_port and pipeline words of the key what they are at the V_CT at `at`. */
  loadPipeline(code: Int32Array, at: number): void {
    const { hand } = this.#modules;
    hand.key[K.K_IN_PORT] = code[at + 3]!;
    for (let i = 0; i < PIPELINE_WORDS; i++) hand.key[K.K_PIPELINE + i] = code[at + V_CT_HEAD + i]!;
    hand.marked = true;
  }

  #beginRun(verdict: Verdict, behind: number): void {
    const { hand, outputs, values } = this.#modules;
    hand.runTable = verdict.tables[0]!;
    hand.steps = 0;
    hand.nesting = 0;
    values.depth = 0;
    outputs.waiting.length = behind;
  }
}
