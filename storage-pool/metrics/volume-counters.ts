// What the clients of one volume have done, over any front. Thread: the pool's worker. Hot: yes.
import { Latency } from "./latency.js";

export const OP_READ = 0;
export const OP_WRITE = 1;
export const OP_FLUSH = 2;
export const OP_UNMAP = 3;
export const OP_ZEROES = 4;
export const OP_OTHER = 5;
/** By number, as they are called in metrics. */
export const OP_NAMES: readonly string[] = ["read", "write", "flush", "unmap", "zeroes", "other"];

export class VolumeCounters {
  readonly ops = new Float64Array(OP_NAMES.length);
  readonly bytes = new Float64Array(OP_NAMES.length);
  readonly errors = new Float64Array(OP_NAMES.length);
  /** From when a request was seen until its answer was given to the socket; those that wait for a sync are not in it. */
  readonly latency = new Latency();

  count(op: number, bytes: number): void {
    this.ops[op] = (this.ops[op] as number) + 1;
    this.bytes[op] = (this.bytes[op] as number) + bytes;
  }

  fail(op: number): void {
    this.errors[op] = (this.errors[op] as number) + 1;
  }
}
