// Queues of a TAP device or an AF_XDP port that another port worker has (lent-port.ts): the borrower takes frames from their
// descriptors, the owner goes on sending by them. Thread: the port worker that borrows. Hot: yes (rx).
import type { Epoll } from "../../base/linux/index.js";
import type { PacketPool, PortCounters } from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import type { DeviceQueues } from "./device-queues.js";
import type { BorrowedQueues } from "./lent-port.js";
import { createTapQueues, type TapQueue } from "./tap-queues.js";
import { createSharedXdpQueues, type XdpSharedQueue } from "./xdp-queues.js";

/** What TapPort.lendQueues() gives. */
export interface TapLoan {
  readonly tapQueues: readonly TapQueue[];
}

/** What AfxdpPort.lendQueues() gives. */
export interface XdpLoan {
  readonly xdpQueues: readonly XdpSharedQueue[];
}

/** Throws with the errno's name. */
export function borrowTapQueues(
  { tapQueues }: TapLoan,
  pool: PacketPool,
  stats: PortCounters,
  epoll: Epoll,
): BorrowedQueues {
  const queues = createTapQueues(pool, stats, epoll);
  queues.add(tapQueues);
  pool.holdsOffloads = true;
  return borrowed(queues);
}

/** Throws NO_WINDOW_ROOM, or as mmap(2). `name`: of the port. */
export function borrowXdpQueues(
  { xdpQueues }: XdpLoan,
  name: string,
  modules: {
    readonly pool: PacketPool;
    readonly window: GuestWindow;
    readonly stats: PortCounters;
    readonly epoll: Epoll;
  },
): BorrowedQueues {
  const queues = createSharedXdpQueues(modules, name);
  queues.add(xdpQueues);
  return borrowed(queues);
}

function borrowed<Q extends { readonly queue: number }>(queues: DeviceQueues<Q>): BorrowedQueues {
  return {
    frames: queues.frames,
    get numbers() {
      return queues.numbers;
    },
    rx: (batch) => queues.rx(batch),
    stop: () => queues.stop(queues.numbers),
    beginSleep: () => queues.mayWait(),
    endSleep: () => {},
    giveBack: () => queues.clear(),
  };
}
