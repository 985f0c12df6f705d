// The storage worker: a mailbox, a target and the loop that serves both. Wiring only. Thread: worker.
import { workerData } from "node:worker_threads";
import { EPOLLIN, Epoll } from "../../base/linux/index.js";
import { Mailbox, type MailboxSetup } from "../../base/worker/index.js";
import { BusyPoll } from "./busy-poll.js";
import { disksAway, takeBackDisk } from "./disk-returns.js";
import { formatPool, probeDisks } from "./pool-disk-files.js";
import { reportMetrics } from "./report-metrics.js";
import { asPlinthError, Target } from "./target.js";
import type { TargetMethods } from "./target-methods.js";

const setup = workerData as { mailbox: MailboxSetup };
const epoll = new Epoll(256);
const target = new Target(epoll, {
  onCheckpoint: (pool, record) => mailbox.emit("checkpoint", { pool, record }),
  onDurable: (positions) => mailbox.emit("durable", { positions }),
  onLost: (volume, range) => mailbox.emit("lost", { volume, range }),
  onSuspect: (pool, disk, suspect) => mailbox.emit("suspect", { pool, disk, suspect }),
  onPurge: (pool, volume) => mailbox.emit("purge", { pool, volume }),
  onHistory: (volume, why) => mailbox.emit("history", { volume, why }),
});

type Answers<R> = R extends undefined ? unknown : R;
const methods: { [M in keyof TargetMethods]: (body: TargetMethods[M][0]) => Answers<TargetMethods[M][1]> } = {
  io: () => ({ plainReason: target.ioReason ?? "" }),
  formatPool: ({ name, poolId, disks }) => formatPool(name, poolId, disks),
  probeDisks: ({ poolId, disks }) => probeDisks(poolId, disks),
  stampDisks: ({ pool, epoch }) => target.pool(pool).disks.stamp(epoch),
  addDisk: ({ pool, poolId, diskClass, ...disk }) => target.addDisk(pool, poolId, disk, diskClass),
  disksAway: ({ pool }) => disksAway(target.pool(pool)),
  takeBackDisk: ({ pool, poolId, epoch, ...disk }) => takeBackDisk(target.pool(pool), poolId, disk, epoch),
  classDisk: ({ pool, index, diskClass }) => {
    target.pool(pool).disks.disk(index).diskClass = diskClass;
  },
  drainDisk: ({ pool, index }) => {
    const { disks } = target.pool(pool);
    disks.checkDrain(index);
    return disks.drain(index);
  },
  undrainDisk: ({ pool, index }) => target.pool(pool).disks.undrain(index),
  checkRemoveDisk: ({ pool, index, lost }) => target.pool(pool).disks.checkRemove(index, lost),
  removeDisk: ({ pool, index }) => target.pool(pool).disks.remove(index),
  scrub: ({ pool, bytesPerSecond, nextSegment }) => target.pool(pool).scrub(bytesPerSecond, nextSegment),
  cancelScrub: ({ pool }) => target.pool(pool).jobs.cancel(({ kind }) => kind === "scrub"),
  prove: ({ pool, id }) => target.pool(pool).prove(id),
  jobs: ({ pool }) => target.pool(pool).jobs.reports(),
  openPool: (opening) => target.openPool(opening),
  closePool: ({ pool, reopened }) => target.closePool(pool, reopened),
  goOn: () => target.goOn(),
  poolUsage: ({ pool }) => target.poolUsage(pool),
  unlock: ({ pool, keys }) => target.unlock(pool, keys),
  setLimits: ({ pool, id, limits }) => target.setLimits(pool, id, limits),
  setCompression: ({ pool, id, compression }) => {
    target.pool(pool).volume(id).compression = compression;
  },
  metrics: () => reportMetrics(target),
  createVolume: ({ pool, spec }) => target.createVolume(pool, spec),
  cloneVolume: ({ pool, spec, origin, snapshot }) => target.cloneVolume(pool, spec, origin, snapshot),
  deleteVolume: ({ pool, id, name }) => target.deleteVolume(pool, id, name),
  trashVolume: ({ pool, id, to, deletedAtMs }) => target.trashVolume(pool, id, to, deletedAtMs),
  untrashVolume: ({ pool, id, name }) => target.untrashVolume(pool, id, name),
  setRewind: ({ pool, id, windowMs }) => target.pool(pool).setRewind(id, windowMs),
  beginRewind: ({ pool, id, timeMs }) =>
    target.pool(pool).reverts.beginRewind(target.pool(pool).volume(id), timeMs),
  stepRewind: ({ pool, id }) => target.stepRewind(pool, id),
  endRewind: ({ pool, id }) => target.pool(pool).reverts.endRewind(id),
  growVolume: ({ pool, id, sizeBytes }) => target.growVolume(pool, id, sizeBytes),
  createSnapshots: ({ pool, ids, name }) => target.pool(pool).createSnapshots(ids, name),
  diff: ({ pool, id, from, to }) => target.diff(pool, id, from, to),
  deleteSnapshot: ({ pool, id, name }) => target.deleteSnapshot(pool, id, name),
  prepareRevert: ({ pool, id, snapshot }) => target.pool(pool).prepareRevert(id, snapshot),
  finishRevert: ({ pool, id, recorded }) => target.pool(pool).finishRevert(id, recorded),
  usage: ({ pool, id, exact }) => target.usage(pool, id, exact),
  hold: ({ pool }) => target.pool(pool).housekeeper.hold(),
  release: ({ pool }) => target.pool(pool).housekeeper.release(),
  checkpointNow: ({ pool, id }) => target.pool(pool).housekeeper.checkpointNow(target.pool(pool).volume(id)),
  checkpointRecorded: ({ pool, recorded }) => target.checkpointRecorded(pool, recorded),
  listen: (listening) => target.listen(listening),
  listenBlk: (listening) => target.listenBlk(listening),
  unlisten: ({ name }) => target.unlisten(name),
};

const handlers = Object.fromEntries(
  Object.entries(methods).map(([name, method]) => [
    name,
    (body: never) => asPlinthError(() => (method as (body: never) => unknown)(body)),
  ]),
);
const mailbox = new Mailbox(setup.mailbox, handlers);
epoll.add(mailbox.doorbell, EPOLLIN);

/** Before the sockets are looked at again. */
const BREATHS_MAX = 8;

const poll = new BusyPoll(epoll, () => performance.now());
let sleepMs = 250;
let lastExpiryMs = 0;
while (!mailbox.closing) {
  const count = poll.wait(target.beginSleep() ? sleepMs : 0, target.server.breathRequests === 1);
  const nowMs = performance.now();
  target.turns.begin(nowMs);
  for (let i = 0; i < count; i++) {
    const fd = epoll.fds[i] as number;
    if (fd === mailbox.doorbell) mailbox.onDoorbell();
    else target.onReady(fd, epoll.events[i] as number, nowMs);
  }
  const waitMs = target.retryThrottled(nowMs);
  let more = target.endBreath();
  // Others may have come meanwhile, and while several have something each gets its turn.
  for (let n = 1; more && n < BREATHS_MAX && !target.turns.contended; n++) more = target.endBreath();
  const idleMs = target.housekeep(nowMs);
  sleepMs = more ? 0 : Math.min(idleMs, Math.ceil(waitMs));
  if (sleepMs === 0 || nowMs - lastExpiryMs < 1000) continue;
  lastExpiryMs = nowMs;
  target.server.expire(nowMs);
}
target.close();
epoll.close();
mailbox.close();
