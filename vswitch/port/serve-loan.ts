// Queues that another port worker lends, of whatever kind, as a port. Thread: the port worker that borrows.
import type { PacketPool, Port } from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { LentQueues, type LentQueuesLoan } from "./lent-queues.js";
import { LentTapQueues, type LentTapQueuesLoan } from "./lent-tap-queues.js";

export type AnyLoan = LentQueuesLoan | LentTapQueuesLoan;

export interface ServeLoanOptions {
  /** Of the port that they are queues of. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly memory: SharedArrayBuffer;
  readonly loan: AnyLoan;
}

/** Throws as LentQueues or LentTapQueues. */
export function serveLoan({ loan, ...more }: ServeLoanOptions): Port {
  return "tapQueues" in loan ? new LentTapQueues({ loan, ...more }) : new LentQueues({ loan, ...more });
}
