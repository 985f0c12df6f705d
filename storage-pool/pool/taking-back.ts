// A disk that was away or failed is back while the pool is at work. What it holds may be old, so nothing that only it says
// counts: a copy of a segment that is still where it was is kept, to be looked through, everything else on it is cleared.
//
//   all logs sealed, all synced ─► cells read ─► cleared but for copies that still count ─► on the medium ─► used again
//
// Invariant: what is not wanted is gone from the medium before the pool uses the disk, so that no crash brings it back.
// Thread: the pool's worker. Hot: no.
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import type { SegmentHeader } from "../log/format.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";

/** Puts `back` in the place of `away`. Throws DISK_DAMAGED, and then nothing has changed in the pool. */
export function takeBack(table: SegmentTable, away: Disk, back: Disk, epoch: number): void {
  const bySerial = new Map<number, Segment>();
  table.visit((segment) => bySerial.set(segment.serial, segment));
  const damaged: number[] = [];
  const copies: { readonly slot: number; readonly segment: Segment }[] = [];
  for (const { slot, header } of back.readCells(damaged)) {
    const segment = bySerial.get(header.serial);
    if (segment !== undefined && counts(segment, header, slot, away)) {
      bySerial.delete(header.serial);
      copies.push({ slot, segment });
      back.markUsed(slot);
    } else damaged.push(slot);
  }
  const cleared = damaged.every((slot) => back.clearCell(slot) === 0);
  const upgraded = back.upgrade();
  back.stamp(epoch);
  if (!cleared || upgraded !== 0 || back.sync() !== 0)
    throw storageError("DISK_DAMAGED", `${back.file.path} cannot be written`);
  back.punchFree();
  back.suspect = true;
  back.diskClass = away.diskClass;
  back.draining = away.draining;
  table.visit((segment) => leave(segment, away));
  for (const { slot, segment } of copies) {
    segment.disks = [...segment.disks, back];
    segment.slots = [...segment.slots, slot];
  }
  table.disks[table.disks.indexOf(away)] = back;
  away.retire();
}

/** The cell is of a copy that the segment still has there, or lacks since the disk went. */
function counts(segment: Segment, header: SegmentHeader, slot: number, { index }: Disk): boolean {
  const others = segment.disks.filter((disk) => disk.index !== index);
  const same = header.index === segment.index && header.revision === segment.revision;
  if (!same || !segment.sealed || segment.moving || others.length >= segment.copies) return false;
  for (let i = 0; i + 1 < header.places.length; i += 2) {
    if (header.places[i] === index && header.places[i + 1] === slot) return true;
  }
  return false;
}

function leave(segment: Segment, away: Disk): void {
  if (!segment.disks.includes(away)) return;
  const places = segment.places.filter(({ disk }) => disk !== away);
  segment.disks = places.map(({ disk }) => disk);
  segment.slots = places.map(({ slot }) => slot);
}
