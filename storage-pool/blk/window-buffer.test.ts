import { describe, expect, it } from "vitest";
import { GuestWindow } from "../../base/virtio/index.js";
import { WindowBuffer } from "./window-buffer.js";

const PAGE = 4096;
const SIZE = 4 * PAGE;

describe("WindowBuffer", () => {
  it.each([
    ["in the window", 2],
    ["beside a window that has no room for it", 0],
  ])("moves bytes from the window and back, %s", (_, spare) => {
    const window = new GuestWindow(SIZE * (1 + spare));
    const guest = window.reserveAnonymous(SIZE);
    const reserved = window.reservedBytes;
    const buffer = new WindowBuffer(window, SIZE);
    for (let life = 0; life < 2; life++) {
      buffer.place();
      buffer.place();
      expect(window.reservedBytes - reserved).toBe(spare === 0 ? 0 : SIZE);
      const sent = Uint8Array.from({ length: PAGE + 5 }, (_, i) => i * 7 + life);
      window.bytes.set(sent, guest + 3);
      buffer.take(16, guest + 3, sent.byteLength);
      expect(Uint8Array.from(buffer.data.bytes.subarray(16, 16 + sent.byteLength))).toEqual(sent);
      buffer.data.view.setUint32(16, 0xdeadbeef);
      buffer.give(16, guest + 2 * PAGE, 8);
      expect(window.bytes.slice(guest + 2 * PAGE, guest + 2 * PAGE + 8)).toEqual(
        Uint8Array.of(0xde, 0xad, 0xbe, 0xef, ...sent.subarray(4, 8)),
      );
      buffer.empty();
      expect(buffer.data.bytes.every((byte) => byte === 0)).toBe(true);
      expect(window.reservedBytes - reserved).toBe(spare === 0 ? 0 : SIZE);
      buffer.release();
      buffer.release();
      expect(window.reservedBytes).toBe(reserved);
      expect(buffer.data.bytes.byteLength).toBe(0);
    }
    window.close();
  });
});
