// The memory in which a front-end keeps what its back-end has in flight: made by the first back-end, given by the
// front-end to each one after it.
// Source: QEMU docs/interop/vhost-user.rst, GET_INFLIGHT_FD and SET_INFLIGHT_FD.
// Thread: the owner of the window. Hot: no.
import { closeFile, createMemfd, duplicateFile, sealShrink } from "../linux/index.js";
import type { GuestWindow } from "./guest-window.js";
import { InflightTable, inflightTableSize } from "./inflight-table.js";
import { mapShared, memoryInvalid, type SharedMapping } from "./shared-mapping.js";
import { inflightReply } from "./vhost-user-session.js";
import type { VhostUserSocket } from "./vhost-user-socket.js";
import type { VhostUserInflight } from "./vhost-user-wire.js";

/** Answers GET_INFLIGHT_FD: new memory for `queueCount` split rings of `queueSize`, zeroed. */
export function createInflight(queueCount: number, queueSize: number, socket: VhostUserSocket): void {
  const sizeBytes = queueCount * inflightTableSize(queueSize);
  const fd = createMemfd("inflight", sizeBytes);
  try {
    sealShrink(fd);
    socket.send(inflightReply({ sizeBytes, fileOffset: 0, queueCount, queueSize }), [fd]);
  } finally {
    closeFile(fd);
  }
}

export class InflightMemory {
  readonly #window: GuestWindow;
  #mapping: SharedMapping | undefined = undefined;
  #queueCount = 0;
  #queueSize = 0;
  /** What was opened, with a descriptor of our own. */
  opened: { readonly inflight: VhostUserInflight; readonly fd: number } | undefined = undefined;

  constructor(window: GuestWindow) {
    this.#window = window;
  }

  /** Takes what the front-end kept. Throws as mapShared(), and then has none. The descriptor stays the caller's. */
  open(inflight: VhostUserInflight, fd: number, allowUnsealed: boolean): void {
    this.close();
    const { sizeBytes, fileOffset, queueCount, queueSize } = inflight;
    if (sizeBytes < queueCount * inflightTableSize(queueSize) || fileOffset % 64 !== 0) {
      throw memoryInvalid(
        `${sizeBytes} bytes at ${fileOffset} to track ${queueCount} queues of ${queueSize}`,
      );
    }
    this.#mapping = mapShared(this.#window, { fd, fileOffset, sizeBytes }, allowUnsealed);
    this.#queueCount = queueCount;
    this.#queueSize = queueSize;
    this.opened = { inflight, fd: duplicateFile(fd) };
  }

  /** The table of ring `index` of `size` descriptors; undefined when it is not tracked. */
  table(index: number, size: number): InflightTable | undefined {
    if (this.#mapping === undefined || index >= this.#queueCount || size > this.#queueSize) return undefined;
    const at = this.#mapping.start + index * inflightTableSize(this.#queueSize);
    return new InflightTable(this.#window, at, size);
  }

  /** Tables given out are void: the owner starts no ring with them any more. */
  close(): void {
    if (this.#mapping !== undefined) this.#window.giveBack(this.#mapping.windowOffset);
    if (this.opened !== undefined) closeFile(this.opened.fd);
    this.#mapping = undefined;
    this.opened = undefined;
    this.#queueCount = 0;
  }
}
