// Exact-match cache from compact keys to verdicts. An entry is one cache line: key, verdict and the generation in which
// it was made. Four-way associative: of four that count, another gives way each time.
//
//   entry (16 words): 0–9 key | 10 id of the verdict | 11 generation | 12 where its stage is | 13 serial (ct-stages.ts)
//
// Invariants: an entry counts only in its own generation, and the generation ends with every change of the tables, so
// that a packet after a change is never judged by what was before it. Equal verdicts are one object, but for those that
// are told apart by what they follow from (verdict-origins.ts).
// Thread: datapath worker. Hot: yes (touch, find).
import { type BurstKeys, ROW_FRONT, ROW_SHIFT, ROW_WHOLE, ROW_WORDS } from "./burst-keys.js";
import { commitOf } from "./commit-of.js";
import { VERDICT_KEYS_FIRST, VERDICT_KEYS_MAX, VERDICT_TWINS_MAX, VERDICTS_MAX } from "./limits.js";
import { shortRewriteOf } from "./short-rewrite.js";
import type { Verdict } from "./verdict.js";
import { hashMasked, VerdictOrigins } from "./verdict-origins.js";
import type { VerdictRecorder } from "./verdict-recorder.js";

export const NOT_FOUND = -1;
/** What becomes of such packets does not follow from the key: each is to be taken through the tables. */
export const UNDECIDABLE = -2;

const AT_VERDICT = ROW_WORDS;
const AT_GENERATION = AT_VERDICT + 1;
const AT_STAGE = AT_GENERATION + 1;
const AT_SERIAL = AT_STAGE + 1;

const WAYS = 4;

export class VerdictCache {
  readonly verdicts: Verdict[] = [];
  readonly origins = new VerdictOrigins();
  hits = 0;
  #entries: Int32Array;
  #mask: number;
  #keys = VERDICT_KEYS_FIRST;
  /** Keys that were kept in this generation. */
  #kept = 0;
  readonly #byHash = new Map<number, Verdict[]>();
  /** Verdicts that are told apart from others by nothing but what they follow from. */
  #twins = 0;
  #version = -1;
  /** Verdicts found in one mean nothing in the next. 0 belongs to entries that were never filled. */
  generation = 1;

  constructor() {
    this.#entries = new Int32Array(this.#keys << ROW_SHIFT);
    this.#mask = (this.#keys - 1) & ~(WAYS - 1);
  }

  /** Makes void what was kept under another version of the tables. */
  sync(version: number): void {
    if (version === this.#version) return;
    this.#version = version;
    this.clear();
  }

  clear(): void {
    this.verdicts.length = 0;
    this.#twins = 0;
    this.#kept = 0;
    this.#byHash.clear();
    this.#renew();
  }

  #renew(): void {
    this.generation = (this.generation + 1) | 0;
    if (this.generation !== 0) return;
    // After 2³² changes the numbers come again: nothing old may be left then.
    this.#entries.fill(0);
    this.generation = 1;
  }

  /** Reads a word of every hash's line; the sum means nothing. Lines touched one after the other come in at once. */
  touchAll(hashes: Int32Array, count: number): number {
    const entries = this.#entries;
    const mask = this.#mask;
    let sum = 0;
    for (let i = 0; i < count; i++)
      sum = (sum + entries[((hashes[i]! & mask) << ROW_SHIFT) + AT_GENERATION]!) | 0;
    return sum;
  }

  /**
   * find() for the first `count` frames of a burst, and NOT_FOUND for those without a row. Counts what it finds. Those that
   * agreed with the front match have its verdict, `front`.
   */
  findAll({ hashes, rows, plain }: BurstKeys, count: number, front: number, found: Int32Array): void {
    const entries = this.#entries;
    const mask = this.#mask;
    const generation = this.generation;
    let hits = 0;
    for (let i = 0; i < count; i++) {
      if (plain[i] !== ROW_WHOLE) {
        found[i] = plain[i] === ROW_FRONT ? front : NOT_FOUND;
        continue;
      }
      const first = (hashes[i]! & mask) << ROW_SHIFT;
      // Where there is little in the cache, the first way has it.
      const at = holds(entries, first, generation, rows, i << ROW_SHIFT)
        ? first
        : this.#lineBehind(first, rows, i << ROW_SHIFT);
      const id = at < 0 ? NOT_FOUND : entries[(at + AT_VERDICT) | 0]!;
      if (id >= 0) hits++;
      found[i] = id;
    }
    this.hits += hits;
  }

  /** The verdict for the row of `rows` at `row`, NOT_FOUND, or UNDECIDABLE. */
  find(hash: number, rows: Int32Array, row: number): number {
    const at = this.line(hash, rows, row);
    return at < 0 ? NOT_FOUND : this.#entries[at + AT_VERDICT]!;
  }

  /** The line of the row, or −1. */
  line(hash: number, rows: Int32Array, row: number): number {
    const first = (hash & this.#mask) << ROW_SHIFT;
    return holds(this.#entries, first, this.generation, rows, row)
      ? first
      : this.#lineBehind(first, rows, row);
  }

  /** The line of the row among the ways behind the first, or −1. */
  #lineBehind(first: number, rows: Int32Array, row: number): number {
    const end = first + (WAYS << ROW_SHIFT);
    for (let at = first + (1 << ROW_SHIFT); at < end; at += 1 << ROW_SHIFT)
      if (holds(this.#entries, at, this.generation, rows, row)) return at;
    return -1;
  }

  idAt(line: number): number {
    return this.#entries[line + AT_VERDICT]!;
  }

  /** Keeps a verdict that is known already for the row too. Returns the line. */
  keepId(hash: number, rows: Int32Array, row: number, id: number, serial: number): number {
    if (++this.#kept > this.#keys >> 1 && this.#keys < VERDICT_KEYS_MAX) this.#grow();
    return this.#fill(hash, rows, row, id, serial);
  }

  /** Where the stage is that follows the line, and by what serial it says so. */
  stageOf(line: number): number {
    return this.#entries[line + AT_STAGE]!;
  }
  serialOf(line: number): number {
    return this.#entries[line + AT_SERIAL]!;
  }
  setStage(line: number, stage: number): void {
    this.#entries[line + AT_STAGE] = stage;
  }

  /**
   * The number of what was recorded of a packet with the key, null when nobody knows it, or UNDECIDABLE when it was given
   * up. `bits`: what of the key it follows from; null: from all. `isApart`: it is counted by itself.
   */
  idOf(
    recorder: VerdictRecorder,
    key: Int32Array | null,
    bits: Int32Array | null,
    isApart = bits !== null,
  ): number {
    return recorder.isWhole ? this.#intern(recorder, key, bits, isApart).id : UNDECIDABLE;
  }

  #fill(hash: number, rows: Int32Array, row: number, id: number, serial: number): number {
    const entries = this.#entries;
    const first = (hash & this.#mask) << ROW_SHIFT;
    const end = first + (WAYS << ROW_SHIFT);
    let at = first;
    while (at < end && entries[at + AT_GENERATION] === this.generation) at += 1 << ROW_SHIFT;
    if (at === end) at = first + ((this.#kept & (WAYS - 1)) << ROW_SHIFT);
    for (let i = 0; i < ROW_WORDS; i++) entries[at + i] = rows[row + i]!;
    entries[at + AT_VERDICT] = id;
    entries[at + AT_GENERATION] = this.generation;
    entries[at + AT_STAGE] = 0;
    entries[at + AT_SERIAL] = serial;
    return at;
  }

  /** More room, empty: what is still in use is soon there again. Lines that were found are none now. */
  #grow(): void {
    this.#renew();
    this.#keys *= 4;
    this.#kept = 0;
    this.#entries = new Int32Array(this.#keys << ROW_SHIFT);
    this.#mask = (this.#keys - 1) & ~(WAYS - 1);
  }

  #intern(
    recorder: VerdictRecorder,
    key: Int32Array | null,
    bits: Int32Array | null,
    isApart: boolean,
  ): Verdict {
    const { origins } = this;
    const { code, length, flows, tables, lookups, needsKey, onlyPort, isNormal, tail, cts } = recorder;
    let hash = length;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ code[i]!, 0x9e3779b1);
    for (let i = 0; i < lookups; i++) hash = Math.imul(hash ^ (flows[i]?.slot ?? -1), 0x85ebca6b);
    const apart = key === null || bits === null || !isApart ? hash : hash ^ hashMasked(key, bits);
    const own =
      apart === hash
        ? undefined
        : this.#byHash.get(apart)?.find((one) => isSame(one, recorder) && origins.isOf(one.id, key!, bits));
    if (own !== undefined) return own;
    let same = this.#byHash.get(hash)?.find((one) => isSame(one, recorder));
    if (same !== undefined && (apart === hash || this.#twins >= VERDICT_TWINS_MAX)) {
      origins.add(same.id, key, bits);
      return same;
    }
    if (this.verdicts.length >= VERDICTS_MAX) {
      this.clear();
      same = undefined;
    }
    const verdict: Verdict = {
      id: this.verdicts.length,
      tables: Array.from(tables.slice(0, lookups)),
      flows: flows.slice(0, lookups),
      code: code.slice(0, length),
      cts: cts.slice(),
      groups: recorder.groups.slice(),
      buckets: recorder.buckets.slice(),
      isMetered: recorder.isMetered,
      tail,
      acts: recorder.acts,
      isLive: recorder.isLive,
      tracks: cts.length > 0,
      commit: commitOf(recorder),
      onlyPort,
      rewrite: onlyPort < 0 ? shortRewriteOf(code, length) : null,
      isNormal,
      needsKey,
    };
    this.verdicts.push(verdict);
    origins.begin(verdict.id, key, bits);
    if (same === undefined) this.#list(hash, verdict);
    else this.#twins++;
    if (apart !== hash) this.#list(apart, verdict);
    return verdict;
  }

  #list(hash: number, verdict: Verdict): void {
    const list = this.#byHash.get(hash);
    if (list === undefined) this.#byHash.set(hash, [verdict]);
    else list.push(verdict);
  }
}

function holds(entries: Int32Array, at: number, generation: number, rows: Int32Array, row: number): boolean {
  return (
    entries[(at + 6) | 0]! === rows[(row + 6) | 0]! &&
    entries[(at + 7) | 0]! === rows[(row + 7) | 0]! &&
    entries[(at + 8) | 0]! === rows[(row + 8) | 0]! &&
    entries[at]! === rows[row]! &&
    entries[(at + 1) | 0]! === rows[(row + 1) | 0]! &&
    entries[(at + 2) | 0]! === rows[(row + 2) | 0]! &&
    entries[(at + 3) | 0]! === rows[(row + 3) | 0]! &&
    entries[(at + 4) | 0]! === rows[(row + 4) | 0]! &&
    entries[(at + 5) | 0]! === rows[(row + 5) | 0]! &&
    entries[(at + 9) | 0]! === rows[(row + 9) | 0]! &&
    entries[(at + AT_GENERATION) | 0]! === generation
  );
}

/** Also in what the port that the packet came in by makes of the same code: an output to that port is none. */
function isSame(verdict: Verdict, recorder: VerdictRecorder): boolean {
  return (
    verdict.needsKey === recorder.needsKey &&
    verdict.onlyPort === recorder.onlyPort &&
    verdict.code.length === recorder.length &&
    verdict.flows.length === recorder.lookups &&
    verdict.code.every((word, i) => recorder.code[i] === word) &&
    verdict.cts.length === recorder.cts.length &&
    verdict.cts.every((ct, i) => recorder.cts[i] === ct) &&
    verdict.groups.length === recorder.groups.length &&
    verdict.groups.every((group, i) => recorder.groups[i] === group) &&
    verdict.buckets.length === recorder.buckets.length &&
    verdict.buckets.every((bucket, i) => recorder.buckets[i] === bucket) &&
    verdict.flows.every((flow, i) => recorder.flows[i] === flow) &&
    verdict.tables.every((table, i) => recorder.tables[i] === table)
  );
}
