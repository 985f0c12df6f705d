import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  closeFile,
  createEventfd,
  createMemfd,
  drainEventfd,
  Epoll,
  FileMapping,
} from "../../base/linux/index.js";
import {
  Batch,
  PacketPool,
  RX_ERRORS,
  SLOT_SIZE,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import { describePort, frameOf } from "../../base/packet/port.suite.js";
import { waitFor } from "../../base/time/index.js";
import { FRONT_END_GUEST_BASE, FRONT_END_MEMORY_SIZE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import {
  acceptGuest,
  asleep,
  dialGuest,
  EVENT_INDEX,
  type FakeGuest,
  IN_ORDER,
  type Layout,
  linkUp,
  MERGEABLE,
  MODERN,
  PACKED,
} from "./fake-guest.js";
import { VhostUserPort } from "./vhost-user-port.js";

const SLOTS = 512;
let dir = "";
let window: GuestWindow;
let pool: PacketPool;
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow(256 << 20);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
});
afterEach(() => {
  window.close();
  rmSync(dir, { recursive: true });
});

interface Setup {
  readonly port: VhostUserPort;
  readonly guest: FakeGuest;
  readonly tick: () => void;
}

async function connected(
  role: "dial" | "listen" = "dial",
  features = MODERN,
  layout: Layout = "one",
): Promise<Setup> {
  const path = `${dir}/n`;
  const port = new VhostUserPort({ name: "vm", pool, window, path, role });
  const tick = (): void => port.tick(performance.now());
  const guest = await (role === "dial" ? acceptGuest : dialGuest)(path, tick, { features });
  guest.layout = layout;
  await guest.start();
  await linkUp(port);
  return { port, guest, tick };
}

function fixture(role: "dial" | "listen", features: bigint, layout: Layout) {
  return async () => {
    const { port, guest, tick } = await connected(role, features, layout);
    return {
      pool,
      port,
      send: (frame: Uint8Array) => guest.send(frame, tick),
      receive: () => guest.receive(),
      close: () => guest.close(),
    };
  };
}
describePort("VhostUserPort that dials", fixture("dial", MODERN, "one"), 1514);
describePort("VhostUserPort that listens", fixture("listen", MODERN, "two"), 1514);
describePort("VhostUserPort with mergeable buffers", fixture("dial", MERGEABLE, "scattered"), 2000);
describePort("VhostUserPort with EVENT_IDX", fixture("dial", EVENT_INDEX, "two"), 2000);
describePort("VhostUserPort in order", fixture("dial", MERGEABLE | IN_ORDER, "two"), 2000);
describePort("VhostUserPort with a packed ring", fixture("dial", PACKED, "one"), 2000);
describePort(
  "VhostUserPort with a packed ring and EVENT_IDX",
  fixture("dial", PACKED | EVENT_INDEX, "scattered"),
  2000,
);
describePort("VhostUserPort with a packed ring in order", fixture("dial", PACKED | IN_ORDER, "two"), 2000);

function send(port: VhostUserPort, frames: readonly Uint8Array[]): void {
  const batch = new Batch();
  for (const frame of frames) batch.push(pool.allocateFrom(frame));
  port.tx(batch);
}

describe("VhostUserPort", () => {
  it("spreads a jumbo frame over mergeable buffers and refuses it without them", async () => {
    const jumbo = frameOf(9216, 3);
    const merging = await connected("dial", MERGEABLE);
    send(merging.port, [jumbo, frameOf(60, 1)]);
    expect(merging.guest.receive()).toEqual([jumbo, frameOf(60, 1)]);
    merging.port.close();
    merging.guest.close();
    const plain = await connected("dial", MODERN);
    send(plain.port, [jumbo, frameOf(60, 1)]);
    expect(plain.guest.receive()).toEqual([frameOf(60, 1)]);
    expect(plain.port.stats[TX_ERRORS]).toBe(1);
    plain.port.close();
    plain.guest.close();
  });

  it("delivers into buffers that are cut anyhow, also within the header, and refuses one without room for it", async () => {
    const path = `${dir}/n`;
    for (const features of [MODERN, MERGEABLE, PACKED]) {
      const port = new VhostUserPort({ name: "vm", pool, window, path, role: "dial" });
      const guest = await acceptGuest(path, () => port.tick(performance.now()), { features });
      const { frontEnd } = guest;
      await frontEnd.start();
      await linkUp(port);
      const offer = (first: number, sizes: readonly number[]): void => {
        const slots = sizes.map((_, i) => first + i);
        const buffers = sizes.map((length, i) => {
          const address = FRONT_END_GUEST_BASE + frontEnd.bufferAt(0, first + i);
          return { address, length, flags: 2 };
        });
        frontEnd.offerChain(0, slots, buffers);
      };
      const sizes = [1, 4, 6, 3, 7, 80];
      offer(0, sizes);
      offer(16, [5, 6]);
      const frame = frameOf(70, 3);
      send(port, [frame]);
      expect(frontEnd.takeUsed(0)).toEqual({ head: 0, length: 12 + 70 });
      const parts = sizes.map((length, i) =>
        frontEnd.bytes.slice(frontEnd.bufferAt(0, i), frontEnd.bufferAt(0, i) + length),
      );
      const all = Buffer.concat(parts);
      expect(all.subarray(0, 12).toString("hex")).toBe("000000000000000000000100");
      expect(Uint8Array.from(all.subarray(12, 82))).toEqual(frame);
      send(port, [frame]);
      expect(frontEnd.takeUsed(0)).toEqual({ head: 16, length: 0 });
      expect([port.stats[TX_PACKETS], port.stats[TX_ERRORS]]).toEqual([1, 1]);
      expect(pool.available).toBe(SLOTS);
      port.close();
      guest.close();
      rmSync(path, { force: true });
    }
  });

  it("drops and counts when the guest offers no buffers, and goes on when it does", async () => {
    const { port, guest } = await connected();
    const frames = Array.from({ length: 64 }, (_, i) => frameOf(60, i));
    for (let i = 0; i < 6; i++) send(port, frames);
    expect(port.stats[TX_DROPPED]).toBe(6 * 64 - 256);
    expect(guest.receive()).toHaveLength(256);
    send(port, frames);
    expect(guest.receive()).toEqual(frames);
    expect(port.stats[TX_PACKETS]).toBe(256 + 64);
    port.close();
    guest.close();
  });

  it("counts chains that carry no frame, gives them back, and stays up", async () => {
    const { port, guest, tick } = await connected();
    const { frontEnd } = guest;
    const buffer = FRONT_END_GUEST_BASE + frontEnd.bufferAt(1, 0);
    frontEnd.setDescriptor(1, 200, buffer, 12, 0);
    frontEnd.setDescriptor(1, 201, buffer, 60, 2);
    frontEnd.setDescriptor(1, 202, 0xdead_0000, 60, 0);
    frontEnd.setDescriptor(1, 203, buffer, 60, 1, 203);
    frontEnd.setDescriptor(1, 204, buffer, 10_000, 0);
    for (let head = 200; head < 205; head++) frontEnd.offer(1, head);
    const batch = new Batch();
    expect(port.rx(batch)).toBe(0);
    expect(port.stats[RX_ERRORS]).toBe(5);
    for (let head = 200; head < 205; head++) expect(frontEnd.takeUsed(1)).toEqual({ head, length: 0 });
    await guest.send(frameOf(60, 1), tick);
    expect(port.rx(batch)).toBe(1);
    batch.freeAll(pool);
    port.close();
    guest.close();
  });

  it("is back after its peer vanished in the middle of traffic, again and again", async () => {
    const port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/n`, role: "dial" });
    const tick = (): void => port.tick(performance.now());
    const batch = new Batch();
    for (let life = 0; life < 3; life++) {
      const guest = await acceptGuest(`${dir}/n`, tick, {});
      await guest.start();
      await linkUp(port);
      await guest.send(frameOf(100, life), tick);
      expect(port.rx(batch)).toBe(1);
      expect(pool.frame(batch.packets[0]!)).toEqual(frameOf(100, life));
      port.tx(batch);
      expect(guest.receive()).toEqual([frameOf(100, life)]);
      await guest.send(frameOf(100, 9), tick);
      guest.close();
      expect(port.rx(batch)).toBe(1);
      port.tx(batch);
      await waitFor(
        () => {
          tick();
          return !port.linkUp;
        },
        "the loss to be noticed",
        5000,
        1,
      );
      expect(port.rx(batch)).toBe(0);
    }
    port.close();
    expect(pool.available).toBe(SLOTS);
  });

  it("a new port (the switch restarted) continues the guest's rings without loss or repetition", async () => {
    const { port, guest, tick } = await connected();
    for (let i = 0; i < 10; i++) await guest.send(frameOf(60, i), tick);
    const batch = new Batch(4);
    expect(port.rx(batch)).toBe(4);
    batch.freeAll(pool);
    port.close();
    // The front-end does what QEMU does: it continues from the used indices in its own memory.
    const bases = [0, 1].map((ring) => guest.frontEnd.view.getUint16(guest.frontEnd.usedAt(ring) + 2, true));
    expect(bases).toEqual([0, 4]);
    const again = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/m`, role: "dial" });
    const retick = (): void => again.tick(performance.now());
    const successor = await acceptGuest(`${dir}/m`, retick, {});
    successor.frontEnd.bytes.set(guest.frontEnd.bytes);
    await successor.frontEnd.start(bases);
    await linkUp(again);
    const all = new Batch();
    expect(again.rx(all)).toBe(6);
    for (let i = 0; i < 6; i++) expect(pool.frame(all.packets[i]!)).toEqual(frameOf(60, 4 + i));
    all.freeAll(pool);
    again.close();
    guest.close();
    successor.close();
  });

  it.each([
    ["one buffer", MODERN, 1514],
    ["mergeable buffers", MERGEABLE, 9000],
    ["EVENT_IDX", EVENT_INDEX, 60],
    ["packed rings", PACKED, 9000],
  ])("marks every page that it writes while the guest is moved, with %s", async (_name, features, size) => {
    const LOG_SIZE = (FRONT_END_GUEST_BASE + FRONT_END_MEMORY_SIZE) / 4096 / 8;
    const { port, guest, tick } = await connected("dial", features | (1n << BigInt(wire.VHOST_F_LOG_ALL)));
    const fd = createMemfd("log", LOG_SIZE);
    const notice = createEventfd();
    const log = new FileMapping(fd, LOG_SIZE);
    const marks = new Uint8Array(log.buffer);
    const { frontEnd } = guest;
    const dirtyPages = (): number[] => {
      const pages: number[] = [];
      for (let page = 0; page < FRONT_END_MEMORY_SIZE / 4096; page++) {
        const absolute = FRONT_END_GUEST_BASE / 4096 + page;
        if ((marks[absolute >>> 3]! & (1 << (absolute & 7))) !== 0) pages.push(page);
      }
      return pages;
    };
    const changedPages = (before: Uint8Array): number[] => {
      const pages: number[] = [];
      for (let at = 0; at < FRONT_END_MEMORY_SIZE; at += 4096) {
        const now = frontEnd.bytes.subarray(at, at + 4096);
        if (Buffer.compare(now, before.subarray(at, at + 4096)) !== 0) pages.push(at / 4096);
      }
      return pages;
    };
    send(port, [frameOf(size, 1)]);
    expect(dirtyPages()).toEqual([]);
    await frontEnd.logWrites(fd, LOG_SIZE, true);
    frontEnd.send(wire.VHOST_USER_SET_LOG_FD, { kind: "none" }, [notice]);
    tick();
    for (let i = 0; i < 5; i++) await guest.send(frameOf(60, i), tick);
    marks.fill(0);
    const before = frontEnd.bytes.slice();
    for (let i = 0; i < 30; i++) send(port, [frameOf(size, i), frameOf(60, i)]);
    const batch = new Batch();
    expect(port.rx(batch)).toBe(5);
    batch.freeAll(pool);
    const changed = changedPages(before);
    expect(changed.length).toBeGreaterThan(10);
    expect(dirtyPages()).toEqual(expect.arrayContaining(changed));
    // Pages of transmit buffers and descriptors are not written, and so not marked.
    expect(dirtyPages().length).toBeLessThanOrEqual(changed.length + 4);
    tick();
    expect(drainEventfd(notice)).toBe(true);
    await frontEnd.logWrites(fd, LOG_SIZE, false);
    tick();
    marks.fill(0);
    send(port, [frameOf(60, 9)]);
    expect(dirtyPages()).toEqual([]);
    port.close();
    guest.close();
    log.unmap();
    for (const own of [fd, notice]) closeFile(own);
  });

  it("a port that comes after one that died goes on with what the front-end kept as in flight", async () => {
    const path = `${dir}/i`;
    let port = new VhostUserPort({ name: "vm", pool, window, path, role: "dial" });
    const tick = (): void => port.tick(performance.now());
    const guest = await acceptGuest(path, tick, { inflight: "ask" });
    await guest.start();
    await linkUp(port);
    for (let i = 0; i < 10; i++) await guest.send(frameOf(60, i), tick);
    const batch = new Batch(4);
    expect(port.rx(batch)).toBe(4);
    batch.freeAll(pool);
    // As if it had died after it took six chains and before it gave them back.
    const inflight = guest.frontEnd.inflight!;
    const table = new FileMapping(inflight.fd, inflight.description.sizeBytes);
    const regionSize = inflight.description.sizeBytes / 2;
    const words = new DataView(table.buffer, regionSize, regionSize);
    expect([words.getUint16(8, true), words.getUint16(10, true), words.getUint16(14, true)]).toEqual([
      1, 256, 4,
    ]);
    const { view } = guest.frontEnd;
    for (let i = 4; i < 10; i++) {
      const head = view.getUint16(guest.frontEnd.availableAt(1) + 4 + i * 2, true);
      words.setUint8(16 + head * 16, 1);
      words.setBigUint64(16 + head * 16 + 8, BigInt(i), true);
    }
    table.unmap();
    port.close();
    port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/j`, role: "dial" });
    const successor = await acceptGuest(`${dir}/j`, tick, { inflight });
    successor.frontEnd.bytes.set(guest.frontEnd.bytes);
    await successor.frontEnd.start([0, 4]);
    await linkUp(port);
    const all = new Batch();
    expect(port.rx(all)).toBe(6);
    for (let i = 0; i < 6; i++) expect(pool.frame(all.packets[i]!)).toEqual(frameOf(60, 4 + i));
    all.freeAll(pool);
    expect(port.rx(all)).toBe(0);
    expect(successor.frontEnd.view.getUint16(successor.frontEnd.usedAt(1) + 2, true)).toBe(10);
    expect(await successor.frontEnd.stopRing(1)).toBe(10);
    port.close();
    guest.close();
    successor.close();
    closeFile(inflight.fd);
  });

  it.each([
    ["flags", MODERN],
    ["EVENT_IDX", EVENT_INDEX],
  ])("sleeps without missing a kick, and is quiet after waking, with %s", async (_name, features) => {
    const { port, guest, tick } = await connected("dial", features);
    const epoll = new Epoll();
    epoll.add(port.wakeFd, 1);
    const batch = new Batch();
    for (let round = 0; round < 3; round++) {
      await asleep(port, epoll);
      await guest.send(frameOf(60, round), tick);
      expect(epoll.wait(1000)).toBe(1);
      port.endSleep();
      expect(port.rx(batch)).toBe(1);
      batch.freeAll(pool);
    }
    await guest.send(frameOf(60, 9), tick);
    expect(port.beginSleep()).toBe(false);
    port.endSleep();
    epoll.close();
    port.close();
    guest.close();
  });

  it("announces a guest that was moved here as if the guest did, and before it sleeps", async () => {
    const { port, guest, tick } = await connected();
    const mac = "525400a1b2c3";
    // The address is the first six bytes of the number.
    const value = BigInt(`0x${Buffer.from(mac, "hex").reverse().toString("hex")}`);
    expect(await guest.frontEnd.acknowledged(wire.VHOST_USER_SEND_RARP, { kind: "u64", value })).toBe(0n);
    tick();
    expect(port.beginSleep()).toBe(false);
    port.endSleep();
    const batch = new Batch();
    expect(port.rx(batch)).toBe(1);
    const frame = Buffer.from(pool.frame(batch.packets[0]!)).toString("hex");
    const expected = `ffffffffffff${mac}80350001080006040003${mac}00000000${mac}00000000`;
    expect(frame).toBe(expected.padEnd(120, "0"));
    batch.freeAll(pool);
    expect(port.rx(batch)).toBe(0);
    expect(port.beginSleep()).toBe(true);
    port.endSleep();
    port.close();
    guest.close();
  });

  it("keeps to the MTU that the guest was told, one VLAN tag aside", async () => {
    const features = MODERN | (1n << BigInt(wire.VIRTIO_NET_F_MTU));
    const { port, guest } = await connected("dial", features);
    const setMtu = (value: bigint) =>
      guest.frontEnd.acknowledged(wire.VHOST_USER_NET_SET_MTU, { kind: "u64", value });
    for (const refused of [0n, 67n, 9199n, 1n << 40n]) expect(await setMtu(refused)).toBe(1n);
    send(port, [frameOf(1514, 1)]);
    expect(guest.receive()).toEqual([frameOf(1514, 1)]);
    expect(await setMtu(1000n)).toBe(0n);
    await linkUp(port);
    const tagged = (size: number): Uint8Array => {
      const frame = frameOf(size, 4);
      frame.set([0x81, 0], 12);
      return frame;
    };
    send(port, [frameOf(1014, 1), frameOf(1015, 2), tagged(1018), tagged(1019), frameOf(60, 3)]);
    expect(guest.receive()).toEqual([frameOf(1014, 1), tagged(1018), frameOf(60, 3)]);
    expect(port.stats[TX_ERRORS]).toBe(2);
    port.close();
    guest.close();
  });

  it("tells the front-end of a ring that the driver broke", async () => {
    const { port, guest, tick } = await connected();
    const error = createEventfd();
    const { frontEnd } = guest;
    frontEnd.send(wire.VHOST_USER_SET_VRING_ERR, { kind: "u64", value: 1n }, [error]);
    tick();
    frontEnd.view.setUint16(frontEnd.availableAt(1) + 2, 9999, true);
    expect(port.rx(new Batch())).toBe(0);
    tick();
    expect(port.linkUp).toBe(false);
    expect(port.lastError).toBe("the driver broke its ring");
    expect(drainEventfd(error)).toBe(true);
    closeFile(error);
    port.close();
    guest.close();
  });

  it("gives chains back in the order in which it took them, whatever becomes of the frames", async () => {
    const { port, guest, tick } = await connected("dial", MERGEABLE);
    const { frontEnd } = guest;
    const buffer = FRONT_END_GUEST_BASE + frontEnd.bufferAt(1, 0);
    const heads = [200, 201, 202, 203, 204];
    const shapes = [
      [buffer, 100, 0],
      [buffer, 60, 2],
      [0xdead_0000, 60, 0],
      [buffer, 100, 0],
      [buffer, 5, 0],
    ] as const;
    heads.forEach((head, i) => {
      const [address, length, flags] = shapes[i]!;
      frontEnd.setDescriptor(1, head, address, length, flags);
      frontEnd.offer(1, head);
    });
    const batch = new Batch();
    expect(port.rx(batch)).toBe(2);
    batch.freeAll(pool);
    expect(heads.map(() => frontEnd.takeUsed(1)?.head)).toEqual(heads);
    // Receive buffers were offered by number; jumbo frames take several, and one that is too long none.
    send(port, [frameOf(60, 1), frameOf(9000, 2), frameOf(60, 3)]);
    const used: (number | undefined)[] = [];
    for (let next = frontEnd.takeUsed(0); next !== undefined; next = frontEnd.takeUsed(0))
      used.push(next.head);
    expect(used).toEqual(Array.from({ length: used.length }, (_, i) => i));
    expect(used.length).toBe(7);
    tick();
    expect(port.linkUp).toBe(true);
    port.close();
    guest.close();
  });

  it("names why there is no link", async () => {
    const port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/none`, role: "dial" });
    port.tick(performance.now());
    expect(port.lastError).toContain("ENOENT");
    expect(port.linkUp).toBe(false);
    port.close();
    const waiting = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/n`, role: "listen" });
    const guest = await dialGuest(`${dir}/n`, () => waiting.tick(performance.now()));
    waiting.tick(performance.now());
    expect(waiting.lastError).toBe("connected, and no driver has started the queues yet");
    await guest.start();
    await linkUp(waiting);
    expect(waiting.lastError).toBe("");
    waiting.close();
    guest.close();
    const path = `${dir}/${"x".repeat(120)}`;
    expect(() => new VhostUserPort({ name: "vm", pool, window, path, role: "dial" })).toThrowError(
      expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG" }),
    );
  });
});
