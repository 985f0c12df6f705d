// Guests whose volume's pool is opened anew wait meanwhile, whoever they are.
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Epoll, sysConnectUnix } from "../../base/linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { NbdExport } from "../nbd/nbd-export.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { ARENA, BlkRig, FEATURES, head, PACKED, READ, SIZE, statusOf, WRITE } from "./blk-rig.js";
import * as blk from "./virtio-blk-wire.js";

let dir: string;
let epoll: Epoll;
beforeEach(() => {
  dir = mkdtempSync("/tmp/blk-");
  epoll = new Epoll();
});
afterEach(() => {
  epoll.close();
  rmSync(dir, { recursive: true });
});

const rigOf = (readOnly = false, features = FEATURES): BlkRig => new BlkRig(dir, epoll, readOnly, features);

/** Offers a request of one sector; whether it is answered shows in takeUsed(). */
function offerSector(guest: FakeFrontEnd, type: number, sector: number, fill: number): void {
  guest.bytes.set(head(type, sector, new Uint8Array(512).fill(fill)), ARENA);
  const at = FRONT_END_GUEST_BASE + ARENA;
  const data = type === blk.VIRTIO_BLK_T_OUT ? READ : WRITE;
  const buffers = [[16, READ] as const, [512, data] as const, [1, WRITE] as const];
  let offset = 0;
  const chain = buffers.map(([length, flags]) => {
    offset += length;
    return { address: at + offset - length, length, flags };
  });
  guest.bytes[ARENA + 528] = 0xee;
  guest.offerChain(0, [0, 1, 2], chain);
}

/** As when its pool was opened anew: a device with the same content. */
function deviceAnew({ device }: BlkRig, sizeBytes = SIZE): MemoryDevice {
  const anew = new MemoryDevice(sizeBytes);
  const content = new DataBuffer(SIZE);
  device.read(content, 0, 0, SIZE);
  anew.stageWrite(content, 0, 0, SIZE);
  return anew;
}

function byteAt(device: MemoryDevice, offset: number): number | undefined {
  const byte = new DataBuffer(1);
  device.read(byte, 0, offset, 1);
  return byte.bytes[0];
}

test("while a volume is opened anew requests stay in the rings, flushes taken before are answered, and all goes on with the new one", async () => {
  for (const features of [FEATURES, FEATURES | PACKED]) {
    const rig = rigOf(false, features);
    await rig.guest.start();
    const { guest, server } = rig;
    const write = head(blk.VIRTIO_BLK_T_OUT, 3, new Uint8Array(512).fill(7));
    expect(statusOf(rig.request(write, 1, [512]))).toBe(blk.VIRTIO_BLK_S_OK);
    // A flush is under way.
    guest.bytes.set(head(blk.VIRTIO_BLK_T_FLUSH, 0), ARENA);
    const at = FRONT_END_GUEST_BASE + ARENA;
    guest.bytes[ARENA + 16] = 0xee;
    guest.offerChain(
      0,
      [0, 1],
      [
        { address: at, length: 16, flags: READ },
        { address: at + 16, length: 1, flags: WRITE },
      ],
    );
    const count = epoll.wait(0);
    for (let i = 0; i < count; i++) server.onReady(epoll.fds[i] as number);
    while (server.breath());
    const late = rig.waiting.splice(0);
    expect([late.length, guest.bytes[ARENA + 16]]).toEqual([1, 0xee]);
    server.park(rig.device);
    expect(guest.bytes[ARENA + 16]).toBe(blk.VIRTIO_BLK_S_OK);
    expect(guest.takeUsed(0)).toMatchObject({ head: 0 });
    for (const [waiter, tag] of late) waiter.flushed(tag, 0);
    // Nothing reaches the device that is closed, and nothing spins.
    rig.target = undefined;
    offerSector(guest, blk.VIRTIO_BLK_T_IN, 3, 0);
    const flushes = rig.device.flushCount;
    rig.pump();
    expect([server.breath(), server.beginSleep(), guest.bytes[ARENA + 528]]).toEqual([false, true, 0xee]);
    expect(guest.takeUsed(0)).toBeUndefined();
    const anew = deviceAnew(rig, 2 * SIZE);
    rig.device.stageUnmap(0, SIZE);
    rig.target = new NbdExport("shop/db", "", anew, false);
    server.unpark();
    rig.pump();
    expect(guest.takeUsed(0)).toMatchObject({ head: 0 });
    expect([guest.bytes[ARENA + 528], guest.bytes[ARENA + 16]]).toEqual([blk.VIRTIO_BLK_S_OK, 7]);
    // It is larger now, which the guest may use.
    offerSector(guest, blk.VIRTIO_BLK_T_OUT, (2 * SIZE) / 512 - 1, 9);
    rig.pump();
    expect([guest.takeUsed(0)?.head, byteAt(anew, 2 * SIZE - 1)]).toEqual([0, 9]);
    expect([rig.device.flushCount, server.connectionCount, server.refusedCount]).toEqual([flushes, 1, 0]);
    rig.close();
  }
});

test("a guest that leaves while its volume is opened anew takes nothing along, and the next one waits at the socket", async () => {
  const rig = rigOf();
  await rig.guest.start();
  const { server } = rig;
  server.park(rig.device);
  rig.target = undefined;
  offerSector(rig.guest, blk.VIRTIO_BLK_T_OUT, 0, 1);
  rig.guest.close();
  rig.pump();
  expect(server.connectionCount).toBe(0);
  const anew = deviceAnew(rig);
  const fd = sysConnectUnix(`${dir}/s`);
  rig.pump();
  expect([server.connectionCount, server.refusedCount]).toEqual([0, 0]);
  rig.target = new NbdExport("shop/db", "", anew, false);
  server.unpark();
  const next = new FakeFrontEnd({
    fd,
    ringCount: 2,
    ringSize: 64,
    features: FEATURES,
    pump: () => rig.pump(),
  });
  await next.start();
  offerSector(next, blk.VIRTIO_BLK_T_OUT, 1, 5);
  rig.pump();
  expect([next.takeUsed(0)?.head, byteAt(anew, 0), byteAt(anew, 512)]).toEqual([0, 0, 5]);
  next.close();
  rig.close();
});

test("a guest whose volume is not there any more afterwards, or only to be read, is cut off", async () => {
  for (const readOnly of [undefined, true, false]) {
    const rig = rigOf();
    await rig.guest.start();
    rig.server.park(rig.device);
    rig.target = readOnly === undefined ? undefined : new NbdExport("shop/db", "", rig.device, readOnly);
    rig.server.unpark();
    expect(rig.server.connectionCount).toBe(readOnly === false ? 1 : 0);
    // What waits when all ends is no hindrance.
    rig.server.park(rig.device);
    rig.close();
  }
});
