// Finds the segments on a pool's disks from their header cells. Thread: the pool's worker. Hot: no.
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import type { SegmentHeader } from "./format.js";
import { Segment } from "./segment-table.js";

/** Groups the cells found on all disks into segments: one per serial, with the copies that are there. */
export function collectSegments(disks: readonly Disk[]): Segment[] {
  const bySerial = new Map<number, { header: SegmentHeader; disks: Disk[]; slots: number[] }>();
  for (const disk of disks) {
    for (const { slot, header } of disk.readCells()) {
      if (!isPlace(header, disk.index, slot)) continue;
      const known = bySerial.get(header.serial) ?? { header, disks: [], slots: [] };
      known.disks.push(disk);
      known.slots.push(slot);
      bySerial.set(header.serial, known);
    }
  }
  const found = [...bySerial.values()];
  for (const { header } of found) {
    if (header.index === 0 || header.index >= 2 ** 22) {
      throw storageError("DISK_DAMAGED", `a segment has the impossible index ${header.index}`);
    }
  }
  return found.map(({ header, disks: on, slots }) => new Segment(header, on, slots));
}

function isPlace(header: SegmentHeader, disk: number, slot: number): boolean {
  for (let i = 0; i + 1 < header.places.length; i += 2) {
    if (header.places[i] === disk && header.places[i + 1] === slot) return true;
  }
  return false;
}
