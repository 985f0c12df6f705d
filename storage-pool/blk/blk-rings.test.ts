// What happens to a guest's requests when its rings are disabled, stopped, started and waited for, and when syncs are late.
import { openSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  closeFile,
  createEventfd,
  createMemfd,
  drainEventfd,
  sysConnectUnix,
} from "../../base/linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import { NbdExport } from "../nbd/nbd-export.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { ARENA, BlkRigs, FEATURES, head, PACKED, READ, SIZE, statusOf, WRITE } from "./blk-rig.js";
import { BlkServer } from "./blk-server.js";
import * as blk from "./virtio-blk-wire.js";

const rigs = new BlkRigs();

test("of two guests that may write to a volume the second waits until no ring of the first runs; one that only reads does not", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  const write = head(blk.VIRTIO_BLK_T_OUT, 0, new Uint8Array(512).fill(1));
  expect(statusOf(rig.request(write, 1, [512]))).toBe(blk.VIRTIO_BLK_S_OK);
  const join = async (readOnly: boolean): Promise<FakeFrontEnd> => {
    const path = `${rigs.dir}/${readOnly}`;
    rig.server.listen(path, () => new NbdExport("shop/db", "", rig.device, readOnly));
    const fd = sysConnectUnix(path);
    const guest = new FakeFrontEnd({
      fd,
      ringCount: 2,
      ringSize: 64,
      features: FEATURES,
      pump: () => rig.pump(),
    });
    await guest.start();
    return guest;
  };
  const offer = (guest: FakeFrontEnd, type: number, fill: number): void => {
    guest.bytes.set(head(type, 0, new Uint8Array(512).fill(fill)), ARENA);
    const data = type === blk.VIRTIO_BLK_T_OUT ? READ : WRITE;
    guest.setDescriptor(0, 0, FRONT_END_GUEST_BASE + ARENA, 16, 1, 1);
    guest.setDescriptor(0, 1, FRONT_END_GUEST_BASE + ARENA + 16, 512, data | 1, 2);
    guest.setDescriptor(0, 2, FRONT_END_GUEST_BASE + ARENA + 528, 1, WRITE);
    guest.offer(0, 0);
    rig.pump();
  };
  const reader = await join(true);
  offer(reader, blk.VIRTIO_BLK_T_IN, 0);
  expect(reader.takeUsed(0)).toMatchObject({ head: 0 });
  expect(reader.bytes[ARENA + 16]).toBe(1);
  const next = await join(false);
  offer(next, blk.VIRTIO_BLK_T_OUT, 2);
  expect(next.takeUsed(0)).toBeUndefined();
  expect(statusOf(rig.request(write, 1, [512]))).toBe(blk.VIRTIO_BLK_S_OK);
  rig.guest.close();
  rig.pump();
  expect(next.takeUsed(0)).toMatchObject({ head: 0 });
  offer(reader, blk.VIRTIO_BLK_T_IN, 0);
  expect(reader.bytes[ARENA + 16]).toBe(2);
  for (const guest of [reader, next]) guest.close();
  rig.pump();
  rig.server.close();
});

test("memory that its front-end could truncate is taken only where that is allowed", async () => {
  const device = new MemoryDevice(SIZE);
  const server = new BlkServer(rigs.epoll, { wait: () => {} });
  for (const unsealedMemory of [false, true]) {
    const path = `${rigs.dir}/${unsealedMemory}`;
    server.listen(path, () => new NbdExport("shop/db", "", device, false), { unsealedMemory });
    const pump = (): void => {
      const count = rigs.epoll.wait(0);
      for (let i = 0; i < count; i++) server.onReady(rigs.epoll.fds[i] as number);
    };
    const memfd = createMemfd("guest", 4096);
    writeFileSync(`${rigs.dir}/file`, new Uint8Array(4096));
    for (const fd of [memfd, openSync(`${rigs.dir}/file`, "r+")]) {
      const guest = new FakeFrontEnd({ fd: sysConnectUnix(path), ringCount: 1, pump });
      pump();
      pump();
      await guest.negotiate();
      const region = { guestAddress: 0, sizeBytes: 4096, userAddress: 4096, fileOffset: 0 };
      const table = { kind: "memoryTable" as const, regions: [region] };
      guest.send(wire.VHOST_USER_SET_MEM_TABLE, table, [fd]);
      pump();
      // A memfd of ours can be sealed, a file cannot.
      expect(server.connectionCount).toBe(fd === memfd || unsealedMemory ? 1 : 0);
      guest.close();
      pump();
      closeFile(fd);
    }
  }
  server.close();
});

test("requests in a ring that is disabled stay there, and are carried out when it is enabled or started again", async () => {
  for (const features of [FEATURES, FEATURES | PACKED]) {
    const rig = rigs.make(false, features);
    await rig.guest.start();
    const { guest } = rig;
    const data = new Uint8Array(512).fill(7);
    const offer = (fill: number): void => {
      guest.bytes.set(head(1, fill, data), ARENA);
      guest.bytes[ARENA + 528] = 0xee;
      const [readable, status] = [FRONT_END_GUEST_BASE + ARENA, FRONT_END_GUEST_BASE + ARENA + 528];
      guest.offerChain(
        0,
        [0, 1],
        [
          { address: readable, length: 528, flags: READ },
          { address: status, length: 1, flags: WRITE },
        ],
      );
    };
    guest.enableRing(0, false);
    rig.pump();
    offer(0);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([undefined, 0xee]);
    guest.enableRing(0, true);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([{ head: 0, length: 1 }, 0]);
    guest.enableRing(0, false);
    rig.pump();
    offer(1);
    rig.pump();
    const base = await guest.stopRing(0);
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([undefined, 0xee]);
    guest.restartRing(0, base);
    guest.enableRing(0, true);
    rig.pump();
    expect([guest.takeUsed(0), guest.bytes[ARENA + 528]]).toEqual([{ head: 0, length: 1 }, 0]);
    rig.close();
  }
});

test("a flush fails when what was answered before cannot be made durable any more, though the sync itself was right", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  Object.defineProperty(rig.device, "syncError", { value: 5 });
  expect(statusOf(rig.request(head(4, 0), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_IOERR);
  rig.close();
});

test("a driver that can switch the cache but not flush it begins without one", async () => {
  const rig = rigs.make(false, FEATURES & ~(1n << 9n));
  await rig.guest.start();
  const data = new Uint8Array(512).fill(1);
  expect(statusOf(rig.request(head(1, 0, data), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
  expect(rig.device.flushCount).toBe(1);
  rig.close();
});

test("a driver without a cache is answered when its writes are durable; the cache can be switched off", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  const data = new Uint8Array(512).fill(1);
  const flushesOf = (): number => {
    const before = rig.device.flushCount;
    expect(statusOf(rig.request(head(1, 0, data), 1, [9000]))).toBe(blk.VIRTIO_BLK_S_OK);
    return rig.device.flushCount - before;
  };
  expect(flushesOf()).toBe(0);
  const config = (offset: number, value: number): Promise<bigint> =>
    rig.guest.acknowledged(wire.VHOST_USER_SET_CONFIG, {
      kind: "config",
      offset,
      flags: 0,
      bytes: Uint8Array.of(value),
    });
  expect(await config(blk.BLK_CONFIG_WRITEBACK, 2)).toBe(1n);
  expect(await config(0, 1)).toBe(1n);
  expect(flushesOf()).toBe(0);
  expect(await config(blk.BLK_CONFIG_WRITEBACK, 0)).toBe(0n);
  expect(flushesOf()).toBe(1);
  rig.close();
});

test("in a packed ring nothing overtakes a flush: everything is given back in order when it is durable", async () => {
  const rig = rigs.make(false, FEATURES | PACKED);
  await rig.guest.start();
  const { guest } = rig;
  const status = 1 << 16;
  guest.bytes.set(head(4, 0), ARENA);
  guest.bytes.set(head(0, 0), ARENA + 16);
  guest.bytes.fill(0xee, ARENA + status, ARENA + status + 64);
  const at = (offset: number): number => FRONT_END_GUEST_BASE + ARENA + offset;
  const chain = (id: number, from: number, length: number): void =>
    guest.offerChain(
      0,
      [id],
      [
        { address: at(from), length: 16, flags: READ },
        ...(length === 0 ? [] : [{ address: at(4096), length, flags: WRITE }]),
        { address: at(status + id), length: 1, flags: WRITE },
      ],
    );
  chain(0, 0, 0);
  rig.turn();
  // Two places for the flush, three for each read: the ring of 64 is full.
  for (let id = 1; id <= 20; id++) {
    chain(id, 16, 512);
    rig.turn();
  }
  expect(guest.takeUsed(0)).toBeUndefined();
  expect([guest.bytes[ARENA + status], guest.bytes[ARENA + status + 20]]).toEqual([0xee, 0]);
  rig.pump();
  for (let id = 0; id <= 20; id++)
    expect(guest.takeUsed(0)).toEqual({ head: id, length: id === 0 ? 1 : 513 });
  expect(guest.bytes[ARENA + status]).toBe(blk.VIRTIO_BLK_S_OK);
  rig.close();
});

test("each ring that its driver breaks is told of, also when it was started anew in between", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  const { guest } = rig;
  const errors = [createEventfd(), createEventfd()];
  errors.forEach((fd, index) => {
    guest.send(wire.VHOST_USER_SET_VRING_ERR, { kind: "u64", value: BigInt(index) }, [fd]);
  });
  for (const index of [0, 1, 1]) {
    guest.view.setUint16(guest.availableAt(index) + 2, 1000, true);
    rig.pump();
    expect(errors.map((fd) => drainEventfd(fd))).toEqual(errors.map((_, i) => i === index));
    guest.view.setUint16(guest.availableAt(index) + 2, 0, true);
    guest.restartRing(index, await guest.stopRing(index));
    rig.pump();
  }
  for (const fd of errors) closeFile(fd);
  rig.close();
});

test("a driver without a descriptor to kick is looked at all the time", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  expect(rig.server.beginSleep()).toBe(true);
  rig.guest.send(wire.VHOST_USER_SET_VRING_KICK, { kind: "u64", value: 0x100n });
  rig.pump();
  expect(rig.server.beginSleep()).toBe(false);
  expect(rig.server.beginSleep()).toBe(false);
  rig.close();
});

test("a ring is stopped only when what it waits for is durable, and a late sync disturbs nobody", async () => {
  const rig = rigs.make();
  await rig.guest.start();
  const { guest } = rig;
  guest.bytes.set(head(4, 0), ARENA);
  const chain = [
    { address: FRONT_END_GUEST_BASE + ARENA, length: 16, flags: READ },
    { address: FRONT_END_GUEST_BASE + ARENA + 16, length: 1, flags: WRITE },
  ];
  guest.bytes[ARENA + 16] = 0xee;
  guest.offerChain(0, [0, 1], chain);
  rig.turn();
  expect([rig.waiting.length, guest.bytes[ARENA + 16]]).toEqual([1, 0xee]);
  const late = rig.waiting.splice(0);
  const flushes = rig.device.flushCount;
  expect(await guest.stopRing(0)).toBe(1);
  expect([rig.device.flushCount, guest.bytes[ARENA + 16]]).toEqual([flushes + 1, blk.VIRTIO_BLK_S_OK]);
  guest.bytes[ARENA + 16] = 0xee;
  for (const [waiter, tag] of late) waiter.flushed(tag, 0);
  expect(guest.bytes[ARENA + 16]).toBe(0xee);
  rig.close();
});
