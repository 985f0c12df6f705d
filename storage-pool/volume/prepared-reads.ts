// Reads of several requests that are carried out together, in one system call.
//
//   add … add ─► run (the first time) ─► firstRuns[ticket] … endRuns[ticket]: how reading its runs went
//
// Invariant: between add() and run() no map changes. Thread: the pool's worker. Hot: yes.
import type { DataBuffer } from "../disk/data-buffer.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockCipher } from "./block-cipher.js";
import type { BlockMap } from "./block-map.js";
import { BlockRuns } from "./block-runs.js";
import type { ColdReads } from "./cold-reads.js";

/** A megabyte of scattered blocks: what is read is checked and sent while it is in the processor's cache. */
const PREPARED_MAX = 256;

export class PreparedReads {
  readonly runs: BlockRuns;
  /** By ticket. */
  readonly maps = new Array<BlockMap | undefined>(PREPARED_MAX).fill(undefined);
  readonly targets = new Array<DataBuffer | undefined>(PREPARED_MAX).fill(undefined);
  readonly ciphers = new Array<BlockCipher | undefined>(PREPARED_MAX).fill(undefined);
  readonly firstRuns = new Uint32Array(PREPARED_MAX);
  readonly endRuns = new Uint32Array(PREPARED_MAX);
  #count = 0;
  #done = false;

  constructor(table: SegmentTable, cold: ColdReads) {
    this.runs = new BlockRuns(table, PREPARED_MAX, cold);
  }

  /** A ticket, or −1 when there is no room or a block is packed or lost. */
  add(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher: BlockCipher | undefined,
  ): number {
    const { runs } = this;
    if (this.#done) this.#clear();
    if (this.#count === PREPARED_MAX || count > runs.room) return -1;
    const first = runs.count;
    if (runs.add(map, target, at, block, count) >= 0) return -1;
    const ticket = this.#count++;
    this.maps[ticket] = map;
    this.targets[ticket] = target;
    this.ciphers[ticket] = cipher;
    this.firstRuns[ticket] = first;
    this.endRuns[ticket] = runs.count;
    return ticket;
  }

  /** With `wait` false results may be EAGAIN: the disks have been asked. Only the first call decides. */
  run(wait: boolean): void {
    if (this.#done) return;
    this.#done = true;
    this.runs.read(wait);
  }

  /** Nothing of it is kept alive any longer. */
  forget(ticket: number): void {
    this.maps[ticket] = undefined;
    this.targets[ticket] = undefined;
    this.ciphers[ticket] = undefined;
  }

  #clear(): void {
    for (let ticket = 0; ticket < this.#count; ticket++) this.forget(ticket);
    this.runs.clear();
    this.#count = 0;
    this.#done = false;
  }

  close(): void {
    this.runs.close();
  }
}
