// How much disks can hold when copies stand on distinct disks of their class, and the cleaner still wins something.
//
//   slots of all disks ─ what the cleaner and open segments need ─ share that is dead ─ stored and promised ═ growth
//
// Where segments stand now does not count: copies can be moved (balance.ts). So a set of blocks fits exactly when it fits
// into all disks, into the disks of each class, and when what has two copies has room for one outside each single disk.
// Pure. Thread: any. Hot: no.
import { RESERVE_SEGMENTS, USABLE_SHARE } from "../limits.js";
import { DATA_BLOCKS } from "../log/format.js";

/** A disk that new segments are put on. */
export interface Holder {
  readonly slotCount: number;
  readonly diskClass: string;
}

/** Blocks of one kind: so many copies each, on disks of a class ("": any). */
export interface Load {
  readonly copies: number;
  readonly diskClass: string;
  readonly blocks: number;
}

/** Full segments beside what is open: the reserve, one for a writer, and what rounding takes. */
const SPARE_SEGMENTS = RESERVE_SEGMENTS + 2;

/**
 * Blocks of `copies` copies on disks of `diskClass` that fit beside `loads`; negative when these do not fit themselves.
 * Where there are fewer disks than copies there are fewer copies. `kinds`: how many combinations of copies and class there
 * are, for each of which the cleaner keeps a segment open.
 */
export function growthOf(
  disks: readonly Holder[],
  loads: readonly Load[],
  copies: number,
  diskClass: string,
  kinds: number,
): number {
  const asked = { copies, diskClass, blocks: 0 };
  let growth = Number.POSITIVE_INFINITY;
  // What of a kind has to stand among `inside`: so many copies of each block.
  const hold = (inside: readonly Holder[], of: (load: Load) => number): void => {
    const share = of(asked);
    if (share === 0) return;
    let used = 0;
    let widest = share;
    for (const load of loads) {
      const count = of(load);
      used += load.blocks * count;
      if (load.blocks > 0) widest = Math.max(widest, count);
    }
    growth = Math.min(growth, Math.floor((usableBlocks(inside, widest, kinds) - used) / share));
  };
  const classes = new Set(["", diskClass]);
  for (const name of classes) {
    const inside = disks.filter((disk) => name === "" || disk.diskClass === name);
    const belongs = (load: Load): boolean => name === "" || load.diskClass === name;
    const held = (load: Load): number => Math.min(load.copies, countOf(disks, load.diskClass));
    hold(inside, (load) => (belongs(load) ? held(load) : 0));
    for (const without of inside) {
      hold(
        inside.filter((disk) => disk !== without),
        (load) => {
          if (!belongs(load)) return 0;
          const able = load.diskClass === "" || load.diskClass === without.diskClass;
          return able ? held(load) - 1 : held(load);
        },
      );
    }
  }
  return growth;
}

/** Of so many disks, the blocks that can be stored and promised, each copy counted. */
export function usableBlocks(disks: readonly Holder[], copies: number, kinds: number): number {
  const slots = disks.reduce((sum, disk) => sum + disk.slotCount, 0);
  const compact = slots - (SPARE_SEGMENTS + kinds) * copies;
  const eased = (slots - RESERVE_SEGMENTS * copies) * USABLE_SHARE;
  return Math.floor(Math.max(0, Math.min(compact, eased)) * DATA_BLOCKS);
}

function countOf(disks: readonly Holder[], diskClass: string): number {
  let count = 0;
  for (const disk of disks) if (diskClass === "" || disk.diskClass === diskClass) count++;
  return Math.max(1, count);
}
