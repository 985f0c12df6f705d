// Whether the file of a disk was cut short while nobody had it open: seen before the first write makes it longer again.
// What was cut off within the last slot that is there shows only when it is read. Thread: the pool's worker. Hot: no (opening).
import type { Disk } from "../disk/disk.js";
import { readRecords } from "../log/recovery.js";
import type { SegmentTable } from "../log/segment-table.js";

/** Notes it among what is wrong with each disk; of those that were away nothing else is expected. */
export function noteCutFiles(table: SegmentTable): void {
  const lengths = new Map<Disk, number>();
  for (const disk of table.disks) {
    const length = disk.missing || disk.suspect ? undefined : disk.file.lengthBytes?.();
    if (length === undefined) continue;
    lengths.set(disk, length);
    // A file that is a disk itself was as long as the disk when that was made.
    const whole = disk.position(disk.slotCount);
    if (disk.file.filesystem === undefined && length < whole) disk.faults.cut = [length, whole];
  }
  table.visit((segment) => {
    for (const { disk, slot } of segment.places) {
      const length = lengths.get(disk) ?? Number.POSITIVE_INFINITY;
      const at = disk.position(slot);
      // A segment that was just begun has nothing in its slot yet.
      if (at < length || disk.faults.cut[1] > at || readRecords(segment).length === 0) continue;
      disk.faults.cut = [length, at];
    }
  });
}
