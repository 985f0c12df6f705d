// Marks that are still to be made at the end of logs: an opening found no room for the segments that begin with them.
// Thread: the pool's worker. Hot: no.
import { EAGAIN, ENOSPC, OK } from "../errors.js";
import type { Volume } from "../volume/volume.js";

export class CutMarks {
  #volumes: Volume[] = [];

  /** Makes the mark of a volume, now or when there is room for it. 0 or an errno. */
  make(volume: Volume, wallClock: () => number): number {
    const staged = volume.mark(wallClock());
    const result = volume.writer.commit() || staged;
    if (result !== ENOSPC && result !== EAGAIN) return result;
    this.#volumes.push(volume);
    return OK;
  }

  /** Makes those for which there is room now. A record that was written meanwhile began a segment as well. */
  retry(volumes: ReadonlyMap<number, Volume>, wallClock: () => number): void {
    if (this.#volumes.length === 0) return;
    this.#volumes = this.#volumes.filter((volume) => {
      const { writer } = volume;
      if (volumes.get(volume.id) !== volume || writer.segment !== undefined || !writer.idle) return false;
      const staged = volume.mark(wallClock());
      return writer.commit() !== OK || staged !== OK;
    });
  }
}
