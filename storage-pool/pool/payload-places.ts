// What maps call the blocks of which a block of payload is: itself, or those of the group that it is a part of.
// Thread: the pool's worker. Hot: no.
import { GROUP_BLOCKS, SEGMENT_BLOCKS } from "../log/format.js";
import type { LogRecord } from "../log/record-reader.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";

/** Locations that need the `i`-th block of a record's payload, as far as the record knows. */
export function visitLocations(
  segment: Segment,
  { group, dataBlock }: LogRecord,
  i: number,
  visit: (location: number) => void,
): void {
  if (group === undefined) {
    visit(segment.index * SEGMENT_BLOCKS + dataBlock + i);
    return;
  }
  if (!segment.numbers.includes(group.location >>> 10)) return;
  for (let block = 0; block < GROUP_BLOCKS; block++) {
    if (((group.stored >>> block) & 1) === 1) visit(group.location + block);
  }
}

/** Whether some map names what that block of payload is needed for. */
export function isWanted(table: SegmentTable, segment: Segment, record: LogRecord, i: number): boolean {
  let wanted = false;
  visitLocations(segment, record, i, (location) => {
    wanted ||= table.countOf(location) > 0;
  });
  return wanted;
}
