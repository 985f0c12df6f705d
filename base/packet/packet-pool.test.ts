import { describe, expect, it } from "vitest";
import { HEADROOM, PacketPool, SLOT_SIZE } from "./index.js";

describe("PacketPool", () => {
  it("allocate() gives −1 when empty and again a packet after free()", () => {
    const pool = new PacketPool({ slots: 2 });
    const first = pool.allocate();
    const second = pool.allocate();
    expect(pool.allocate()).toBe(-1);
    pool.free(first);
    expect(pool.allocate()).toBe(first);
    expect(second).not.toBe(first);
  });

  it("free() twice is our bug", () => {
    const pool = new PacketPool({ slots: 1 });
    const packet = pool.allocate();
    pool.free(packet);
    expect(() => pool.free(packet)).toThrow("freed once");
  });

  it("a retained packet is freed by its last holder", () => {
    const pool = new PacketPool({ slots: 1 });
    const packet = pool.allocate();
    pool.retain(packet);
    expect(pool.isShared(packet)).toBe(true);
    pool.free(packet);
    expect(pool.available).toBe(0);
    pool.free(packet);
    expect(pool.available).toBe(1);
  });

  it("copy() keeps bytes and headroom, and the twin is independent", () => {
    const pool = new PacketPool({ slots: 2 });
    const packet = pool.allocateFrom(Uint8Array.of(1, 2, 3, 4));
    pool.offset[packet] = (pool.offset[packet] as number) - 4;
    pool.length[packet] = 8;
    const twin = pool.copy(packet);
    expect(pool.frame(twin)).toEqual(pool.frame(packet));
    expect(pool.headroom(twin)).toBe(HEADROOM - 4);
    pool.bytes[pool.offset[twin] as number] = 99;
    expect(pool.frame(twin)).not.toEqual(pool.frame(packet));
  });

  it("lives inside a larger arena at an offset", () => {
    const arena = new Uint8Array(100 + 2 * SLOT_SIZE);
    const pool = new PacketPool({ slots: 2, arena, arenaOffset: 100 });
    const packet = pool.allocateFrom(Uint8Array.of(7));
    expect(pool.offset[packet]).toBe(100 + packet * SLOT_SIZE + HEADROOM);
    expect(arena[pool.offset[packet] as number]).toBe(7);
  });
});
