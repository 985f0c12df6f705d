// Rings that another thread has lent to this one, and the guest's memory as this thread's window shows it.
// Invariant: as of Virtqueue: nothing outside of the regions that the lender had is read or written.
// Thread: the one that was lent them. Hot: no (but call()).
import { EPOLLET, EPOLLIN, type Epoll, ringEventfd } from "../linux/index.js";
import { GuestMemory } from "./guest-memory.js";
import type { GuestWindow } from "./guest-window.js";
import { createVirtqueue } from "./negotiated-queue.js";
import type { LentRing, RingLoan } from "./ring-loan.js";
import type { Virtqueue } from "./virtqueue.js";

export interface WorkedRing {
  readonly ring: LentRing;
  readonly queue: Virtqueue;
}

export class LentRings {
  readonly rings: readonly WorkedRing[];
  readonly #memory: GuestMemory;
  readonly #epoll: Epoll;

  /** Throws GUEST_MEMORY_INVALID, GUEST_MEMORY_TOO_LARGE or as mmap(2), and then has nothing. */
  constructor(loan: RingLoan, window: GuestWindow, epoll: Epoll) {
    const { regions, allowUnsealed, features, rings } = loan;
    this.#epoll = epoll;
    this.#memory = new GuestMemory(window, { allowUnsealed });
    try {
      for (const { region, fd } of regions) this.#memory.add(region, fd);
    } catch (thrown) {
      this.#memory.unmap();
      throw thrown;
    }
    this.rings = rings.map((ring) => {
      const queue = createVirtqueue(this.#memory, features);
      const { size, base, addresses, kickFd } = ring;
      // They were in this memory when the lender worked on them: what is not stays unattached, and has no chains.
      queue.attach(size, addresses.descriptors, addresses.available, addresses.used, base);
      queue.enabled = true;
      if (kickFd >= 0) epoll.add(kickFd, EPOLLIN | EPOLLET);
      queue.wantKicks(false);
      return { ring, queue };
    });
    // What went unnoticed between the two.
    for (const { ring } of this.rings) this.call(ring);
  }

  call({ callFd }: LentRing): void {
    if (callFd >= 0) ringEventfd(callFd);
  }

  /** Works on nothing any more. The queues say where they go on. */
  close(): void {
    for (const { ring } of this.rings) if (ring.kickFd >= 0) this.#epoll.remove(ring.kickFd);
    this.#memory.unmap();
  }
}
