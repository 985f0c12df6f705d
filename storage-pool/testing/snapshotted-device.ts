// A memory device that claims one snapshot, "monday": all but its first block has changed since.
import { BLOCK_SIZE } from "../limits.js";
import type { ExtentVisitor } from "../volume/block-device.js";
import { MemoryDevice } from "../volume/memory-device.js";

export class SnapshottedDevice extends MemoryDevice {
  override snapshotNames(): readonly string[] {
    return ["monday"];
  }

  override changes(base = "", offset = 0, length = 0, visit: ExtentVisitor = () => false): boolean {
    if (base !== "monday") return false;
    const same = Math.min(length, Math.max(0, BLOCK_SIZE - offset));
    const more = same === 0 || visit(same, false);
    if (more && length > same) visit(length - same, true);
    return true;
  }
}
