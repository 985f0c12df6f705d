// What the storage simulation asks of the past and of promised room: any moment that is kept can be had again, a deleted
// volume can be asked back, and what a volume has can be overwritten, however full the pool is. Thread: any.
import { SnapshotDevice } from "../../storage-pool/volume/snapshot-device.js";
import { Root } from "../../storage-pool/volume/volume.js";
import { LOST, type Model, same, VOLUME_BLOCKS, type Write } from "./storage-model.js";
import type { MutableSpec } from "./storage-surroundings.js";
import type { World } from "./storage-world.js";

const BLOCK = 4096;

/** Any moment that is kept is exactly what was there then; to look at, as a clone, or to go on from. */
export function rewind(world: World, id: number): void {
  const model = world.models.get(id) as Model;
  const volume = world.pool.volume(id);
  const { earliestMs } = volume.history;
  if (model.keptSinceMs === 0) return;
  if (earliestMs === undefined) throw new Error(`volume ${id} has no history`);
  const due = Math.max(model.keptSinceMs, world.clockMs - volume.history.windowMs);
  if (earliestMs > due && !world.shortened)
    throw new Error(`volume ${id} is kept from ${earliestMs}, not ${due}`);
  model.note(world.clockMs, volume.history.windowMs);
  const known = model.moments.filter((moment) => moment.timeMs >= earliestMs);
  if (known.length === 0) return;
  const { timeMs, content } = world.random.pick(known);
  world.held(() => {
    try {
      world.pool.reverts.beginRewind(volume, timeMs);
      while (!world.pool.reverts.stepRewind(id).done);
    } catch (thrown) {
      if (world.rots && (thrown as { code?: string }).code === "VOLUME_DAMAGED") return;
      throw thrown;
    }
    const map = world.pool.reverts.rewound(id);
    const root = new Root("then", map, [], volume.sizeBytes, 0);
    const found = world.readDevice(new SnapshotDevice(volume, root), `volume ${id} then`);
    root.release();
    if (!same(content, found)) {
      const block = found.findIndex((tag, at) => tag !== content[at] && tag !== LOST);
      throw new Error(
        `volume ${id} rewound to ${timeMs} of ${world.clockMs} has ${found[block]} in block ${block}, not ${content[block]}`,
      );
    }
    const dice = world.random.below(3);
    if (dice === 0 && world.specs.size < 4) world.makeClone(id, "", content);
    else if (dice === 1) world.putBack(id, "", content);
    world.pool.reverts.endRewind(id);
  });
}

/** Everything that a volume has can be overwritten, however full the pool is. */
export function overwrite(world: World, id: number): void {
  // A second passes, in which the pool sees what its disks can take.
  world.endSyncs();
  world.housekeep(40);
  const volume = world.pool.volume(id);
  const sound = world.disks.every(({ file, draining, suspect }) => !file.full && !draining && !suspect);
  if (world.bad !== undefined || !sound || world.pool.jobs.active || world.pool.room.left(world.copies) < 0)
    return;
  const model = world.models.get(id) as Model;
  for (let first = 0; first < VOLUME_BLOCKS; first++) {
    if (volume.head.map.location(first) === 0) continue;
    const write: Write = { first, count: 1, tag: world.nextTag++ };
    world.fill(write);
    for (let tries = 0; ; tries++) {
      const result = volume.stageWrite(world.buffer, 0, first * BLOCK, BLOCK);
      if (result === 0) break;
      if (result !== 11 || tries > 1000)
        throw new Error(`block ${first} of ${id} cannot be overwritten (${result})`);
      world.endSyncs();
      world.housekeep(400);
    }
    model.writes.push(write);
    if (world.random.chance(0.1)) world.commit(id, model, false);
    if (model.writes.length > 300) world.flush(id);
  }
  world.commit(id, model, false);
}

/** A volume is deleted, but kept for a while; or one that was comes back as it went. */
export function trash(world: World, id: number): void {
  const kept = [...world.specs.values()].find((spec) => spec.deletedAtMs > 0);
  const spec = kept ?? (world.specs.get(id) as MutableSpec);
  if (kept === undefined && world.specs.size < 2) return;
  const deletedAtMs = kept === undefined ? world.clockMs : 0;
  world.held(() => {
    world.fuse.burn();
    spec.deletedAtMs = deletedAtMs;
    world.fuse.burn();
    const volume = world.pool.volume(spec.id);
    volume.settle();
    volume.deletedAtMs = deletedAtMs;
  });
}
