// A snapshot as a device that cannot be written. Thread: the pool's worker.
import type { DataBuffer } from "../disk/data-buffer.js";
import { EPERM, OK } from "../errors.js";
import type { ReadWaiter } from "./awaited-reads.js";
import type { BlockDevice, ExtentVisitor } from "./block-device.js";
import { walkChanges, walkExtents } from "./extents.js";
import type { Root, Volume } from "./volume.js";

export class SnapshotDevice implements BlockDevice {
  readonly readOnly = true;
  readonly syncError = OK;
  readonly #volume: Volume;
  readonly #root: Root;

  constructor(volume: Volume, root: Root) {
    this.#volume = volume;
    this.#root = root;
  }

  get sizeBytes(): number {
    return this.#root.sizeBytes;
  }

  read(target: DataBuffer, at: number, offset: number, length: number, wait = true): number {
    return this.#volume.read(target, at, offset, length, wait, this.#root);
  }

  prepareRead(target: DataBuffer, at: number, offset: number, length: number): number {
    return this.#volume.prepareRead(target, at, offset, length, this.#root);
  }

  finishRead(ticket: number, wait = true): number {
    return this.#volume.finishRead(ticket, wait);
  }

  awaitRead(offset: number, length: number, waiter: ReadWaiter): number {
    return this.#volume.awaitRead(offset, length, waiter, this.#root);
  }

  stageWrite(): number {
    return EPERM;
  }

  stageUnmap(): number {
    return EPERM;
  }

  stageZeroes(): number {
    return EPERM;
  }

  unreserve(): void {}

  reserve(): number {
    return EPERM;
  }

  commit(): number {
    return OK;
  }

  flush(): number {
    return OK;
  }

  extents(offset: number, length: number, visit: ExtentVisitor): void {
    walkExtents(this.#root.map, offset, length, visit);
  }

  snapshotNames(): readonly string[] {
    return this.#volume.snapshotNames();
  }

  changes(base: string, offset: number, length: number, visit: ExtentVisitor): boolean {
    const root = this.#volume.snapshots.get(base);
    if (root !== undefined) walkChanges(root.map, this.#root.map, offset, length, visit);
    return root !== undefined;
  }
}
