// Of the storage simulation: what was written here and there and then read from one end to the other is put in order when
// nobody comes for a while. Thread: any.
import type { Random } from "../../base/random/index.js";
import { type Model, VOLUME_BLOCKS, type Write } from "./storage-model.js";
import type { World } from "./storage-world.js";

const BLOCK = 4096;
/** So many blocks, every other one of a range, each far from the one before. */
const BLOCKS = 64;
const STRIDE = 5;

/** Tears a range of some volume, reads the volume, and lets time go by. `random`: of its own. */
export function readInOrder(world: World, random: Random): void {
  const used = [...world.specs.values()].filter((spec) => spec.deletedAtMs === 0);
  const { id } = random.pick(used);
  if (random.chance(0.7) && !scatter(world, random, id)) return;
  world.check(id);
  for (let i = 0; i < 2; i++) world.housekeep(1 + random.below(60));
}

/** False when it ended early: a disk is full or fails. */
function scatter(world: World, random: Random, id: number): boolean {
  const volume = world.pool.volume(id);
  const model = world.models.get(id) as Model;
  const from = random.below(VOLUME_BLOCKS - 2 * BLOCKS);
  for (let i = 0; i < BLOCKS; i++) {
    const write: Write = { first: from + 2 * ((i * STRIDE) % BLOCKS), count: 1, tag: world.nextTag++ };
    model.writes.push(write);
    world.fill(write);
    const result = volume.stageWrite(world.buffer, 0, write.first * BLOCK, BLOCK);
    if (result === 11) model.writes.pop();
    else if (result !== 0) {
      world.commit(id, model, true);
      return false;
    }
    if (result === 11 || i % 8 === 7) world.commit(id, model, false);
    if (result === 11) return false;
  }
  return true;
}
