// A BlockDevice that fails when told to: wraps another, asks before each call. Thread: that of the wrapped device.
import type { DataBuffer } from "../disk/data-buffer.js";
import { OK } from "../errors.js";
import type { BlockDevice, ExtentVisitor } from "../volume/block-device.js";

export type FaultPoint = "read" | "write" | "unmap" | "commit" | "flush";

export class FaultDevice implements BlockDevice {
  readonly #next: BlockDevice;
  readonly #fault: (point: FaultPoint, offset: number, length: number) => number;

  /** `fault` returns 0 to let a call through, or the errno that it shall end with; nothing happens then. */
  constructor(next: BlockDevice, fault: (point: FaultPoint, offset: number, length: number) => number) {
    this.#next = next;
    this.#fault = fault;
  }

  get sizeBytes(): number {
    return this.#next.sizeBytes;
  }

  get readOnly(): boolean {
    return this.#next.readOnly;
  }

  get syncError(): number {
    return this.#next.syncError;
  }

  read(target: DataBuffer, at: number, offset: number, length: number, wait = true): number {
    return this.#fault("read", offset, length) || this.#next.read(target, at, offset, length, wait);
  }

  /** Each read is asked about: one by one. */
  prepareRead(): number {
    return -1;
  }

  finishRead(ticket: number): number {
    return this.#next.finishRead(ticket);
  }

  awaitRead(): number {
    return -1;
  }

  stageWrite(source: DataBuffer, at: number, offset: number, length: number): number {
    return this.#fault("write", offset, length) || this.#next.stageWrite(source, at, offset, length);
  }

  stageUnmap(offset: number, length: number): number {
    return this.#fault("unmap", offset, length) || this.#next.stageUnmap(offset, length);
  }

  stageZeroes(offset: number, length: number): number {
    return this.#fault("write", offset, length) || this.#next.stageZeroes(offset, length);
  }

  reserve(offset: number, length: number): number {
    return this.#next.reserve(offset, length);
  }

  unreserve(offset: number, length: number): void {
    this.#next.unreserve(offset, length);
  }

  /** A failing commit still passes on: what the device below did stays unknown to the caller, as the contract says. */
  commit(): number {
    const fault = this.#fault("commit", 0, 0);
    const result = this.#next.commit();
    return fault !== OK ? fault : result;
  }

  flush(): number {
    return this.#fault("flush", 0, 0) || this.#next.flush();
  }

  extents(offset: number, length: number, visit: ExtentVisitor): void {
    this.#next.extents(offset, length, visit);
  }

  snapshotNames(): readonly string[] {
    return this.#next.snapshotNames();
  }

  changes(base: string, offset: number, length: number, visit: ExtentVisitor): boolean {
    return this.#next.changes(base, offset, length, visit);
  }
}
