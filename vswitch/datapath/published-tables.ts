// What is published of a port's verdicts: one table for each worker that takes frames of it in (publishing.ts). All say the
// same; each is counted in by its reader alone.
// Thread: datapath worker. Hot: yes (count).
import { type Counted, type Fate, type Verdict, VerdictWriter } from "../flow/index.js";
import type { Inlet, RemotePort } from "../port/index.js";

interface Table {
  readonly inlet: Inlet;
  readonly writer: VerdictWriter;
}

export class PublishedTables {
  #tables: readonly Table[];

  constructor({ inlets }: RemotePort) {
    this.#tables = inlets.map(tableOf);
  }

  /** What is published already is not published there. */
  add(inlet: Inlet): void {
    this.#tables = [...this.#tables, tableOf(inlet)];
  }

  /** After it has been taken back. */
  remove(inlet: Inlet): void {
    this.#tables = this.#tables.filter((one) => one.inlet !== inlet);
  }

  /** Verdicts that are published, as often as they are. */
  get count(): number {
    let count = 0;
    for (let i = 0; i < this.#tables.length; i++) count += this.#tables[i]!.writer.count;
    return count;
  }

  /** What had no place since the last withdrawal. */
  get refused(): number {
    let refused = 0;
    for (let i = 0; i < this.#tables.length; i++) refused += this.#tables[i]!.writer.refused;
    return refused;
  }

  /** See VerdictWriter. */
  publish(key: Int32Array, bits: Int32Array, verdict: Verdict, fate: Fate): void {
    for (let i = 0; i < this.#tables.length; i++) this.#tables[i]!.writer.publish(key, bits, verdict, fate);
  }

  close(): void {
    for (let i = 0; i < this.#tables.length; i++) this.#tables[i]!.writer.close();
  }

  /** After close(): counts all, and begins anew, when no worker acts by it any more. */
  takeBack(counted: Counted): void {
    for (let i = 0; i < this.#tables.length; i++) {
      const { inlet, writer } = this.#tables[i]!;
      inlet.bank.awaitPass();
      writer.fold(counted);
      writer.clear();
    }
  }

  fold(counted: Counted): void {
    for (let i = 0; i < this.#tables.length; i++) this.#tables[i]!.writer.fold(counted);
  }
}

function tableOf(inlet: Inlet): Table {
  return { inlet, writer: new VerdictWriter(inlet.lane.verdicts) };
}
