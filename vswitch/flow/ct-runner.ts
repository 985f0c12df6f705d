// Takes packets of one verdict, which ends in a ct(), through connection tracking and on in the tables: those that are
// known there (ct-stages.ts) by the short way; the others are tracked, and their verdict from there on may be known by
// what the tables look at; what is left goes through the pipeline, which may make it known.
// Invariants: packets are dealt with in the order in which they came, and leave in it; those that fare alike in a row
// are applied together, but nothing that changes connections is put off.
// Thread: datapath worker. Hot: yes.

import { CT_STATE_DNAT, CT_STATE_SNAT } from "../../base/openflow/index.js";
import { BATCH_SIZE } from "../../base/packet/index.js";
import { type BurstKeys, ROW_FRONT, ROW_SHIFT, ROW_WHOLE } from "./burst-keys.js";
import type { CtRules } from "./ct-rules.js";
import { type CtStages, S_EPOCH, S_FOUND, S_NEXT, S_SERIAL, S_STATE, S_VERDICT } from "./ct-stages.js";
import type { FlowTables } from "./flow-tables.js";
import type { InHand } from "./in-hand.js";
import { K_IP } from "./key.js";
import { MASKED_INSERTION } from "./limits.js";
import type { MaskedCache } from "./masked-cache.js";
import type { Outputs } from "./outputs.js";
import type { Tracker } from "./pipeline-modules.js";
import { K_TABLE, NEW, type Recordings } from "./recordings.js";
import { hasOptions } from "./saved-options.js";
import type { ValueOperations } from "./value-operations.js";
import { type Commit, carriesQueue, type Verdict } from "./verdict.js";
import { UNDECIDABLE, type VerdictCache } from "./verdict-cache.js";
import type { VerdictRecorder } from "./verdict-recorder.js";
import type { VerdictReplay } from "./verdict-replay.js";

/** Of a line: nobody has looked for it. */
const UNSEEN = -2;
/** Of what a packet may belong to: nothing that is known; nobody has looked. */
const UNKNOWN = -1;
const NOT_SOUGHT = -2;

export interface CtRunnerModules {
  readonly hand: InHand;
  readonly tables: FlowTables;
  readonly tracker: Tracker;
  readonly outputs: Outputs;
  readonly keys: BurstKeys;
  readonly cache: VerdictCache;
  readonly stages: CtStages;
  readonly rules: CtRules;
  /** Of packets that go on in a table: verdicts by what the tables look at. */
  readonly later: MaskedCache;
  readonly values: ValueOperations;
  readonly recorder: VerdictRecorder;
  readonly recordings: Recordings;
  readonly replay: VerdictReplay;
  /** Does to packets[from] up to packets[to] what the verdict says, and counts them. */
  readonly apply: (verdict: Verdict, packets: Int32Array, from: number, to: number, inPort: number) => void;
  /** The same where the verdict commits, and that is done already. */
  readonly putOut: (
    commit: Commit,
    verdict: Verdict,
    packets: Int32Array,
    from: number,
    to: number,
    inPort: number,
  ) => void;
  readonly count: (verdict: Verdict, packets: number, sizeBytes: number) => void;
  /** Counts a packet as far as it came when the verdict was last replayed. */
  readonly countOne: (verdict: Verdict, sizeBytes: number) => void;
  /** Tells the flows what was counted. */
  readonly settle: (nowMs: number) => void;
  /** Frees the packet in hand, and takes those that wait through the tables; `behind` have gone on before. */
  readonly finish: (behind: number) => void;
}

export class CtRunner {
  /** Packets that were known behind a ct(), and that were not. */
  hits = 0;
  misses = 0;
  /** Of the hits, those by a rule. */
  ruleHits = 0;
  /** Packets of which connections were committed without going through the tables. */
  commits = 0;
  readonly #modules: CtRunnerModules;
  /** Packets [first, end) wait to be applied. */
  #pending: Verdict | null = null;
  #first = 0;
  #end = 0;
  #inPort = 0;
  /** How often the packet in hand has gone on in a table. */
  #behind = 0;
  /** By packet of the burst: the connection that it may belong to, or −1. */
  readonly #sought = new Int32Array(BATCH_SIZE);
  /** The same of the packet in hand behind its first ct(). */
  readonly #next = new Int32Array(1);
  readonly #inHand = new Int32Array(1);
  /** Packets that a rule was noted for, but not one for them. */
  #missed = 0;

  constructor(modules: CtRunnerModules) {
    this.#modules = modules;
  }

  /** Takes packets[from] up to packets[to], all of `verdict`; returns where it had to stop: what was looked up counts no more. */
  run(
    verdict: Verdict,
    packets: Int32Array,
    from: number,
    to: number,
    inPort: number,
    nowMs: number,
  ): number {
    const { tables, cache } = this.#modules;
    const { version } = tables;
    const { generation } = cache;
    const { code, tail, acts } = verdict;
    // What is done to packets ahead of the ct() may be done to what they belong to.
    if (acts) this.#sought.fill(NOT_SOUGHT, from, to);
    else this.#modules.tracker.seek(packets, from, to, code[tail + 2]!, this.#sought);
    for (let i = from; i < to; i++) {
      this.#take(verdict, packets, i, inPort, nowMs);
      if (tables.version !== version || cache.generation !== generation) {
        this.#flush(packets);
        return i + 1;
      }
    }
    this.#flush(packets);
    return to;
  }

  #take(first: Verdict, packets: Int32Array, i: number, inPort: number, nowMs: number): void {
    const { hand, tracker, keys, cache, stages, replay, count, countOne } = this.#modules;
    const { pool } = hand;
    const row = i << ROW_SHIFT;
    const kind = keys.plain[i]!;
    const hasRow = kind === ROW_WHOLE || kind === ROW_FRONT;
    let verdict = first;
    let sought = hasRow ? this.#sought[i]! : NOT_SOUGHT;
    let line = UNSEEN;
    let serial = 0;
    let at = -1;
    let stage = -1;
    this.#behind = 0;
    let packet = packets[i]!;
    for (;;) {
      const { code, tail } = verdict;
      const sizeBytes = pool.length[packet]!;
      if (verdict.acts) {
        this.#flush(packets);
        replay.upTo(verdict, tail, packet, inPort, this.#behind);
        packet = hand.packet;
        packets[i] = packet;
        if (hand.dropped) {
          countOne(verdict, sizeBytes);
          pool.free(packet);
          return;
        }
      }
      count(verdict, 1, sizeBytes);
      const ct = verdict.cts[code[tail + 1]!]!;
      const zone = code[tail + 2]!;
      const mayPass = ct.nat === null || !pool.isShared(packet);
      let found = sought;
      let state = 0;
      let id = UNDECIDABLE;
      if (found >= 0) {
        if (mayPass) state = tracker.pass(packet, found, ct, zone, nowMs);
        if (state !== 0) id = this.#byRule(found, verdict.id, state, row);
      } else if (found === UNKNOWN) {
        id = this.#newByRule(verdict.id, row);
        state = tracker.meet(packet, ct, zone, code[tail + 3]!, nowMs);
        if (state === 0) id = UNDECIDABLE;
        else if (ct.commit) found = tracker.opened;
      }
      const isMet = state !== 0 && found < 0;
      let next = id >= 0 ? cache.verdicts[id]! : verdict;
      if (id >= 0) {
        this.ruleHits++;
        if (next.commit !== null && this.#commits(next, verdict, packet, found, isMet, false, nowMs)) {
          this.hits++;
          this.#put(next, packets, i, code[tail + 3]!, true);
          return;
        }
        // It is to be tracked, which says why.
        if (isMet && next.commit !== null) {
          id = UNDECIDABLE;
          state = 0;
        }
      }
      // Whatever comes behind the next ct() may be known by the line alone.
      if (line === UNSEEN && !isMet && (id < 0 || next.tail >= 0)) {
        line = this.#lineOf(verdict, i, found >= 0 && state !== 0 && id < 0 && tracker.noteOf(found) !== 0);
        serial = line < 0 ? 0 : cache.serialOf(line);
        at = line < 0 ? -1 : stages.find(cache.stageOf(line), serial);
      }
      const { words } = stages;
      const staged = at < 0 ? -1 : words[at + S_FOUND]!;
      if (staged >= 0 && tracker.epochOf(staged) !== words[at + S_EPOCH]!) at = -1;
      if (at >= 0 && state === 0 && sought < 0 && mayPass) {
        found = staged;
        state = tracker.pass(packet, found, ct, zone, nowMs);
      }
      const isStaged = at >= 0 && state !== 0 && staged === found && state === words[at + S_STATE]!;
      if (id < 0 && isStaged) {
        id = words[at + S_VERDICT]!;
        if (id >= 0) next = cache.verdicts[id]!;
      }
      if (id < 0) {
        this.#flush(packets);
        hand.packet = packet;
        const entered = this.#goOn(verdict, line, stage, serial, found, isStaged, state, inPort, nowMs);
        if (entered < 0) return;
        packet = hand.packet;
        packets[i] = packet;
        this.hits++;
        next = cache.verdicts[entered]!;
        const isDone = this.#commits(next, verdict, packet, found, isMet, true, nowMs);
        this.#put(next, packets, i, code[tail + 3]!, isDone);
        return;
      }
      this.hits++;
      inPort = code[tail + 3]!;
      if (next.isLive) {
        this.#flush(packets);
        this.#loadKey(verdict, packet, found, state);
      }
      verdict = next;
      if (verdict.tail < 0) {
        this.#put(verdict, packets, i, inPort, false);
        return;
      }
      this.#behind++;
      sought = hasRow && !verdict.acts ? this.#seekOne(packet, state, verdict) : NOT_SOUGHT;
      if (isStaged && words[at + S_VERDICT]! === id) {
        stage = at;
        serial = words[at + S_SERIAL]!;
        at = stages.find(words[at + S_NEXT]!, serial);
      } else {
        line = -1;
        stage = -1;
        at = -1;
      }
    }
  }

  /** The verdict that the rule of the connection gives, or one of any connection; −1 without one. */
  #byRule(found: number, ahead: number, state: number, row: number): number {
    const { tracker, rules, cache, keys } = this.#modules;
    const { generation } = cache;
    const note = tracker.noteOf(found);
    const id = rules.find(note, ahead, state, generation, keys, row);
    if (id >= 0) return id;
    const guess = rules.guess(ahead, state);
    const guessed = rules.find(guess, ahead, state, generation, keys, row);
    if (guessed >= 0 && !rules.serves(note, ahead, state, generation)) tracker.note(found, guess);
    return guessed;
  }

  /**
   * The line of packet i, or −1: what is known by less than its key may have none. Where the rule of its connection serves
   * others, as in another bridge, it may get one.
   */
  #lineOf(verdict: Verdict, i: number, isMissed: boolean): number {
    const { keys, cache, stages } = this.#modules;
    const { rows, hashes, plain } = keys;
    const row = i << ROW_SHIFT;
    if (plain[i] === ROW_WHOLE) return cache.line(hashes[i]!, rows, row);
    if (plain[i] !== ROW_FRONT || !isMissed) return -1;
    const hash = keys.hashOf(i);
    const line = cache.line(hash, rows, row);
    if (line >= 0 || ++this.#missed % MASKED_INSERTION !== 0) return line;
    return cache.keepId(hash, rows, row, verdict.id, stages.serial());
  }

  /** What the packet may belong to where it goes on; NOT_SOUGHT when it is another one by now than it was. */
  #seekOne(packet: number, state: number, { code, tail }: Verdict): number {
    if ((state & (CT_STATE_SNAT | CT_STATE_DNAT)) !== 0) return NOT_SOUGHT;
    this.#inHand[0] = packet;
    this.#modules.tracker.seek(this.#inHand, 0, 1, code[tail + 2]!, this.#next);
    return this.#next[0]!;
  }

  /** The verdict on packets that belong to nothing; −1 without one. */
  #newByRule(ahead: number, row: number): number {
    const { rules, cache, keys } = this.#modules;
    return rules.find(rules.guess(ahead, NEW), ahead, NEW, cache.generation, keys, row);
  }

  /**
   * Does to connections what the verdict does, where an output is all besides; false: nothing has been done. The packet has
   * come by `ahead`, and its key is in hand if `hasKey`.
   */
  #commits(
    { commit }: Verdict,
    ahead: Verdict,
    packet: number,
    found: number,
    isMet: boolean,
    hasKey: boolean,
    nowMs: number,
  ): boolean {
    const { tracker, hand } = this.#modules;
    const inPort = ahead.code[ahead.tail + 3]!;
    if (commit === null || commit.port === inPort) return false;
    const { ct } = commit;
    let isDone = false;
    if (isMet) {
      if (!hasKey && ct.program !== null) this.#loadKey(ahead, packet, found, NEW);
      isDone = tracker.open(ct, ct.zone, inPort, nowMs, hand.key);
    } else if (found >= 0) isDone = tracker.pass(packet, found, ct, ct.zone, nowMs) !== 0;
    if (isDone) this.commits++;
    return isDone;
  }

  /** Makes the key in hand what it is when the packet goes on behind `ahead`. */
  #loadKey({ code, tail }: Verdict, packet: number, found: number, state: number): void {
    const { hand, replay, tracker } = this.#modules;
    hand.packet = packet;
    replay.readKey(code[tail + 3]!);
    replay.loadPipeline(code, tail);
    tracker.tell(found, state, hand.key);
  }

  /** Packet i fares as `verdict` says; its key is in hand if that is live, unless `isDone`: what it does to connections. */
  #put(verdict: Verdict, packets: Int32Array, i: number, inPort: number, isDone: boolean): void {
    if (this.#pending === verdict && this.#inPort === inPort && verdict.isLive === isDone) {
      this.#end = i + 1;
      return;
    }
    if (verdict.isLive && !isDone) {
      const { countOne, hand, replay } = this.#modules;
      const sizeBytes = hand.pool.length[packets[i]!]!;
      replay.whole(verdict, packets[i]!, inPort);
      countOne(verdict, sizeBytes);
      return;
    }
    this.#flush(packets);
    if (verdict.tracks && !isDone) {
      this.#modules.apply(verdict, packets, i, i + 1, inPort);
      return;
    }
    this.#pending = verdict;
    this.#first = i;
    this.#end = i + 1;
    this.#inPort = inPort;
  }

  #flush(packets: Int32Array): void {
    const verdict = this.#pending;
    if (verdict === null) return;
    this.#pending = null;
    const { commit } = verdict;
    if (commit === null) this.#modules.apply(verdict, packets, this.#first, this.#end, this.#inPort);
    else this.#modules.putOut(commit, verdict, packets, this.#first, this.#end, this.#inPort);
  }

  /**
   * The packet in hand goes on through the tables from the ct() that ends `verdict`; with a `state` it has been tracked,
   * and is of `tracked`, or (−1) was met. `isKnown`: a stage says that there is no verdict. Returns the verdict that it is
   * to have, and −1 when it has ended.
   */
  #goOn(
    verdict: Verdict,
    line: number,
    stage: number,
    serial: number,
    tracked: number,
    isKnown: boolean,
    state: number,
    inPort: number,
    nowMs: number,
  ): number {
    const { hand, tracker, outputs, cache, later, recorder, recordings, replay, settle, finish } =
      this.#modules;
    const { code, tail } = verdict;
    const behind = this.#behind;
    // Otherwise the key has been kept up with the packet.
    if (!verdict.acts) {
      replay.upTo(verdict, tail, hand.packet, inPort, behind);
      replay.readKey(inPort);
    }
    if (state === 0) replay.ct(verdict, tail);
    else {
      recorder.tracked(tracked, tracked < 0 ? 0 : tracker.epochOf(tracked), state);
      replay.loadPipeline(code, tail);
      tracker.tell(tracked, state, hand.key);
      outputs.queue(verdict.cts[code[tail + 1]!]!.tableId);
    }
    // A stage that is known and gives no verdict stays: what follows is not to be known.
    if (!isKnown && !carriesQueue(code, tail) && !hand.dropped && outputs.waiting.length === behind + 1) {
      const isOne = line >= 0 && recorder.found >= 0;
      const key = this.#nextKey(behind);
      const id = key === null ? -1 : later.find(key, cache.generation);
      if (id >= 0) {
        outputs.waiting.length = behind;
        hand.pool.free(hand.packet);
        if (isOne) recordings.addStage(line, stage, serial, id);
        recordings.learnRule(verdict, id, key!, later.foundBits);
        return id;
      }
      settle(nowMs);
      if (isOne || key !== null)
        recordings.beginStage(isOne ? line : -1, isOne ? stage : -1, serial, behind, key, verdict);
    } else settle(nowMs);
    this.misses++;
    finish(behind);
    recordings.end();
    return -1;
  }

  /** The key of the packet in hand as it is when it goes on, with the table in K_TABLE; null where it is not to be known by it. */
  #nextKey(behind: number): Int32Array | null {
    const { hand, outputs, values } = this.#modules;
    const { key } = hand;
    const { waiting } = outputs;
    waiting.restore(behind, key, values);
    hand.marked = true;
    if (hasOptions(key)) return null;
    hand.headers.parseNew(hand.pool, hand.packet, key);
    if ((key[K_IP]! & 0xff) !== 0) return null;
    key[K_TABLE] = waiting.tables[behind]!;
    return key;
  }
}
