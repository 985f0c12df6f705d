import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { FaultDevice } from "../filter/fault-device.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { blockDeviceSuite } from "./block-device.suite.js";
import { MemoryDevice } from "./memory-device.js";

blockDeviceSuite("memory", (sizeBytes) => ({ device: new MemoryDevice(sizeBytes) }));

blockDeviceSuite("fault filter that lets everything through", (sizeBytes) => ({
  device: new FaultDevice(new MemoryDevice(sizeBytes), () => 0),
}));

blockDeviceSuite("volume", (sizeBytes) => ({ device: new MemoryPool(1).createVolume(1, sizeBytes) }));

blockDeviceSuite("volume with two copies that is cleaned all the time", (sizeBytes) => {
  const memory = new MemoryPool(2);
  const device = memory.createVolume(1, sizeBytes, 2);
  return { device, after: () => memory.settle() };
});

blockDeviceSuite("encrypted volume", (sizeBytes) => {
  const memory = new MemoryPool(1);
  memory.pool.keys.unlock(
    "k",
    Uint8Array.from({ length: 64 }, (_, i) => i),
  );
  return { device: memory.createVolume(1, sizeBytes, 1, "k") };
});

test("fault filter: a call that fails changes nothing", () => {
  const memory = new MemoryDevice(8192);
  const device = new FaultDevice(memory, (point) => (point === "write" ? 28 : point === "flush" ? 5 : 0));
  const buffer = new DataBuffer(8192);
  buffer.bytes.fill(1);
  expect(device.stageWrite(buffer, 0, 0, 4096)).toBe(28);
  expect(device.flush()).toBe(5);
  expect(memory.flushCount).toBe(0);
  expect(device.read(buffer, 0, 0, 8192)).toBe(0);
  expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
});
