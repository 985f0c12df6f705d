// What guests leave undone, checksums and cutting, between guests that take it and guests that do not.
import { mkdtempSync, rmSync } from "node:fs";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it } from "vitest";
import { OFPP_NORMAL } from "../../base/openflow/index.js";
import { arenaSizeOf, FRAME_SIZE_MAX, PacketPool, RX_ERRORS } from "../../base/packet/index.js";
import {
  GuestWindow,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_USO,
} from "../../base/virtio/index.js";
import { addToSum, finishSum } from "../../base/wire/index.js";
import { Datapath } from "../datapath/index.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, flowMod, output } from "../testing/rig.js";
import { acceptGuest, type FakeGuest, MERGEABLE, PACKED } from "./fake-guest.js";
import { VhostUserPort } from "./vhost-user-port.js";

const SLOTS = 512;
const LARGE_SLOTS = 16;
const L4 = 34;
const HEADERS = 54;
const SEGMENT_SIZE = 1448;
const bits = (...numbers: readonly number[]): bigint =>
  numbers.reduce((sum, n) => sum | (1n << BigInt(n)), 0n);
const SENDS = bits(VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_USO);
const TAKES = bits(VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4);
const ENDS = { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000, destinationPort: 2000 };

let dir = "";
let window: GuestWindow;
let pool: PacketPool;
let datapath: Datapath;
let ports: VhostUserPort[] = [];
let guests: FakeGuest[] = [];
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow(256 << 20);
  const arenaOffset = window.reserveAnonymous(arenaSizeOf(SLOTS, LARGE_SLOTS));
  pool = new PacketPool({ slots: SLOTS, largeSlots: LARGE_SLOTS, arena: window.bytes, arenaOffset });
  datapath = new Datapath({ pool, onEvents: () => undefined });
});
afterEach(() => {
  datapath.close();
  for (const guest of guests) guest.close();
  ports = [];
  guests = [];
  window.close();
  rmSync(dir, { recursive: true });
});

const pump = (): void => {
  datapath.tick(performance.now());
  while (datapath.breathe(performance.now()) > 0);
};

/** Guests on one bridge that floods; port numbers from 1. */
async function connect(...features: readonly bigint[]): Promise<void> {
  const bridge = datapath.addBridge("br0");
  for (const [i, wanted] of features.entries()) {
    const path = `${dir}/${i}`;
    const port = new VhostUserPort({ name: `p${i}`, pool, window, path, role: "dial" });
    const mac = Uint8Array.of(2, 0, 0, 0, 0, i + 1);
    bridge.addPort({ port, ofport: i + 1, mac, mtu: 1500, nowMs: 0 });
    const guest = await acceptGuest(path, pump, { features: wanted });
    await guest.start();
    while (!port.linkUp) pump();
    ports.push(port);
    guests.push(guest);
  }
  bridge.change(flowMod({ instructions: [apply(output(OFPP_NORMAL))] }), 0);
}

function tcp(size: number): Uint8Array {
  const frame = tcpFrame(
    ENDS,
    0x18,
    new Uint8Array(size).map((_, i) => i % 251),
    { sequence: 7 },
  );
  frame.set([0xde, 0xad], L4 + 16);
  return frame;
}

function header(of: {
  flags?: number;
  type?: number;
  size?: number;
  start?: number;
  offset?: number;
}): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = of.flags ?? 1;
  bytes[1] = of.type ?? 0;
  bytes.writeUInt16LE(of.size ?? 0, 4);
  bytes.writeUInt16LE(of.start ?? L4, 6);
  bytes.writeUInt16LE(of.offset ?? 16, 8);
  return bytes;
}

/** The sum over pseudo header and segment: 0 when the checksum is right. */
function residue(frame: Uint8Array): number {
  const length = frame.byteLength - L4;
  return finishSum(addToSum(frame, L4, length, addToSum(frame, 26, 8, 6 + length)));
}

const PAYLOAD = 40_000;

it.each([
  ["split", 0n],
  ["packed", PACKED],
])(
  "a large TCP packet goes whole to a guest that takes it, cut to one that does not; %s rings",
  async (_name, more) => {
    await connect(MERGEABLE | SENDS | more, MERGEABLE | TAKES | more, MERGEABLE | more);
    const [sender, taker, plain] = guests as [FakeGuest, FakeGuest, FakeGuest];
    const frame = tcp(PAYLOAD);
    await sender.send(frame, pump, 0, header({ type: 1, size: SEGMENT_SIZE }));
    pump();
    const [whole] = taker.receiveWithHeaders();
    expect(Array.from(whole!.header.subarray(0, 2))).toEqual([1, 1]);
    expect([2, 4, 6, 8].map((at) => whole!.header.readUInt16LE(at))).toEqual([HEADERS, SEGMENT_SIZE, L4, 16]);
    expect(whole!.frame.slice(HEADERS)).toEqual(frame.slice(HEADERS));
    // The field holds the sum of the pseudo header, so that summing the segment completes it.
    const pseudo = finishSum(addToSum(frame, 26, 8, 6 + frame.byteLength - L4));
    expect((whole!.frame[L4 + 16]! << 8) | whole!.frame[L4 + 17]!).toBe(~pseudo & 0xffff);
    const pieces = plain.receiveWithHeaders();
    expect(pieces).toHaveLength(Math.ceil(PAYLOAD / SEGMENT_SIZE));
    for (const piece of pieces) {
      expect(piece.header.subarray(0, 10).every((byte) => byte === 0)).toBe(true);
      expect(residue(piece.frame)).toBe(0);
    }
    expect(Buffer.concat(pieces.map((piece) => piece.frame.subarray(HEADERS)))).toEqual(
      Buffer.from(frame.subarray(HEADERS)),
    );
    expect(ports.map((port) => port.stats[RX_ERRORS])).toEqual([0, 0, 0]);
    expect(pool.available).toBe(SLOTS);
  },
);

it("an open checksum stays open for a guest that takes it", async () => {
  await connect(MERGEABLE | SENDS, MERGEABLE | TAKES);
  await guests[0]!.send(tcp(100), pump, 0, header({}));
  pump();
  const [open] = guests[1]!.receiveWithHeaders();
  expect(open!.header[0]).toBe(1);
  expect(open!.header.readUInt16LE(6)).toBe(L4);
});

it("an open checksum is completed for a guest that does not take it", async () => {
  await connect(MERGEABLE | SENDS, MERGEABLE);
  await guests[0]!.send(tcp(100), pump, 0, header({}));
  pump();
  const [complete] = guests[1]!.receiveWithHeaders();
  expect(complete!.header[0]).toBe(0);
  expect(residue(complete!.frame)).toBe(0);
});

it("a header without the feature is not looked at, and none makes a frame longer", async () => {
  await connect(MERGEABLE, MERGEABLE | TAKES);
  await guests[0]!.send(tcp(100), pump, 0, header({ type: 1, size: 10 }));
  await guests[0]!.send(tcp(FRAME_SIZE_MAX), pump, 0, header({ type: 1, size: 1000 }));
  pump();
  const received = guests[1]!.receiveWithHeaders();
  expect(received.map(({ header: [flags], frame }) => [flags, frame.byteLength])).toEqual([
    [0, HEADERS + 100],
  ]);
  expect(ports[0]!.stats[RX_ERRORS]).toBe(1);
});

it("without room for large packets they are dropped and counted, and all room comes back", async () => {
  await connect(MERGEABLE | SENDS, MERGEABLE);
  const held = Array.from({ length: LARGE_SLOTS }, () => pool.allocateLarge());
  await guests[0]!.send(tcp(PAYLOAD), pump, 0, header({ type: 1, size: SEGMENT_SIZE }));
  pump();
  expect(guests[1]!.receive()).toEqual([]);
  expect(ports[0]!.stats[4]).toBe(1);
  for (const packet of held) pool.free(packet);
  await guests[0]!.send(tcp(PAYLOAD), pump, 0, header({ type: 1, size: SEGMENT_SIZE }));
  pump();
  expect(guests[1]!.receive()).toHaveLength(Math.ceil(PAYLOAD / SEGMENT_SIZE));
});

const value = fc.oneof(fc.nat(80), fc.nat(0xffff));

it("whatever a header says of whatever frame, it goes on or is counted, and others' frames go on", async () => {
  await connect(MERGEABLE | SENDS, MERGEABLE | TAKES, MERGEABLE);
  const [sender, taker, plain] = guests as [FakeGuest, FakeGuest, FakeGuest];
  const marker = tcp(10);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.nat(255), fc.constant(1)),
      fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 5, 0x81)),
      value,
      value,
      value,
      fc.integer({ min: 0, max: 60_000 }),
      fc.uint8Array({ maxLength: 60 }),
      async (flags, type, size, start, offset, payload, garbage) => {
        const frame = tcp(payload);
        frame.set(garbage, 12);
        await sender.send(frame, pump, 0, header({ flags, type, size, start, offset }));
        pump();
        taker.receive();
        plain.receive();
        await sender.send(marker, pump);
        pump();
        expect(taker.receive()).toEqual([marker]);
        expect(plain.receive()).toEqual([marker]);
        expect(pool.available).toBe(SLOTS);
      },
    ),
    { numRuns: 150 },
  );
});
