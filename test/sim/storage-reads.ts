// Reads of single blocks that go to the pool together.
import type { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import { BLOCK_SIZE } from "../../storage-pool/limits.js";
import type { BlockDevice } from "../../storage-pool/volume/block-device.js";

/** Every one of the first `count` blocks, each to its own place in `target`; how each read ended. */
export function readBlocksTogether(device: BlockDevice, target: DataBuffer, count: number): number[] {
  const places = Array.from({ length: count }, (_, block) => block * BLOCK_SIZE);
  const tickets = places.map((at) => device.prepareRead(target, at, at, BLOCK_SIZE));
  return tickets.map((ticket, block) => {
    const at = block * BLOCK_SIZE;
    return ticket < 0 ? device.read(target, at, at, BLOCK_SIZE) : device.finishRead(ticket);
  });
}
