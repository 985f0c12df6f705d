// An export: a device under a name, with what the connections of one breath have done to it.
// Thread: the pool's worker.
import { OK } from "../errors.js";
import { Turns } from "../qos/turns.js";
import { VolumeShare } from "../qos/volume-share.js";
import type { BlockDevice } from "../volume/block-device.js";
import type { ExportInfo, MetaContext } from "./nbd-session.js";
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
  PLINTH_STATE_CHANGED,
} from "./nbd-wire.js";

export class NbdExport implements ExportInfo {
  readonly name: string;
  readonly description: string;
  readonly device: BlockDevice;
  readonly readOnly: boolean;
  /** What all who use the volume may take together. */
  readonly share: VolumeShare;
  /** Something was staged in this breath; then how its commit ended, until the clients of NBD were told. */
  staged = false;
  commitResult = 0;

  constructor(
    name: string,
    description: string,
    device: BlockDevice,
    readOnly: boolean,
    share = new VolumeShare(new Turns()),
  ) {
    this.name = name;
    this.description = description;
    this.device = device;
    this.share = share;
    this.readOnly = readOnly || device.readOnly;
  }

  get sizeBytes(): number {
    return this.device.sizeBytes;
  }

  get snapshots(): readonly string[] {
    return this.device.snapshotNames();
  }

  /** A flush covers every connection of the pool, so that several connections may be used. */
  get flags(): number {
    const always =
      NBD_FLAG_HAS_FLAGS |
      NBD_FLAG_SEND_FLUSH |
      NBD_FLAG_SEND_FUA |
      NBD_FLAG_CAN_MULTI_CONN |
      NBD_FLAG_SEND_CACHE;
    if (this.readOnly) return always | NBD_FLAG_READ_ONLY;
    return always | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
  }

  /** Commits what the clients of NBD have staged. */
  commit(): void {
    if (!this.staged) return;
    this.staged = false;
    this.commitResult = this.device.commit() || this.commitResult;
  }

  /** Commits what a guest has staged; `mixed`: clients of NBD had before, and are told as well how it ended. */
  commitGuest(mixed: boolean): number {
    if (!this.staged) return OK;
    const result = this.device.commit();
    if (mixed) this.commitResult = result || this.commitResult;
    else this.staged = false;
    return result;
  }

  /** Walks a range in runs with their state in `context`; `visit` returns false to end. */
  walk(
    { snapshot }: MetaContext,
    offset: number,
    length: number,
    visit: (lengthBytes: number, state: number) => boolean,
  ): void {
    if (snapshot === undefined) {
      const hole = NBD_STATE_HOLE | NBD_STATE_ZERO;
      this.device.extents(offset, length, (run, mapped) => visit(run, mapped ? 0 : hole));
      return;
    }
    const told = this.device.changes(snapshot, offset, length, (run, changed) =>
      visit(run, changed ? PLINTH_STATE_CHANGED : 0),
    );
    // The snapshot was deleted meanwhile: nothing is known to be the same.
    if (!told) visit(length, PLINTH_STATE_CHANGED);
  }
}
