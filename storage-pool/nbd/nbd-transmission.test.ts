import { describe, expect, it } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { DIRECT_ALIGN } from "../disk/direct-file.js";
import { EINVAL, EIO, ENOSPC } from "../errors.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { NbdExport } from "./nbd-export.js";
import { INPUT_SIZE, NbdTransmission } from "./nbd-transmission.js";
import {
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_REQUEST_MAGIC,
} from "./nbd-wire.js";

const MIB = 1024 * 1024;

function rig(
  requests: readonly (readonly [type: number, flags: number, offset: number, length: number])[],
  sizeBytes = 16 * MIB,
) {
  const target = new NbdExport("v", "", new MemoryDevice(sizeBytes), false);
  const options = { mode: "simple", contexts: [] } as const;
  const input = new DataBuffer(INPUT_SIZE);
  const transmission = new NbdTransmission(target, input, options, { wait: () => {} });
  for (const [cookie, [type, flags, offset, length]] of requests.entries()) {
    const at = transmission.inputEnd;
    input.view.setUint32(at, NBD_REQUEST_MAGIC);
    input.view.setUint16(at + 4, flags);
    input.view.setUint16(at + 6, type);
    input.view.setUint32(at + 12, cookie);
    input.view.setUint32(at + 20, offset);
    input.view.setUint32(at + 24, length);
    transmission.inputEnd += 28;
  }
  /** What a breath of the server does; true when there is more to do. */
  const breath = (commitResult: number): boolean => {
    expect(transmission.parse()).toBe(true);
    expect(target.staged).toBe(true);
    target.commitResult = target.device.commit() || commitResult;
    transmission.finish(true);
    transmission.finishReads();
    target.staged = false;
    target.commitResult = 0;
    return transmission.hungry;
  };
  const answers = (): number => transmission.replies.outputEnd - transmission.replies.outputStart;
  const errorOf = (at: number): number => transmission.replies.output.view.getUint32(at + 4);
  return { target, transmission, breath, answers, errorOf };
}

describe("WRITE_ZEROES that keeps the space", () => {
  const zeroes = [NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 4096, 12 * MIB] as const;

  it("is done in slices, so that others get their turn, and answered once, in its place", () => {
    const { target, breath, answers, errorOf } = rig([zeroes, [NBD_CMD_READ, 0, 0, 512]]);
    const ones = new DataBuffer(16 * MIB);
    ones.bytes.fill(1);
    target.device.stageWrite(ones, 0, 0, 16 * MIB);
    target.device.commit();
    for (let breaths = 0; breaths < 2; breaths++) {
      expect(breath(0)).toBe(true);
      expect(answers()).toBe(0);
    }
    expect(breath(0)).toBe(false);
    expect([answers(), errorOf(0)]).toEqual([16 + 16 + 512, 0]);
    const back = new DataBuffer(16 * MIB);
    target.device.read(back, 0, 0, 16 * MIB);
    expect([back.bytes[4095], back.bytes[4096 + 12 * MIB]]).toEqual([1, 1]);
    expect(back.bytes.subarray(4096, 4096 + 12 * MIB).every((byte) => byte === 0)).toBe(true);
  });

  it("fails when any slice could not be committed", () => {
    const { breath, answers, errorOf } = rig([zeroes]);
    expect(breath(EIO)).toBe(true);
    expect(answers()).toBe(0);
    breath(0);
    expect([answers(), errorOf(0)]).toEqual([16, EIO]);
  });
});

describe("a WRITE that is refused", () => {
  it.each([
    ["too long", 0, 33 * MIB, 64 * MIB, EINVAL],
    ["beyond the end", 16 * MIB - 512, MIB, 16 * MIB, ENOSPC],
  ])(
    "because it is %s is answered once its payload has come, and not before",
    (_why, offset, length, sizeBytes, error) => {
      const { transmission, answers, errorOf } = rig([[NBD_CMD_WRITE, 0, offset, length]], sizeBytes);
      for (let left = length; left > 0; ) {
        expect([transmission.parse(), answers(), transmission.inputEnd]).toEqual([false, 0, 0]);
        const count = Math.min(left, INPUT_SIZE);
        transmission.inputEnd = count;
        left -= count;
      }
      expect(transmission.parse()).toBe(true);
      transmission.finish(true);
      transmission.finishReads();
      expect([answers(), errorOf(0), transmission.replies.output.view.getUint32(12)]).toEqual([16, error, 0]);
      expect(transmission.broken).toBe(false);
    },
  );
});

describe("a long READ", () => {
  it("has its bytes where a disk can put them by itself, when it is the first that is answered", () => {
    const { target, transmission, answers } = rig([
      [NBD_CMD_READ, 0, MIB, MIB],
      [NBD_CMD_READ, 0, 0, MIB],
    ]);
    const bytes = new DataBuffer(2 * MIB);
    bytes.bytes.fill(1, 0, MIB).fill(2, MIB);
    target.device.stageWrite(bytes, 0, 0, 2 * MIB);
    target.device.commit();
    for (const fill of [2, 1]) {
      transmission.parse();
      transmission.finish(true);
      transmission.finishReads();
      const { replies } = transmission;
      expect(answers()).toBe(16 + MIB);
      const at = replies.outputStart + 16;
      expect((replies.output.address + at) % DIRECT_ALIGN).toBe(0);
      expect(replies.output.bytes.subarray(at, at + MIB).equals(Buffer.alloc(MIB, fill))).toBe(true);
      replies.outputStart = replies.outputEnd;
      replies.reset();
    }
  });
});
