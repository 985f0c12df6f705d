// Serves queues that another port worker lends, of whatever kind. Thread: the port worker that borrows.
import type { PacketPool } from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { borrowTapQueues, borrowXdpQueues, type TapLoan, type XdpLoan } from "./lent-device-queues.js";
import { LentPort } from "./lent-port.js";
import { LentQueues, type LentQueuesLoan } from "./lent-queues.js";

export type AnyLoan = LentQueuesLoan | TapLoan | XdpLoan;

export interface ServeLoanOptions {
  /** Of the port that they are queues of. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly memory: SharedArrayBuffer;
  readonly loan: AnyLoan;
}

/** Throws as LentQueues, borrowTapQueues() or borrowXdpQueues(). */
export function serveLoan({ name, pool, window, memory, loan: lent }: ServeLoanOptions): LentPort {
  return new LentPort({
    ...{ name, pool, memory },
    borrow: (stats, epoll, loan) => {
      if ("tapQueues" in lent) return borrowTapQueues(lent, pool, stats, epoll);
      const modules = { pool, window, stats, epoll };
      return "xdpQueues" in lent ? borrowXdpQueues(lent, name, modules) : new LentQueues(lent, modules, loan);
    },
  });
}
