// After a crash the copies of a log's end differ: each disk lost something else. What recovery took from all of them
// together is put on each, so that from then on any one is enough. Thread: the pool's worker. Hot: no.
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { RECORD_DATA } from "../log/format.js";
import { type LogRecord, parseRecord } from "../log/record-reader.js";
import { readIndex } from "../log/recovery.js";
import type { Place, Segment, SegmentTable } from "../log/segment-table.js";

/** Completes every copy of a segment up to record `sequence`; a copy whose header cell was lost is made anew. */
export function completeCopies(segment: Segment, table: SegmentTable, sequence: number): void {
  const lost = lostPlaces(segment, table);
  if (segment.disks.length + lost.length < 2) return;
  const { records, index } = readIndex(segment);
  const area = new DataBuffer(index.bytes.byteLength);
  area.bytes.set(index.bytes);
  const nothing = new DataBuffer(index.bytes.byteLength);
  const payload = new DataBuffer(BLOCK_SIZE);
  const sources = segment.places;
  for (const place of [...sources, ...lost]) {
    const held = new DataBuffer(area.bytes.byteLength);
    const fresh =
      lost.includes(place) || place.disk.read(place.slot, held, 0, held.bytes.byteLength, 0) !== 0;
    // What else may stand there is not of the log that was recovered.
    if (fresh) place.disk.write(place.slot, nothing, 0, nothing.bytes.byteLength, 0);
    for (const record of records) {
      if (record.sequence > sequence) continue;
      if (!fresh && parseRecord(held.bytes, record.at, segment.serial) !== undefined) continue;
      copyPayload(record, place, sources, payload);
      place.disk.write(place.slot, area, record.at, record.size, record.at);
    }
  }
  for (const { disk, slot } of lost) {
    if (disk.writeCell(slot, segment.header([...sources, ...lost], segment.revision)) !== 0) continue;
    disk.markUsed(slot);
    segment.disks = [...segment.disks, disk];
    segment.slots = [...segment.slots, slot];
  }
}

/** Places that the header names, on disks that are there, where nothing of the segment was found and nothing else is. */
function lostPlaces(segment: Segment, table: SegmentTable): Place[] {
  const lost: Place[] = [];
  for (let i = 0; i + 1 < segment.namedPlaces.length; i += 2) {
    const disk = table.disks.find((each) => each.index === segment.namedPlaces[i]);
    const slot = segment.namedPlaces[i + 1] as number;
    if (disk?.open !== true || segment.disks.includes(disk) || slot >= disk.slotCount) continue;
    if (!disk.isUsed(slot)) lost.push({ disk, slot });
  }
  return lost;
}

function copyPayload(record: LogRecord, to: Place, sources: readonly Place[], block: DataBuffer): void {
  if (record.kind !== RECORD_DATA) return;
  for (let i = 0; i < record.checksums.length; i++) {
    const offset = (record.dataBlock + i) * BLOCK_SIZE;
    for (const { disk, slot } of sources) {
      const result = disk.read(slot, block, 0, BLOCK_SIZE, offset);
      if (result !== 0 || bufferChecksum(block, 0, BLOCK_SIZE) !== record.checksums[i]) continue;
      to.disk.write(to.slot, block, 0, BLOCK_SIZE, offset);
      break;
    }
  }
}
