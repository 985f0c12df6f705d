// Makes a breath's writes durable: inline when nobody else would wait, through io_uring beside other work otherwise.
// Invariant: one sync at a time per pool; a failed sync fails the disk for good (what the kernel dropped cannot be
// written again). Thread: the pool's worker. Hot: yes.
import {
  closeFile,
  createEventfd,
  drainEventfd,
  EPOLLIN,
  type Epoll,
  IoUring,
  probeIoUring,
} from "../../base/linux/index.js";
import { EIO, OK } from "../errors.js";
import type { Syncer } from "../nbd/flush-rounds.js";
import type { Pool } from "../pool/pool.js";
import type { SyncRound } from "../pool/sync-round.js";

const RING_ENTRIES = 64;

export class PoolSyncer implements Syncer {
  /** Why io_uring is not used; undefined when it is. */
  readonly plainReason: string | undefined;
  readonly #pools: ReadonlyMap<string, Pool>;
  readonly #ring: IoUring | undefined;
  readonly #eventfd: number;
  #rounds: SyncRound[] = [];
  #left = 0;
  #results = new Int32Array(RING_ENTRIES);
  #onSynced: (result: number) => void = () => {};

  constructor(pools: ReadonlyMap<string, Pool>, epoll: Epoll) {
    this.#pools = pools;
    this.plainReason = probeIoUring();
    this.#eventfd = createEventfd();
    if (this.plainReason !== undefined) return;
    this.#ring = new IoUring(RING_ENTRIES);
    this.#ring.registerEventfd(this.#eventfd);
    epoll.add(this.#eventfd, EPOLLIN);
  }

  sync(inline: boolean, onSynced: (result: number) => void): void {
    this.#rounds = [...this.#pools.values()].map((pool) => pool.beginSync()); // cold
    const disks = this.#rounds.flatMap((round) => round.disks);
    this.#onSynced = onSynced;
    if (disks.length > this.#results.length) this.#results = new Int32Array(disks.length);
    this.#results.fill(OK);
    if (this.#ring !== undefined && disks.length <= RING_ENTRIES && !inline) {
      this.#left = disks.length;
      for (let i = 0; i < disks.length; i++) this.#ring.prepareFsync(disks[i]!.file.descriptor, i);
      if (disks.length > 0) {
        this.#ring.submit();
        return;
      }
    } else {
      for (let i = 0; i < disks.length; i++) this.#results[i] = disks[i]!.file.sync();
    }
    this.#finish();
  }

  /** True when `fd` was ours. */
  onReady(fd: number): boolean {
    if (fd !== this.#eventfd || this.#ring === undefined) return false;
    drainEventfd(fd);
    this.#ring.submit();
    this.#take(this.#ring);
    return true;
  }

  #take(ring: IoUring): void {
    const count = ring.reap();
    for (let i = 0; i < count; i++) {
      if ((ring.results[i] as number) < 0) this.#results[ring.userData[i] as number] = EIO;
    }
    this.#left -= count;
    if (count > 0 && this.#left === 0) this.#finish();
  }

  /** Waits for what is under way, and for what its end begins. */
  drain(): void {
    while (this.#ring !== undefined && this.#ring.inFlight > 0) {
      this.#ring.submit(1);
      this.#take(this.#ring);
    }
  }

  close(): void {
    this.drain();
    this.#ring?.close();
    closeFile(this.#eventfd);
  }

  #finish(): void {
    const rounds = this.#rounds;
    this.#rounds = [];
    let first = 0;
    for (let i = 0; i < rounds.length; i++) {
      const count = rounds[i]!.disks.length;
      rounds[i]!.finish(this.#results.slice(first, first + count));
      first += count;
    }
    this.#onSynced(OK);
  }
}
