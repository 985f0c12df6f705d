// Finds the segments on a pool's disks from their header cells. Thread: the pool's worker. Hot: no.
//
// Cells of one segment that differ in revision come from a move that a crash ended: until every place of the newer
// revision has its cell the older places are intact, so all are copies; afterwards the older places are free. What a copy
// really holds is judged by checksums. Invariant: a copy is never given up for one whose cell is not there.
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import {
  FORMAT_VERSION,
  getUint64,
  INDEX_SIZE,
  NUMBERS_MAX,
  PACKED_NUMBER_MIN,
  RECORD_SERIAL,
  SEGMENT_INDEX_MAX,
  SEGMENT_LOG,
  SEGMENT_MOVED,
  SEGMENT_PACKED,
  type SegmentHeader,
} from "./format.js";
import { hasRecordMagic, parseRecord } from "./record-reader.js";
import { type Place, Segment } from "./segment-table.js";

interface Cell extends Place {
  readonly header: SegmentHeader;
}

/** Groups the cells found on all disks into segments, one per serial; `stale` are places that nothing needs. */
export function collectSegments(disks: readonly Disk[]): { found: Segment[]; stale: Place[] } {
  const bySerial = new Map<number, Cell[]>();
  for (const disk of disks) {
    if (disk.missing) continue;
    const damaged: number[] = [];
    for (const { slot, header } of disk.readCells(damaged)) {
      if (!isPlace(header, disk.index, slot)) continue;
      if (!hasPossibleNumbers(header)) {
        throw storageError("DISK_DAMAGED", `a segment has the impossible index ${header.index}`);
      }
      const known = bySerial.get(header.serial);
      if (known === undefined) bySerial.set(header.serial, [{ disk, slot, header }]);
      else known.push({ disk, slot, header });
    }
    for (const slot of damaged) if (revive(disk, slot, bySerial)) disk.faults.note(slot, 0, true);
  }
  const stale: Place[] = [];
  const found: Segment[] = [];
  for (const cells of bySerial.values()) {
    cells.sort((a, b) => b.header.revision - a.header.revision);
    // A header that was made up from records knows least.
    cells.sort((a, b) => Math.sign(b.header.index) - Math.sign(a.header.index));
    const { header } = cells[0] as Cell;
    const newest = cells.filter((cell) => cell.header.revision === header.revision);
    const isComplete = newest.length === header.places.length >>> 1;
    const kept: Cell[] = [];
    for (const cell of isComplete ? newest : cells) {
      if (!kept.some((each) => each.disk === cell.disk)) kept.push(cell);
    }
    stale.push(...cells.filter((cell) => !kept.includes(cell)));
    const segment = new Segment(
      header,
      kept.map(({ disk }) => disk),
      kept.map(({ slot }) => slot),
    );
    segment.revived = kept.some((cell) => cell.header.index === 0);
    // Which numbers a packed one has its records say themselves.
    if (segment.isPacked) segment.index = segment.numbers[0] as number;
    found.push(segment);
  }
  refuseMixedNumbers(found);
  return { found, stale };
}

function hasPossibleNumbers({ kind, index, numbers }: SegmentHeader): boolean {
  const isPossible = (number: number) => number > 0 && number <= SEGMENT_INDEX_MAX;
  if (kind !== SEGMENT_PACKED) return isPossible(index) && numbers.length === 0;
  return (
    numbers[0] === index &&
    numbers.length <= NUMBERS_MAX &&
    new Set(numbers).size === numbers.length &&
    numbers.every((number) => isPossible(number) && number >= PACKED_NUMBER_MIN)
  );
}

/** Readers tell packed segments by their numbers, which are higher than all others. */
function refuseMixedNumbers(found: readonly Segment[]): void {
  let highest = 0;
  for (const { isPacked, index } of found) if (!isPacked) highest = Math.max(highest, index);
  for (const { isPacked, numbers } of found) {
    if (!isPacked || numbers.every((number) => number > highest)) continue;
    throw storageError("DISK_DAMAGED", `a packed segment has a number below ${highest}, which another has`);
  }
}

/**
 * The records of a slot tell nearly everything that its damaged header cell said; index 0: not the segment's number. False
 * when there are none.
 */
function revive(disk: Disk, slot: number, bySerial: Map<number, Cell[]>): boolean {
  const area = new DataBuffer(INDEX_SIZE);
  if (disk.read(slot, area, 0, INDEX_SIZE, 0) !== 0) return false;
  for (let at = 0; at < INDEX_SIZE; at += 8) {
    if (!hasRecordMagic(area.view, at)) continue;
    const serial = getUint64(area.view, at + RECORD_SERIAL);
    const record = parseRecord(area.bytes, at, serial);
    if (record === undefined) continue;
    const { volume, group } = record;
    const header: SegmentHeader = {
      formatVersion: FORMAT_VERSION,
      serial,
      index: 0,
      kind: group !== undefined ? SEGMENT_PACKED : volume === 0 ? SEGMENT_MOVED : SEGMENT_LOG,
      volume,
      epoch: group === undefined ? record.epoch : 0,
      firstSequence: group === undefined ? record.sequence : 0,
      places: [disk.index, slot],
      revision: 0,
      copies: 1,
      diskClass: "",
      numbers: [],
      storedBlocks: 0,
    };
    if (group !== undefined) Object.assign(header, groupsIn(area, serial));
    const known = bySerial.get(serial);
    if (known === undefined) bySerial.set(serial, [{ disk, slot, header }]);
    else known.push({ disk, slot, header });
    return true;
  }
  return false;
}

/** What the records of a packed segment say of its numbers, and how much was put there. */
function groupsIn(area: DataBuffer, serial: number): Pick<SegmentHeader, "numbers" | "storedBlocks"> {
  const numbers = new Set<number>();
  let storedBlocks = 0;
  for (let at = 0; at < INDEX_SIZE; ) {
    const record = hasRecordMagic(area.view, at) ? parseRecord(area.bytes, at, serial) : undefined;
    const group = record?.group;
    if (group !== undefined) {
      numbers.add(group.location >>> 10);
      for (let bits = group.stored; bits > 0; bits >>>= 1) storedBlocks += bits & 1;
    }
    at += record?.size ?? 8;
  }
  return { numbers: [...numbers], storedBlocks };
}

function isPlace(header: SegmentHeader, disk: number, slot: number): boolean {
  for (let i = 0; i + 1 < header.places.length; i += 2) {
    if (header.places[i] === disk && header.places[i + 1] === slot) return true;
  }
  return false;
}
