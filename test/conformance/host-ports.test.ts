// A TAP port and a port over the very device that it made: what one sends comes in at the other.
import { afterEach, describe, expect, it } from "vitest";
import { duplicateFile } from "../../base/linux/index.js";
import {
  arenaSizeOf,
  Batch,
  type HandedPort,
  HEADROOM,
  NET_HEADER_SIZE,
  PacketPool,
  type Port,
  RX_BYTES,
  RX_PACKETS,
  readNetHeader,
  TX_BYTES,
  TX_PACKETS,
} from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { checksum } from "../../base/wire/index.js";
import { SystemPort, TapPort } from "../../vswitch/port/index.js";
import { tcpFrame } from "../../vswitch/testing/frames.js";
import { needsRoot } from "../support/needs.js";

const ENDS = { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1, destinationPort: 2 };
const ETHERTYPE_OURS = 0x88b5;
const L4 = 34;
const SEGMENT_SIZE = 1400;
const window = new GuestWindow(64 << 20);
const arenaOffset = window.reserveAnonymous(arenaSizeOf(256, 128));
const pool = new PacketPool({ slots: 256, largeSlots: 128, arena: window.bytes, arenaOffset });
const setting = process.env["PLINTH_IO_URING"];

afterEach(() => {
  if (setting === undefined) delete process.env["PLINTH_IO_URING"];
  else process.env["PLINTH_IO_URING"] = setting;
});

function frameOf(size: number): Uint8Array {
  const frame = new Uint8Array(size).map((_, i) => (i * 7) % 256);
  frame.set([0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, ETHERTYPE_OURS >>> 8, ETHERTYPE_OURS & 255]);
  return frame;
}

/** A packet whose segments are still to be cut. */
function uncut(size: number): number {
  const packet = pool.allocateFrom(tcpFrame(ENDS, 0x10, new Uint8Array(size).fill(5), {}));
  const at = (pool.offset[packet] as number) - NET_HEADER_SIZE;
  pool.bytes.set([1, 1, 0, 0, SEGMENT_SIZE & 255, SEGMENT_SIZE >>> 8, L4, 0, 16, 0], at);
  expect(readNetHeader(pool, packet, at)).toBe(true);
  return packet;
}

/** What comes in at `port` of ours, until there are `count`: frame, headroom, segment size. The host's own is passed over. */
async function take(port: Port, count: number): Promise<{ frame: Uint8Array; segmentSize: number }[]> {
  const batch = new Batch(4);
  const got: { frame: Uint8Array; segmentSize: number }[] = [];
  await waitFor(
    () => {
      port.tick(performance.now());
      port.rx(batch);
      for (let i = 0; i < batch.length; i++) {
        const packet = batch.packets[i] as number;
        const frame = pool.frame(packet);
        const type = ((frame[12] as number) << 8) | (frame[13] as number);
        expect(pool.headroom(packet)).toBe(HEADROOM);
        const segmentSize = pool.checksumStart[packet] === 0 ? 0 : (pool.segmentSize[packet] as number);
        if (type === ETHERTYPE_OURS || type === 0x0800) got.push({ frame, segmentSize });
      }
      batch.freeAll(pool);
      return got.length >= count;
    },
    `${count} frames`,
    5000,
  );
  return got;
}

describe.each([
  ["io_uring", "1"],
  ["reads", "0"],
])("a TAP port that uses %s", needsRoot, (_, isOn) => {
  it("and one over its device carry frames of every size both ways, uncut ones too, and lose no packet", async () => {
    const name = `pl${process.pid % 100000}`;
    process.env["PLINTH_IO_URING"] = isOn;
    const tap = new TapPort({ name, pool, mtu: 9000, mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
    const device = new SystemPort({ name, pool, window });
    try {
      const batch = new Batch();
      for (const [from, to] of [
        [tap, device],
        [device, tap],
      ] as const) {
        const frames = [60, 64, 1000, 1514, 5000, 9014].map(frameOf);
        for (const frame of frames) batch.push(pool.allocateFrom(frame));
        const large = uncut(40_000);
        batch.push(large);
        const whole = pool.frame(large);
        from.tx(batch);
        const got = await take(to, frames.length + 1);
        expect(got.slice(0, -1).map(({ frame }) => frame)).toEqual(frames);
        const last = got.at(-1);
        expect([last?.segmentSize, last?.frame.byteLength]).toEqual([SEGMENT_SIZE, whole.byteLength]);
        expect(last?.frame.subarray(54)).toEqual(whole.subarray(54));
        const sent = frames.reduce((sum, { byteLength }) => sum + byteLength, whole.byteLength);
        expect([from.stats[TX_PACKETS], from.stats[TX_BYTES]]).toEqual([7, sent]);
        expect(to.stats[RX_PACKETS]).toBeGreaterThanOrEqual(7);
        expect(to.stats[RX_BYTES]).toBeGreaterThanOrEqual(sent);
      }
    } finally {
      device.close();
      tap.close();
    }
    expect(pool.available).toBe(256);
    expect(pool.availableLarge).toBe(128);
  });

  it("and one over its device give segments that follow each other to the host as one", async () => {
    const name = `pg${process.pid % 100000}`;
    process.env["PLINTH_IO_URING"] = isOn;
    const tap = new TapPort({ name, pool, mtu: 1500 });
    const device = new SystemPort({ name, pool, window });
    try {
      const batch = new Batch();
      for (const [from, to] of [
        [tap, device],
        [device, tap],
      ] as const) {
        for (let i = 0; i < 20; i++) {
          const more = { sequence: 1000 + i * SEGMENT_SIZE };
          const frame = tcpFrame(ENDS, 0x10, new Uint8Array(SEGMENT_SIZE).fill(i), more);
          frame.set([0, i, 0, 0, frame[22] as number, frame[23] as number, 0, 0], 18);
          new DataView(frame.buffer).setUint16(24, checksum(frame, 14, 20));
          batch.push(pool.allocateFrom(frame));
        }
        from.tx(batch);
        const [whole] = await take(to, 1);
        expect([whole?.segmentSize, whole?.frame.byteLength]).toEqual([SEGMENT_SIZE, 54 + 20 * SEGMENT_SIZE]);
        for (let i = 0; i < 20; i++) expect(whole?.frame[54 + i * SEGMENT_SIZE]).toBe(i);
        expect(from.stats[TX_PACKETS]).toBe(1);
      }
    } finally {
      device.close();
      tap.close();
    }
    expect([pool.available, pool.availableLarge]).toEqual([256, 128]);
  });

  it("and one over its device go to another process with every frame that was not taken yet", async () => {
    const name = `ph${process.pid % 100000}`;
    process.env["PLINTH_IO_URING"] = isOn;
    let tap = new TapPort({ name, pool, mtu: 9000, mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
    let device = new SystemPort({ name, pool, window });
    const batch = new Batch();
    const frames = Array.from({ length: 20 }, (_, i) => frameOf(100 + i));
    const give = (port: Port): void => {
      for (const frame of frames) batch.push(pool.allocateFrom(frame));
      port.tx(batch);
    };
    try {
      give(tap);
      const first = await take(device, 4);
      const handedDevice = device.handOver() as HandedPort;
      const nextDevice = new SystemPort({ name, pool, window, handed: copyOf(handedDevice) });
      device.close();
      device = nextDevice;
      const rest = await take(device, frames.length - first.length);
      expect([...first, ...rest].map(({ frame }) => frame)).toEqual(frames);

      give(device);
      const early = await take(tap, 3);
      // What the kernel has given already comes out before it stops.
      for (let stopped = tap.stop(); !stopped; stopped = tap.stop()) early.push(...(await take(tap, 0)));
      const nextTap = new TapPort({ name, pool, handed: copyOf(tap.handOver() as HandedPort) });
      tap.close();
      tap = nextTap;
      give(device);
      const late = await take(tap, 2 * frames.length - early.length);
      expect([...early, ...late].map(({ frame }) => frame)).toEqual([...frames, ...frames]);
      expect(() => new TapPort({ name, pool, queues: 2, handed: { state: {}, fds: [0] } })).toThrow("fds");
    } finally {
      device.close();
      tap.close();
    }
    expect(pool.available).toBe(256);
    expect(pool.availableLarge).toBe(128);
  });
});

/** As another process gets it. */
function copyOf({ state, fds }: HandedPort): HandedPort {
  return { state: JSON.parse(JSON.stringify(state)), fds: fds.map(duplicateFile) };
}
