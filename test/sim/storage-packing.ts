// Of the storage simulation: what was written goes into sealed segments, nobody comes for a while, and it is packed. Volumes
// are compressed, and sometimes not any more. Thread: any.
import type { Random } from "../../base/random/index.js";
import { sealLogs } from "../../storage-pool/pool/sparing.js";
import { type Model, VOLUME_BLOCKS, type Write } from "./storage-model.js";
import type { World } from "./storage-world.js";

const BLOCK = 4096;
/** Written side by side: more than a segment has to hold to stay packed. */
const MUCH_BLOCKS = 960;
const WRITE_BLOCKS = 48;

/** `random`: of its own. */
export function packSome(world: World, random: Random): void {
  const used = [...world.specs.values()].filter((spec) => spec.deletedAtMs === 0 && spec.keyId === "");
  if (used.length === 0) return;
  const spec = random.pick(used);
  if (random.chance(0.2)) {
    world.held(() => {
      world.fuse.burn();
      spec.compression = spec.compression === "none" ? "deflate" : "none";
      world.fuse.burn();
      world.pool.volume(spec.id).compression = spec.compression;
    });
  }
  if (random.chance(0.7) && !writeMuch(world, random, spec.id)) return;
  if (random.chance(0.8)) sealLogs(world.pool.volumes, []);
  for (let i = 2 + random.below(4); i > 0; i--) world.housekeep(1 + random.below(300));
  if (random.chance(0.5)) world.check(spec.id);
}

/** False when it ended early: a disk is full or fails. */
function writeMuch(world: World, random: Random, id: number): boolean {
  const volume = world.pool.volume(id);
  const model = world.models.get(id) as Model;
  const from = random.below(VOLUME_BLOCKS - MUCH_BLOCKS);
  for (let first = from; first < from + MUCH_BLOCKS; first += WRITE_BLOCKS) {
    const write: Write = { first, count: WRITE_BLOCKS, tag: world.nextTag++ };
    model.writes.push(write);
    world.fill(write);
    const result = volume.stageWrite(world.buffer, 0, first * BLOCK, WRITE_BLOCKS * BLOCK);
    if (result === 11) model.writes.pop();
    else if (result !== 0) {
      world.commit(id, model, true);
      return false;
    }
    world.commit(id, model, false);
    if (result === 11) return false;
  }
  return true;
}
