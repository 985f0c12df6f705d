// Where what the recorder has written down goes: into the line of the packet's key, and for every table that the packet
// went on in after a ct(), into a stage behind that (ct-stages.ts).
// Invariant: nothing is kept that was recorded while the tables changed. Thread: datapath worker. Hot: yes, as long as
// packets come that the cache does not know.
import { CT_STATE_NEW, CT_STATE_TRK } from "../../base/openflow/index.js";
import { type BurstKeys, ROW_SHIFT } from "./burst-keys.js";
import type { CtRules } from "./ct-rules.js";
import type { CtStages } from "./ct-stages.js";
import { S_NEXT, S_SERIAL } from "./ct-stages.js";
import type { FlowTables } from "./flow-tables.js";
import type { FrontMatches } from "./front-match.js";
import { K_ACTSET_OUTPUT, K_PIPELINE, KEY_WORDS } from "./key.js";
import { CT_STAGES_DEPTH_MAX } from "./limits.js";
import type { MaskedCache } from "./masked-cache.js";
import type { Outputs } from "./outputs.js";
import type { Path } from "./path.js";
import type { Tracker } from "./pipeline-modules.js";
import { carriesQueue, type Verdict } from "./verdict.js";
import type { VerdictCache } from "./verdict-cache.js";
import type { VerdictRecorder } from "./verdict-recorder.js";

/** Where a key that is looked up before a run has the table: every run writes this word anew. */
export const K_TABLE = K_ACTSET_OUTPUT;
/** The ct_state of a packet that belongs to nothing. */
export const NEW = CT_STATE_TRK | CT_STATE_NEW;

export interface RecordingModules {
  readonly tables: FlowTables;
  readonly outputs: Outputs;
  readonly recorder: VerdictRecorder;
  readonly cache: VerdictCache;
  readonly stages: CtStages;
  readonly rules: CtRules;
  readonly tracker: Tracker;
  readonly keys: BurstKeys;
  readonly masked: MaskedCache;
  /** The same of packets that go on in a table. */
  readonly later: MaskedCache;
  readonly fronts: FrontMatches;
  readonly path: Path;
}

export class Recordings {
  /** Of the packet that begin() was told of, as it came in. */
  readonly key = new Int32Array(K_PIPELINE);
  /** Of the packet that beginStage() was told of, with the table in K_TABLE. */
  readonly #laterKey = new Int32Array(KEY_WORDS);
  /** The stage that follows next may be known by less than the packet's key. */
  #isMasked = false;
  /** After beginWide() and end(): it is known now what becomes of such packets. */
  isKept = false;
  readonly #modules: RecordingModules;
  #version = 0;
  /** Of the burst; −1 once its line is there. */
  #row = -1;
  /** The packet has none. */
  #isWide = false;
  /** What the next stage follows: a line, or (≥ 0) a stage; and its serial. */
  #line = -1;
  #stage = -1;
  #serial = 0;
  /** What the packet was found to be when it left for the table where it is now. */
  #found = -1;
  #epoch = 0;
  #state = 0;
  #ahead: Verdict | null = null;
  /** Copies of the packet that have waited to go on so far. */
  #waited = 0;

  constructor(modules: RecordingModules) {
    this.#modules = modules;
    modules.recorder.onRunEnd = () => this.#runEnded();
  }

  /** The packet with row `row` of the burst is about to go through the tables. */
  begin(row: number): void {
    this.#row = row;
    this.#isWide = false;
    this.#beginWhole();
  }

  /** The same with a packet of ROW_WIDE. */
  beginWide(): void {
    this.#row = -1;
    this.#isWide = true;
    this.isKept = false;
    this.#beginWhole();
  }

  #beginWhole(): void {
    this.#stage = -1;
    this.#isMasked = false;
    this.#waited = 0;
    this.#start(true);
    const { path, recorder } = this.#modules;
    path.consulted = recorder.consulted;
    path.isFollowed = false;
  }

  /**
   * A packet that was known up to its ct() is about to go on in a table, as it has done `behind` times before. `stage`
   * ≥ 0, or the line, is what it follows; −1 both: it follows nothing. With a `key`, that is what it goes on with, with
   * the table in K_TABLE. It has come by `ahead`.
   */
  beginStage(
    line: number,
    stage: number,
    serial: number,
    behind: number,
    key: Int32Array | null,
    ahead: Verdict,
  ): void {
    this.#ahead = ahead;
    this.#row = -1;
    this.#isWide = false;
    this.#line = line;
    this.#stage = stage;
    this.#serial = serial;
    this.#waited = behind + 1;
    this.#remember();
    this.#isMasked = key !== null;
    if (key !== null) for (let i = 0; i < KEY_WORDS; i++) this.#laterKey[i] = key[i]!;
    this.#start(key !== null);
    const { path, recorder } = this.#modules;
    path.isFollowed = false;
    if (key === null) return;
    path.consulted = recorder.consulted;
    recorder.startKey = this.#laterKey;
  }

  #start(masked: boolean): void {
    const { tables, recorder } = this.#modules;
    this.#version = tables.version;
    recorder.begin(masked);
    recorder.armed = true;
  }

  /** The packet has ended. */
  end(): void {
    const { recorder, path } = this.#modules;
    recorder.active = false;
    recorder.armed = false;
    path.consulted = null;
  }

  #runEnded(): void {
    const { tables, outputs, recorder, path } = this.#modules;
    path.consulted = null;
    recorder.active = false;
    recorder.armed = false;
    if (tables.version !== this.#version) return;
    if (this.#isWide) {
      this.#keepWide();
      return;
    }
    if (this.#row >= 0) this.#keepLine();
    else this.#keepStage();
    this.#waited++;
    const goesOn = recorder.isWhole && recorder.tail >= 0 && recorder.found >= 0;
    // What is known of packets behind a ct() begins without a queue.
    if (goesOn && carriesQueue(recorder.code, recorder.tail)) return;
    if (!goesOn || outputs.waiting.length !== this.#waited || this.#waited > CT_STAGES_DEPTH_MAX) return;
    this.#remember();
    this.#isMasked = false;
    recorder.begin(false);
    recorder.armed = true;
  }

  #mayKeepLater(): boolean {
    const { recorder, path } = this.#modules;
    return recorder.isWhole && recorder.isMaskable && !path.isFollowed;
  }

  #keepLater(id: number): void {
    const { recorder, cache, later } = this.#modules;
    later.keep(this.#laterKey, recorder.consulted, id, cache.generation);
    if (this.#ahead !== null) this.#learn(this.#ahead, id, this.#laterKey, recorder.consulted);
  }

  /** The packet that was tracked last came by `ahead`, and those with `key` have verdict `id` because of `bits`. */
  learnRule(ahead: Verdict, id: number, key: Int32Array, bits: Int32Array): void {
    this.#remember();
    this.#learn(ahead, id, key, bits);
  }

  /** That is noted for the rest of the direction of its connection, or for those that are not begun yet. */
  #learn(ahead: Verdict, id: number, key: Int32Array, bits: Int32Array): void {
    const { rules, cache, tracker } = this.#modules;
    const { generation } = cache;
    const found = this.#found;
    const state = this.#state;
    if (cache.verdicts[ahead.id] !== ahead || ahead.acts) return;
    const isKnown = found >= 0;
    if (!isKnown && state !== NEW) return;
    if (isKnown && tracker.epochOf(found) !== this.#epoch) return;
    if (isKnown && rules.serves(tracker.noteOf(found), ahead.id, state, generation)) return;
    const note = rules.learn(key, bits, ahead.id, state, id, generation, !isKnown);
    if (note === 0) return;
    if (isKnown) tracker.note(found, note);
    if (cache.verdicts[id]!.tail < 0) rules.lead(ahead.id, generation);
  }

  #remember(): void {
    const { found, epoch, state } = this.#modules.recorder;
    this.#found = found;
    this.#epoch = epoch;
    this.#state = state;
  }

  #keepLine(): void {
    const { tables, recorder, cache, stages, keys, path, masked, fronts } = this.#modules;
    cache.sync(tables.version);
    const row = this.#row;
    this.#row = -1;
    this.#serial = stages.serial();
    const isMasked = recorder.isWhole && recorder.isMaskable && !path.isFollowed;
    const id = cache.idOf(recorder, this.key, isMasked ? recorder.consulted : null);
    this.#line = cache.keepId(keys.hashes[row]!, keys.rows, row << ROW_SHIFT, id, this.#serial);
    if (id >= 0) path.isKnown();
    if (!isMasked) return;
    masked.keep(this.key, recorder.consulted, id, cache.generation);
    // Behind a ct() a row is needed.
    if (recorder.tail < 0) fronts.offer(this.key, recorder.consulted, id, cache.generation);
  }

  /** Only by less than the key: there is no other place for it. */
  #keepWide(): void {
    const { tables, recorder, cache, path, masked } = this.#modules;
    if (!recorder.isWhole || !recorder.isMaskable || path.isFollowed) return;
    cache.sync(tables.version);
    const id = cache.idOf(recorder, this.key, recorder.consulted);
    path.isKnown();
    masked.keep(this.key, recorder.consulted, id, cache.generation);
    this.isKept = true;
  }

  #keepStage(): void {
    const { tables, recorder, cache, path } = this.#modules;
    cache.sync(tables.version);
    const isKept = this.#isMasked && this.#mayKeepLater();
    if (this.#line < 0 && !isKept) return;
    // By rule and connection these are known to many: none is told apart.
    if (isKept) recorder.consulted[K_TABLE] = -1;
    const id = cache.idOf(
      recorder,
      this.#isMasked ? this.#laterKey : null,
      isKept ? recorder.consulted : null,
      false,
    );
    if (id >= 0) path.isKnown();
    if (isKept) this.#keepLater(id);
    if (this.#line < 0) return;
    this.#add(id);
  }

  /** The packet that was tracked last has this verdict from there on: that is kept behind the line, or `stage` ≥ 0. */
  addStage(line: number, stage: number, serial: number, id: number): void {
    this.#line = line;
    this.#stage = stage;
    this.#serial = serial;
    this.#remember();
    this.#add(id);
  }

  #add(id: number): void {
    const { cache, stages } = this.#modules;
    const at = stages.add(this.#serial, this.#found, this.#epoch, this.#state, id);
    if (this.#stage >= 0) stages.words[this.#stage + S_NEXT] = at;
    else cache.setStage(this.#line, at);
    this.#stage = at;
    this.#serial = stages.words[at + S_SERIAL]!;
  }
}
