import { expect, test } from "vitest";
import { EIO, OK } from "../errors.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { NbdExport } from "./nbd-export.js";

class FailingOnce extends MemoryDevice {
  commits = 0;

  override commit(): number {
    return this.commits++ === 0 ? EIO : OK;
  }
}

test("when a guest's commit fails, clients of NBD that had staged before are told so, and others are not", () => {
  for (const mixed of [true, false]) {
    const device = new FailingOnce(1 << 20);
    const target = new NbdExport("v", "", device, false);
    target.staged = true;
    expect(target.commitGuest(mixed)).toBe(EIO);
    // Something more of NBD.
    target.staged = true;
    target.commit();
    expect([target.staged, target.commitResult, device.commits]).toEqual([false, mixed ? EIO : OK, 2]);
  }
});
