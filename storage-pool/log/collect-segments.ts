// Finds the segments on a pool's disks from their header cells. Thread: the pool's worker. Hot: no.
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import type { SegmentHeader } from "./format.js";
import { type Place, Segment } from "./segment-table.js";

/** Groups the cells found on all disks into segments: one per serial, with the copies that are there; and stale cells. */
export function collectSegments(disks: readonly Disk[]): { found: Segment[]; stale: Place[] } {
  const stale: Place[] = [];
  const bySerial = new Map<number, { header: SegmentHeader; disks: Disk[]; slots: number[] }>();
  for (const disk of disks) {
    if (disk.missing) continue;
    for (const { slot, header } of disk.readCells()) {
      if (!isPlace(header, disk.index, slot)) continue;
      const other = bySerial.get(header.serial);
      // A move that a crash ended has left cells of both places: the newer ones hold, the old place is free.
      if (other !== undefined && other.header.revision > header.revision) {
        stale.push({ disk, slot });
        continue;
      }
      const moved = other === undefined || other.header.revision < header.revision;
      if (moved)
        for (const [i, on] of (other?.disks ?? []).entries())
          stale.push({ disk: on, slot: other?.slots[i] as number });
      const known = moved ? { header, disks: [], slots: [] } : other;
      known.disks.push(disk);
      known.slots.push(slot);
      bySerial.set(header.serial, known);
    }
  }
  const groups = [...bySerial.values()];
  for (const { header } of groups) {
    if (header.index === 0 || header.index >= 2 ** 22) {
      throw storageError("DISK_DAMAGED", `a segment has the impossible index ${header.index}`);
    }
  }
  return { found: groups.map(({ header, disks: on, slots }) => new Segment(header, on, slots)), stale };
}

function isPlace(header: SegmentHeader, disk: number, slot: number): boolean {
  for (let i = 0; i + 1 < header.places.length; i += 2) {
    if (header.places[i] === disk && header.places[i + 1] === slot) return true;
  }
  return false;
}
