// Takes a burst of packets from one port through the tables, in stages: read every frame's key, look all keys up, then
// do to each packet what its verdict says. Packets without one go through the pipeline, which may find one for the next.
//
//   keys of all ─► cache lines of all ─► find ─► verdict: flows counted once per burst ─► outputs
//     └─► those that agree with the port's front match ─┘
//                                          │        └─► ct(): connection ─► verdict of the next stage …
//                                          └──► pipeline, recorded ─► keep
//
// Invariants: packets are dealt with in the order in which they came; between bursts every counter is exact; a packet
// is judged by the tables as they are when its turn comes, whatever was looked up before. Thread: datapath worker. Hot: yes.
import { OFPP_NORMAL } from "../../base/openflow/index.js";
import { BATCH_SIZE, type Batch } from "../../base/packet/index.js";
import { type BurstKeys, burstKeysOf, ROW_SHIFT, ROW_WHOLE, ROW_WIDE } from "./burst-keys.js";
import { CtRules } from "./ct-rules.js";
import { CtRunner } from "./ct-runner.js";
import { CtStages } from "./ct-stages.js";
import type { Flow } from "./flow.js";
import { FrontMatches } from "./front-match.js";
import * as K from "./key.js";
import { FRONT_RESTS_MAX, MASKED_INSERTION, VERDICTS_MAX } from "./limits.js";
import { MaskedCache } from "./masked-cache.js";
import type { PacketSink, Tracker } from "./pipeline-modules.js";
import { Recordings } from "./recordings.js";
import { RewrittenRuns } from "./rewritten-runs.js";
import type { Commit, Verdict } from "./verdict.js";
import { NOT_FOUND, UNDECIDABLE, VerdictCache } from "./verdict-cache.js";
import type { VerdictRecorder } from "./verdict-recorder.js";
import { type ReplayModules, VerdictReplay } from "./verdict-replay.js";

/** Sends packets[from] up to packets[to], whose references it takes, to a port that is no reserved one. */
export type Forward = (packets: Int32Array, from: number, to: number, port: number) => void;

/** Wants to know by what the verdicts on packets are known. */
export interface VerdictListener {
  wants(verdict: Verdict): boolean;
  /** Packets of the port that agree with `key` in `bits` fare so, until the tables change. Both are the caller's. */
  learn(key: Int32Array, bits: Int32Array, verdict: Verdict): void;
}

export interface BurstModules extends ReplayModules {
  readonly tracker: Tracker;
  readonly sink: PacketSink;
  readonly recorder: VerdictRecorder;
  /** Takes one packet through the tables; while the recorder is active it writes down what happens. */
  readonly process: (packet: number, inPort: number, nowMs: number) => void;
  readonly forward: Forward;
}

const WHOLE_KEY = new Int32Array(K.K_PIPELINE).fill(-1);

export class BurstRunner {
  /** What becomes of packets, by their keys. */
  readonly cache = new VerdictCache();
  /** The same by less than their keys. */
  readonly masked = new MaskedCache();
  /** The same of packets that go on in a table. */
  readonly later = new MaskedCache(K.KEY_WORDS);
  /** What serves most frames of a port. */
  readonly fronts = new FrontMatches();
  readonly #modules: BurstModules;
  readonly #keys: BurstKeys;
  readonly #recordings: Recordings;
  readonly #replay: VerdictReplay;
  readonly #rewritten: RewrittenRuns;
  readonly #ct: CtRunner;
  readonly #stages: CtStages;
  readonly #rules: CtRules;
  readonly #found = new Int32Array(BATCH_SIZE);
  readonly #starts = new Int32Array(BATCH_SIZE);
  readonly #lengths = new Int32Array(BATCH_SIZE);
  /** By verdict: what this burst has not yet told its flows. */
  readonly #packets = new Float64Array(VERDICTS_MAX);
  readonly #bytes = new Float64Array(VERDICTS_MAX);
  readonly #counted = new Int32Array(VERDICTS_MAX);
  #countedLength = 0;
  /** Packets of ROW_WIDE that are not recorded after the last one of which nothing could be kept, and still. */
  #wideRests = 0;
  #wideLeft = 0;
  /** Which packet of a burst the listener is told of next. */
  #told = 0;
  /** A sum of cache words, of no meaning: it keeps the compiler from dropping the touching. */
  #touched = 0;

  constructor(modules: BurstModules) {
    this.#modules = modules;
    const { cache, masked, later, fronts } = this;
    const { path } = modules.hand;
    const keys = burstKeysOf(modules.hand.pool);
    this.#keys = keys;
    const stages = new CtStages();
    this.#stages = stages;
    const rules = new CtRules(modules.tracker);
    this.#rules = rules;
    const recordings = new Recordings({
      ...modules,
      cache,
      stages,
      rules,
      keys,
      masked,
      later,
      fronts,
      path,
    });
    const replay = new VerdictReplay(modules);
    this.#recordings = recordings;
    this.#replay = replay;
    this.#rewritten = new RewrittenRuns({ ...modules, replay });
    this.#ct = new CtRunner({
      ...modules,
      keys,
      cache,
      stages,
      rules,
      later,
      recordings,
      replay,
      apply: (verdict, packets, from, to, inPort) => this.#apply(verdict, packets, from, to, inPort),
      putOut: (commit, verdict, packets, from, to, inPort) =>
        this.#putOut(commit, verdict, packets, from, to, inPort),
      count: (verdict, packets, sizeBytes) => this.#count(verdict, packets, sizeBytes),
      countOne: (verdict, sizeBytes) => this.#countOne(verdict, sizeBytes),
      settle: (nowMs) => this.#settle(nowMs),
    });
  }

  /** Packets that were known behind a ct(), and that were not. */
  get trackedHits(): number {
    return this.#ct.hits;
  }
  get trackedMisses(): number {
    return this.#ct.misses;
  }

  /** Of the former, by a rule that their connection has. */
  get ruleHits(): number {
    return this.#ct.ruleHits;
  }

  /** Packets whose connections were committed as is known of others. */
  get commits(): number {
    return this.#ct.commits;
  }

  get touched(): number {
    return this.#touched;
  }

  /** Takes every packet of the batch (one reference each) and leaves it empty. The listener is told of one of them. */
  run(batch: Batch, inPort: number, nowMs: number, listener: VerdictListener | null = null): void {
    const { cache } = this;
    const { hand, tables, process } = this.#modules;
    if (hand.isAttended) {
      this.#showAll(batch, inPort, nowMs);
      return;
    }
    this.#lookUp(batch, inPort);
    if (listener !== null) this.#tell(listener, batch, inPort);
    const found = this.#found;
    const { packets } = batch;
    const count = batch.length;
    const { generation } = cache;
    const { version } = tables;
    hand.nowMs = nowMs;
    for (let i = 0; i < count; ) {
      const id = found[i]!;
      const isCurrent = tables.version === version && cache.generation === generation;
      if (isCurrent && id >= 0) {
        // Frames that fare alike come in a row.
        let end = i + 1;
        while (end < count && found[end]! === id) end++;
        const verdict = cache.verdicts[id]!;
        if (verdict.tail >= 0) i = this.#ct.run(verdict, packets, i, end, inPort, nowMs);
        else {
          this.#apply(verdict, packets, i, end, inPort);
          i = end;
        }
        continue;
      }
      this.#settle(nowMs);
      const kind = this.#keys.plain[i];
      const mayRecord = kind === ROW_WHOLE && !(isCurrent && id === UNDECIDABLE);
      if (mayRecord) this.#record(packets, i, inPort, nowMs);
      else if (kind === ROW_WIDE && this.#wideLeft === 0) this.#recordWide(packets, i, inPort, nowMs);
      else {
        if (kind === ROW_WIDE) this.#wideLeft--;
        process(packets[i]!, inPort, nowMs);
      }
      i++;
    }
    this.#settle(nowMs);
    hand.flow = null;
    hand.tableId = -1;
    batch.length = 0;
  }

  #tell(listener: VerdictListener, batch: Batch, inPort: number): void {
    const { cache, masked } = this;
    const { hand } = this.#modules;
    const i = this.#told++ % batch.length;
    const id = this.#found[i]!;
    if (id < 0 || !listener.wants(cache.verdicts[id]!)) return;
    const { key } = hand;
    if (hand.marked) hand.clearPipelineWords();
    key[K.K_IN_PORT] = inPort;
    hand.headers.parseNew(hand.pool, batch.packets[i]!, key);
    // What is known by its row alone is known by all of its key.
    listener.learn(key, masked.bitsOf(key, cache.generation) ?? WHOLE_KEY, cache.verdicts[id]!);
  }

  /** Somebody watches: every packet goes through the tables, so that every lookup can be seen. */
  #showAll(batch: Batch, inPort: number, nowMs: number): void {
    for (let i = 0; i < batch.length; i++) this.#modules.process(batch.packets[i]!, inPort, nowMs);
    batch.length = 0;
  }

  /** Finds the verdicts that are known. */
  #lookUp(batch: Batch, inPort: number): void {
    const { offset, length } = this.#modules.hand.pool;
    const { packets } = batch;
    const count = batch.length;
    const starts = this.#starts;
    const lengths = this.#lengths;
    for (let i = 0; i < count; i++) {
      starts[i] = offset[packets[i]!]!;
      lengths[i] = length[packets[i]!]!;
    }
    const found = this.lookUpFrames(starts, lengths, count, inPort, true);
    const { plain } = this.#keys;
    for (let i = 0; i < count; i++)
      if (found[i]! === NOT_FOUND && plain[i] === ROW_WHOLE)
        found[i] = this.#findMasked(packets[i]!, i, inPort);
  }

  /**
   * The numbers of the verdicts on `count` frames that start at `starts` in the pool's arena and are so long, as far as
   * they follow from the front match of the port, the exact cache, or with IPv6 the masked one. Where they are not whole,
   * KEY_BYTES of each lie there. Good until the next burst.
   */
  lookUpFrames(
    starts: Int32Array,
    lengths: Int32Array,
    count: number,
    inPort: number,
    areWhole: boolean,
  ): Int32Array {
    const { cache, fronts } = this;
    const keys = this.#keys;
    const found = this.#found;
    cache.sync(this.#modules.tables.version);
    const front = fronts.of(inPort | 0, cache.generation);
    const hits = keys.read(starts, lengths, count, inPort, front);
    if (front !== null) fronts.done(front, hits, count);
    const id = front === null ? NOT_FOUND : front.id;
    if (hits === count) {
      for (let i = 0; i < count; i++) found[i] = id;
      return found;
    }
    this.#touched = (this.#touched + cache.touchAll(keys.hashes, count)) | 0;
    cache.findAll(keys, count, id, found);
    if (this.masked.knowsWide(cache.generation)) {
      for (let i = 0; i < count; i++)
        if (keys.plain[i] === ROW_WIDE) found[i] = this.#findWide(starts[i]!, lengths[i]!, inPort, areWhole);
    }
    return found;
  }

  /** The verdict of a frame of ROW_WIDE, or NOT_FOUND. */
  #findWide(start: number, length: number, inPort: number, isWhole: boolean): number {
    const { cache, masked } = this;
    const { hand } = this.#modules;
    const { key } = hand;
    key[K.K_IN_PORT] = inPort;
    hand.headers.parseNewAt(hand.pool, start, length, key);
    const id = masked.find(key, cache.generation);
    // TCP's flags lie behind KEY_BYTES: what was read there is of no frame.
    return id >= 0 && !isWhole && masked.foundBits[K.K_TCP_FLAGS] !== 0 ? NOT_FOUND : id;
  }

  /** The verdict on frame `i` of the burst looked up last, which was NOT_FOUND there, by less than its key; −1 without one.
   *  `packet` is that frame. */
  findByLess(packet: number, i: number, inPort: number): number {
    return this.#keys.plain[i] === ROW_WHOLE ? this.#findMasked(packet, i, inPort) : NOT_FOUND;
  }

  /** Whether frames may be judged by what is known of their kind alone: nobody watches single ones. */
  get isUnattended(): boolean {
    return !this.#modules.hand.isAttended;
  }

  /** Whether two frames of the burst looked up last, of which a verdict is known, have the same addresses and tag. */
  isSameLink(a: number, b: number): boolean {
    return this.#keys.isSameLink(a, b);
  }

  /** Counts frames that somebody else forwards as the verdict says; settle() tells the flows. */
  countFrames(verdict: Verdict, frames: number, sizeBytes: number): void {
    const { hand } = this.#modules;
    const { rewrite, code, flows } = verdict;
    this.#count(verdict, frames, sizeBytes);
    hand.tableId = rewrite === null ? code[1]! : rewrite.tableId;
    const index = rewrite === null ? code[2]! : rewrite.flowIndex;
    hand.flow = index < 0 ? null : flows[index]!;
  }

  /** Ends what countFrames() and forwardNormally() began. */
  settle(nowMs: number): void {
    const { hand } = this.#modules;
    this.#settle(nowMs);
    hand.flow = null;
    hand.tableId = -1;
  }

  /** Forwards a packet whose verdict is to do as an ordinary switch, and frees it. Returns the port to which others with
   *  the same addresses and tag go, too; −1 when that is to be asked for each. */
  forwardNormally(packet: number, inPort: number): number {
    const { hand } = this.#modules;
    if (hand.marked) hand.clearPipelineWords();
    hand.key[K.K_IN_PORT] = inPort;
    return this.#normalOne(packet);
  }

  /** The verdict of a frame that the exact cache does not know. Its key stays in `#recordings.key`. */
  #findMasked(packet: number, i: number, inPort: number): number {
    const { cache, masked } = this;
    const { hand } = this.#modules;
    const { key } = hand;
    key[K.K_IN_PORT] = inPort;
    hand.headers.parseNew(hand.pool, packet, key);
    const id = masked.find(key, cache.generation);
    if (id < 0 || masked.hits % MASKED_INSERTION !== 0) return id;
    const isTracked = cache.verdicts[id]!.tail >= 0;
    // Behind a ct() a row is needed, and often its line.
    if (!isTracked || this.#rules.leads(id, cache.generation))
      this.fronts.offer(key, masked.foundBits, id, cache.generation, isTracked);
    const serial = isTracked ? this.#stages.serial() : 0;
    cache.keepId(this.#keys.hashes[i]!, this.#keys.rows, i << ROW_SHIFT, id, serial);
    return id;
  }

  #record(packets: Int32Array, i: number, inPort: number, nowMs: number): void {
    this.cache.sync(this.#modules.tables.version);
    const packet = packets[i]!;
    // Packets before it in the burst may have been of its kind.
    const id = this.#findMasked(packet, i, inPort);
    if (id >= 0) {
      this.#applyOne(this.cache.verdicts[id]!, packets, i, inPort, nowMs);
      return;
    }
    const { key } = this.#modules.hand;
    const copy = this.#recordings.key;
    for (let n = 0; n < copy.length; n++) copy[n] = key[n]!;
    this.#recordings.begin(i);
    this.#modules.process(packet, inPort, nowMs);
    this.#recordings.end();
  }

  /** As #record(), of a packet of ROW_WIDE; when nothing can be kept of it, the next ones go by without. */
  #recordWide(packets: Int32Array, i: number, inPort: number, nowMs: number): void {
    const { hand, tables, process } = this.#modules;
    const recordings = this.#recordings;
    const packet = packets[i]!;
    this.cache.sync(tables.version);
    const id = this.#findWide(hand.pool.offset[packet]!, hand.pool.length[packet]!, inPort, true);
    if (id >= 0) {
      this.#applyOne(this.cache.verdicts[id]!, packets, i, inPort, nowMs);
      return;
    }
    for (let n = 0; n < recordings.key.length; n++) recordings.key[n] = hand.key[n]!;
    recordings.beginWide();
    process(packet, inPort, nowMs);
    recordings.end();
    this.#wideRests = recordings.isKept ? 0 : Math.min(FRONT_RESTS_MAX, 2 * this.#wideRests + 1);
    this.#wideLeft = this.#wideRests;
  }

  #applyOne(verdict: Verdict, packets: Int32Array, i: number, inPort: number, nowMs: number): void {
    if (verdict.tail >= 0) this.#ct.run(verdict, packets, i, i + 1, inPort, nowMs);
    else this.#apply(verdict, packets, i, i + 1, inPort);
  }

  #count({ id }: Verdict, packets: number, sizeBytes: number): void {
    if (this.#packets[id] === 0) this.#counted[this.#countedLength++] = id;
    this.#packets[id] = this.#packets[id]! + packets;
    this.#bytes[id] = this.#bytes[id]! + sizeBytes;
  }

  /** Does to packets[from] up to packets[to] what the verdict says. */
  #apply(verdict: Verdict, packets: Int32Array, from: number, to: number, inPort: number): void {
    const { hand, forward } = this.#modules;
    const { length } = hand.pool;
    const { code, rewrite, onlyPort } = verdict;
    if (verdict.isMetered || verdict.tracks) {
      this.#oneByOne(verdict, packets, from, to, inPort);
      return;
    }
    let bytes = 0;
    for (let i = from; i < to; i++) bytes += length[packets[i]!]!;
    this.#count(verdict, to - from, bytes);
    if (hand.marked) hand.clearPipelineWords();
    if (onlyPort >= 0) {
      hand.tableId = code[1]!;
      hand.flow = verdict.flows[code[2]!]!;
      forward(packets, from, to, onlyPort);
      return;
    }
    // An output compares with it, and the packet before may have had another.
    hand.key[K.K_IN_PORT] = inPort;
    if (rewrite !== null && rewrite.port !== inPort)
      this.#rewritten.run(verdict, rewrite, packets, from, to, inPort);
    else if (verdict.isNormal) this.#normal(code[1]!, verdict.flows[code[2]!]!, packets, from, to);
    else for (let i = from; i < to; i++) this.#replay.whole(verdict, packets[i]!, inPort);
  }

  /** Packets that a meter or a ct() may drop are counted one by one, as far as they came. */
  #oneByOne(verdict: Verdict, packets: Int32Array, from: number, to: number, inPort: number): void {
    const { hand } = this.#modules;
    if (hand.marked) hand.clearPipelineWords();
    hand.key[K.K_IN_PORT] = inPort;
    for (let i = from; i < to; i++) {
      const sizeBytes = hand.pool.length[packets[i]!]!;
      this.#replay.whole(verdict, packets[i]!, inPort);
      this.#countOne(verdict, sizeBytes);
    }
  }

  #countOne(verdict: Verdict, sizeBytes: number): void {
    const { hand, tables } = this.#modules;
    const { lookups } = this.#replay;
    for (let n = 0; n < lookups; n++)
      tables.countMany(verdict.tables[n]!, verdict.flows[n]!, 1, sizeBytes, hand.nowMs);
    this.cache.origins.count(verdict.id, 1, sizeBytes, hand.nowMs);
  }

  /** Puts packets[from] up to packets[to] out as a verdict says that has done to connections what it does. */
  #putOut(
    { port, tableId, flowIndex }: Commit,
    verdict: Verdict,
    packets: Int32Array,
    from: number,
    to: number,
    inPort: number,
  ): void {
    const { hand, forward } = this.#modules;
    const { length } = hand.pool;
    let bytes = 0;
    for (let i = from; i < to; i++) bytes += length[packets[i]!]!;
    this.#count(verdict, to - from, bytes);
    if (hand.marked) hand.clearPipelineWords();
    hand.tableId = tableId;
    hand.flow = flowIndex < 0 ? null : verdict.flows[flowIndex]!;
    hand.key[K.K_IN_PORT] = inPort;
    if (port === OFPP_NORMAL) this.#normal(tableId, hand.flow, packets, from, to);
    else forward(packets, from, to, port);
  }

  /** What goes to one port takes the frames behind it along that have the same addresses and tag. */
  #normal(tableId: number, flow: Flow | null, packets: Int32Array, from: number, to: number): void {
    const { hand, forward } = this.#modules;
    hand.tableId = tableId;
    hand.flow = flow;
    for (let i = from; i < to; ) {
      const port = this.#normalOne(packets[i]!);
      const first = i++;
      if (port < 0) continue;
      while (i < to && this.#keys.isSameLink(first, i)) i++;
      forward(packets, first + 1, i, port);
    }
  }

  #normalOne(packet: number): number {
    const { hand, sink } = this.#modules;
    const { pool, key } = hand;
    const { view } = pool;
    const start = pool.offset[packet]!;
    key[K.K_ETH_DST] = view.getInt32(start);
    key[K.K_ETH_DST + 1] = view.getInt32(start + 4);
    key[K.K_ETH_SRC_LOW] = view.getInt32(start + 8);
    hand.packet = packet;
    const port = sink.normal(packet, key, hand.headers);
    pool.free(packet);
    return port;
  }

  /** Tells the flows of every verdict how many packets it has had. */
  #settle(nowMs: number): void {
    const { cache } = this;
    const { tables } = this.#modules;
    for (let c = 0; c < this.#countedLength; c++) {
      const id = this.#counted[c]!;
      const verdict = cache.verdicts[id]!;
      for (let i = 0; i < verdict.flows.length; i++)
        tables.countMany(verdict.tables[i]!, verdict.flows[i]!, this.#packets[id]!, this.#bytes[id]!, nowMs);
      cache.origins.count(id, this.#packets[id]!, this.#bytes[id]!, nowMs);
      this.#packets[id] = 0;
      this.#bytes[id] = 0;
    }
    this.#countedLength = 0;
  }
}
