// Which copies to move so that free slots are where new segments want them: on two disks at least, and of the right class.
//
//   disk A  full ──one copy──► disk C  with more free slots than all others together
//
// Copies can always be moved so: were there no segment without a copy on C, C would be as full as the others together.
// Pure. Thread: any. Hot: no.
import type { Disk } from "../disk/disk.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";

/** A copy is to leave one disk for another. */
export interface Relocation {
  readonly from: Disk;
  readonly to: Disk;
}

/**
 * At most `most` copies to move, each of which makes room for one segment more with `copies` copies on disks of a class, or
 * is a step to it; none when `enough` such segments can be made already, or nothing helps.
 */
export function planBalance(
  table: SegmentTable,
  copies: number,
  diskClass: string,
  enough: number,
  most: number,
): Map<Segment, Relocation> {
  const planned = new Map<Segment, Relocation>();
  const free = new Map<Disk, number>();
  for (const disk of table.disks) if (disk.open) free.set(disk, disk.freeSlots);
  const inside = [...free.keys()].filter((disk) => disk.isOfClass(diskClass));
  const outside = [...free.keys()].filter((disk) => !disk.isOfClass(diskClass));
  while (planned.size < most) {
    const total = inside.reduce((sum, disk) => sum + (free.get(disk) as number), 0);
    const step =
      (copies > 1 ? spread(table, inside, total, free, planned) : undefined) ??
      (total < enough * Math.min(copies, inside.length)
        ? makeWay(table, inside, outside, free, planned)
        : undefined);
    if (step === undefined) break;
    const [segment, { from, to }] = step;
    planned.set(segment, { from, to });
    free.set(to, (free.get(to) as number) - 1);
    // Its slot is free when the move is done; nothing else is planned into it.
    free.set(from, (free.get(from) as number) + 1);
  }
  return planned;
}

type Step = readonly [Segment, Relocation];

/** One copy to the disk that has more than its share of what is free. */
function spread(
  table: SegmentTable,
  disks: readonly Disk[],
  total: number,
  free: ReadonlyMap<Disk, number>,
  planned: ReadonlyMap<Segment, Relocation>,
): Step | undefined {
  if (disks.length < 2) return undefined;
  const to = disks.reduce((a, b) => ((free.get(b) as number) > (free.get(a) as number) ? b : a));
  const most = free.get(to) as number;
  if (total - most >= Math.floor(total / 2) || !mayTake(to, planned)) return undefined;
  const others = disks.filter((disk) => disk !== to);
  others.sort((a, b) => (free.get(a) as number) - (free.get(b) as number));
  for (const from of others) {
    const segment = movable(table, from, to, planned);
    if (segment !== undefined) return [segment, { from, to }];
  }
  return undefined;
}

/** One copy of what may be anywhere, away from the disks of a class. */
function makeWay(
  table: SegmentTable,
  inside: readonly Disk[],
  outside: readonly Disk[],
  free: ReadonlyMap<Disk, number>,
  planned: ReadonlyMap<Segment, Relocation>,
): Step | undefined {
  for (const to of outside) {
    if ((free.get(to) as number) <= 0 || !mayTake(to, planned)) continue;
    for (const from of inside) {
      const segment = movable(table, from, to, planned);
      if (segment !== undefined) return [segment, { from, to }];
    }
  }
  return undefined;
}

/** Slots that a planned move will only free do not count. */
function mayTake(disk: Disk, planned: ReadonlyMap<Segment, Relocation>): boolean {
  let taken = 0;
  for (const { to } of planned.values()) if (to === disk) taken++;
  return taken < disk.freeSlots;
}

/** The first segment with a copy on `from` that may have it on `to` instead. */
function movable(
  table: SegmentTable,
  from: Disk,
  to: Disk,
  planned: ReadonlyMap<Segment, Relocation>,
): Segment | undefined {
  let found: Segment | undefined;
  table.visit((segment) => {
    if (found !== undefined || !segment.sealed || segment.moving || planned.has(segment)) return;
    // What is about to be freed anyway is not worth a copy.
    if (segment.liveBlocks === 0 && !segment.pinned) return;
    if (!segment.disks.includes(from) || segment.disks.includes(to) || !to.isOfClass(segment.diskClass))
      return;
    // One that lacks a copy is for a rebuild: its only one stays where it is.
    if (segment.disks.length < segment.copies) return;
    if (segment.disks.every((disk) => disk.online)) found = segment;
  });
  return found;
}
