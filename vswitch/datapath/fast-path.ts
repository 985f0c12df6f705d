// The fast path of a port worker: frames whose verdict the thread that judges has published (flow/published-verdicts.ts)
// go straight to another port, of the same worker or of another one that serves ports, or are dropped. All others are for
// that thread: the slow path.
//
//   frames of a burst ─► rows ─► verdicts ─► runs of one verdict: counted, changed, sent
//                                   └──► left in the batch, in order
//
// Order: a frame is finished only when no earlier frame that the same verdict is for can be on the slow path. A verdict
// that has become known while frames were on their way (not `open`) waits for them: the port takes nothing in until
// the other thread has judged them all. Where a frame has to take the slow path in spite of its verdict, all do that
// come behind it, and so do the next bursts.
// Invariant: frames are counted before a peer sees them, and WORKER_JUDGES is odd from the first look to the last send.
// Thread: port worker. Hot: yes.
import { BATCH_SIZE, Batch, offloadNeeded, type PacketPool, wireLength } from "../../base/packet/index.js";
import {
  burstKeysOf,
  changeTag,
  FATE_DROP,
  FATE_REWRITE,
  ROW_FRONT,
  ROW_SHIFT,
  ROW_WHOLE,
  shortRewriterOf,
  TAG_COMES,
  UNPUBLISHED,
  type VerdictReader,
} from "../flow/index.js";
import { LANE_JUDGED, WORKER_JUDGES } from "../port/index.js";
import { EXPRESS_MISSES_MAX } from "./limits.js";

/** Bytes in front of a frame that a tag takes. */
const TAG_ROOM = 4;

/** A port as the fast path has it. */
export interface FastPort {
  readonly reader: VerdictReader;
  /** Of its lane. */
  readonly state: Int32Array;
  /** Counts packets that were put on the slow path. */
  handed: number;
  /** Nothing is to come in until they have been judged. */
  waits: boolean;
  /** Bursts for which the fast path was left alone last, and still is. */
  rests: number;
  left: number;
}

/** A port as what frames leave by, whoever serves it. */
export interface Exit {
  readonly linkUp: boolean;
  /** OFFLOAD_* */
  readonly offloads: number;
  /** Takes every packet of the batch, behind all that is to leave by the port already. */
  send(batch: Batch): void;
}

export interface FastPathModules {
  readonly pool: PacketPool;
  /** Of the worker's lane. */
  readonly state: Int32Array;
  /** The port with this lane, if it is known. */
  readonly find: (lane: number) => Exit | undefined;
}

export class FastPath {
  /** Frames that were finished, and masks that were looked through for them. */
  frames = 0;
  looks = 0;
  readonly #modules: FastPathModules;
  readonly #keys;
  readonly #rewriter;
  readonly #rewrite = {
    ...{ port: 0, tableId: 0, flowIndex: 0, lowersTtl: false },
    mask: new Int32Array(3),
    value: new Int32Array(3),
    tag: null,
  };
  readonly #starts = new Int32Array(BATCH_SIZE);
  readonly #lengths = new Int32Array(BATCH_SIZE);
  readonly #found = new Int32Array(BATCH_SIZE);
  readonly #run = new Batch(BATCH_SIZE);
  /** As WORKER_JUDGES. */
  #bursts = 0;

  constructor(modules: FastPathModules) {
    this.#modules = modules;
    this.#keys = burstKeysOf(modules.pool);
    this.#rewriter = shortRewriterOf(modules.pool);
  }

  /** Whether no packet of the port is on the slow path. */
  isAlone({ handed, state }: FastPort): boolean {
    return handed === Atomics.load(state, LANE_JUDGED);
  }

  /** Finishes what it can of a burst that came in by the port; the rest stays in the batch, in order. */
  forward(one: FastPort, batch: Batch, nowMs: number): void {
    const { reader } = one;
    if (one.left > 0) {
      one.left--;
      return;
    }
    if (!reader.isWorthALook) return;
    const { state } = this.#modules;
    const count = batch.length;
    this.#bursts = (this.#bursts + 2) | 0;
    Atomics.store(state, WORKER_JUDGES, this.#bursts | 1);
    const isOpen = reader.begin(this.isAlone(one));
    const isWhole = isOpen && this.#finish(one, batch, nowMs);
    Atomics.store(state, WORKER_JUDGES, this.#bursts);
    if (!isOpen) return;
    const gone = count - batch.length;
    this.frames += gone;
    if (!isWhole || (gone * 2 < count && !one.waits)) this.#rest(one);
    else one.rests = 0;
  }

  /** Where little comes through, both ways are gone for most frames. */
  #rest(one: FastPort): void {
    one.rests = Math.min(EXPRESS_MISSES_MAX, one.rests * 2 + 1);
    one.left = one.rests;
    one.reader.shut();
  }

  /** False when a frame of which the verdict is known has to take the slow path, and so all behind it. */
  #finish(one: FastPort, batch: Batch, nowMs: number): boolean {
    const { reader } = one;
    const { packets } = batch;
    const count = batch.length;
    const found = this.#found;
    this.#lookUp(reader, batch);
    let isWhole = true;
    let kept = 0;
    let i = 0;
    while (i < count) {
      const entry = found[i]!;
      if (entry === UNPUBLISHED) {
        packets[kept++] = packets[i++]!;
        continue;
      }
      if (!reader.isOpen(entry)) {
        one.waits = true;
        break;
      }
      let end = i + 1;
      while (end < count && found[end] === entry) end++;
      const done = this.#carryOut(one, entry, packets, i, end, nowMs);
      i = done;
      if (done === end) continue;
      isWhole = false;
      break;
    }
    while (i < count) packets[kept++] = packets[i++]!;
    batch.length = kept;
    return isWhole;
  }

  /** Fills #found. */
  #lookUp(reader: VerdictReader, { packets, length: count }: Batch): void {
    const { offset, length } = this.#modules.pool;
    const keys = this.#keys;
    const found = this.#found;
    const starts = this.#starts;
    const lengths = this.#lengths;
    for (let i = 0; i < count; i++) {
      starts[i] = offset[packets[i]!]!;
      lengths[i] = length[packets[i]!]!;
    }
    const { frontEntry, looks } = reader;
    const hits = keys.read(starts, lengths, count, 0, reader.front);
    for (let i = 0; i < count; i++) {
      const kind = keys.plain[i];
      if (kind === ROW_WHOLE) found[i] = reader.find(keys.rows, i << ROW_SHIFT);
      else found[i] = kind === ROW_FRONT ? frontEntry : UNPUBLISHED;
    }
    this.looks += reader.looks - looks + hits;
  }

  /** Does to packets[from] up to packets[to] what the entry says; returns the first that has to take the slow path. */
  #carryOut(
    one: FastPort,
    entry: number,
    packets: Int32Array,
    from: number,
    to: number,
    nowMs: number,
  ): number {
    const { reader } = one;
    const { pool, find } = this.#modules;
    const fate = reader.fate(entry);
    let sizeBytes = 0;
    if (fate === FATE_DROP) {
      for (let i = from; i < to; i++) {
        sizeBytes += pool.length[packets[i]!]!;
        pool.free(packets[i]!);
      }
      reader.count(entry, to - from, sizeBytes, nowMs);
      return to;
    }
    const target = find(reader.lane(entry));
    if (target === undefined || !target.linkUp) return from;
    const sizeMax = reader.sizeMax(entry);
    const { offloads } = target;
    const run = this.#run;
    const rewrite = this.#rewrite;
    const isRewritten = fate === FATE_REWRITE;
    if (isRewritten) {
      reader.readRewrite(entry, rewrite.mask, rewrite.value);
      rewrite.lowersTtl = reader.lowersTtl(entry);
    }
    const tag = isRewritten ? reader.tag(entry) : -1;
    let i = from;
    for (; i < to; i++) {
      const packet = packets[i]!;
      if (pool.length[packet]! > sizeMax && wireLength(pool, packet) > sizeMax) break;
      if (pool.checksumStart[packet] !== 0 && (offloads & offloadNeeded(pool, packet)) === 0) break;
      if (tag === TAG_COMES && pool.headroom(packet) < TAG_ROOM) break;
      if (isRewritten && !this.#rewriter(pool.offset[packet]!, rewrite)) break;
      sizeBytes += pool.length[packet]!;
      if (tag >= 0) changeTag(pool, packet, tag, reader.tagMask(entry), reader.tagValue(entry));
      run.push(packet);
    }
    if (i === from) return from;
    reader.count(entry, i - from, sizeBytes, nowMs);
    target.send(run);
    return i;
  }
}
