// Packets whose checksum and cutting were left to hardware, on their way to ports that have such hardware or have not.
import { describe, expect, it } from "vitest";
import { type Action, OFPP_CONTROLLER } from "../../base/openflow/index.js";
import {
  type Batch,
  MemoryPort,
  NET_HEADER_SIZE,
  OFFLOAD_ALL,
  type PacketPool,
  readNetHeader,
} from "../../base/packet/index.js";
import { checksum, parseIpv4, parseTcp } from "../../base/wire/index.js";
import { TRUNK_ALL } from "../learn/index.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";

const ENDS = { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000, destinationPort: 2000 };
const NEW_SOURCE = 0x0a000063;
const L4 = 34;
const SEGMENT_SIZE = 1000;

/** Takes packets undone and keeps what the pool says of them. */
class OffloadingPort extends MemoryPort {
  readonly offloads: number;
  readonly seen: { open: boolean; segmentSize: number; length: number }[] = [];
  readonly #arena: PacketPool;
  readonly #frames: { frame: Uint8Array; segmentSize: number }[] = [];

  constructor(name: string, pool: PacketPool, offloads = OFFLOAD_ALL) {
    super({ name, pool });
    this.#arena = pool;
    this.offloads = offloads;
    pool.holdsOffloads = true;
  }

  /** A TCP frame whose checksum field holds nothing useful. */
  injectOpen(frame: Uint8Array, segmentSize: number): void {
    this.#frames.push({ frame, segmentSize });
  }

  override rx(batch: Batch): number {
    const pool = this.#arena;
    for (const { frame, segmentSize } of this.#frames) {
      const packet = pool.allocateFrom(frame);
      const at = (pool.offset[packet] as number) - NET_HEADER_SIZE;
      const header = [1, segmentSize === 0 ? 0 : 1, 0, 0, segmentSize & 255, segmentSize >>> 8, L4, 0, 16, 0];
      pool.bytes.set(header, at);
      expect(readNetHeader(pool, packet, at)).toBe(true);
      batch.push(packet);
    }
    return this.#frames.splice(0).length;
  }

  override tx(batch: Batch): void {
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      const open = this.#arena.checksumStart[packet] !== 0;
      const segmentSize = open ? (this.#arena.segmentSize[packet] as number) : 0;
      this.seen.push({ open, segmentSize, length: this.#arena.length[packet] as number });
    }
    super.tx(batch);
  }
}

/** Ports: 1 open, 2 plain, 3 open, 4 with checksums alone. */
class OffloadRig extends Rig {
  readonly sender = this.#add(1, OFFLOAD_ALL);
  readonly receiver = this.#add(3, OFFLOAD_ALL);
  readonly summer = this.#add(4, 1);

  constructor() {
    super(0);
    const port = new MemoryPort({ name: "p2", pool: this.pool });
    this.bridge.addPort({ port, ofport: 2, mac: Uint8Array.of(2, 0, 0, 0, 0, 2), mtu: 1500, nowMs: 1 });
    this.ports.push(port);
  }

  #add(ofport: number, offloads: number): OffloadingPort {
    const port = new OffloadingPort(`p${ofport}`, this.pool, offloads);
    this.bridge.addPort({ port, ofport, mac: Uint8Array.of(2, 0, 0, 0, 0, ofport), mtu: 1500, nowMs: 1 });
    return port;
  }

  run(): void {
    while (this.datapath.breathe(this.nowMs) > 0);
  }
}

function openFrame(size: number): Uint8Array {
  const frame = tcpFrame(
    ENDS,
    0x18,
    new Uint8Array(size).map((_, i) => i % 251),
    { sequence: 7 },
  );
  frame.set([0xde, 0xad], L4 + 16);
  return frame;
}

/** What the frames carry, all of their checksums being right. */
function text(frames: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    frames.map((frame) => {
      expect(checksum(frame, 14, 20)).toBe(0);
      const { payload, source, destination } = parseIpv4(frame.subarray(14));
      return parseTcp(payload, { source, destination }).payload;
    }),
  );
}

describe("A packet left to hardware", () => {
  it("reaches a port that takes it as it is, and every other cut and with its checksums", () => {
    const rig = new OffloadRig();
    rig.flow({ instructions: [apply(output(2), output(3), output(4))] });
    const frame = openFrame(3500);
    rig.sender.injectOpen(frame, SEGMENT_SIZE);
    rig.run();
    const sent = rig.ports[0]!.takeSent();
    expect(sent.map((one) => one.byteLength)).toEqual([1054, 1054, 1054, 554]);
    expect(text(sent)).toEqual(Buffer.from(frame.subarray(54)));
    expect(rig.receiver.seen).toEqual([{ open: true, segmentSize: SEGMENT_SIZE, length: frame.byteLength }]);
    expect(rig.summer.seen).toEqual(
      [1054, 1054, 1054, 554].map((length) => ({ open: true, segmentSize: 0, length })),
    );
    expect(rig.pool.available).toBe(256);
  });

  it("whose addresses are rewritten on the way has right checksums all the same, small or large", () => {
    const rig = new OffloadRig();
    const set: Action = { type: "set_field", ...field("ipv4_src", NEW_SOURCE) };
    rig.flow({ match: match(field("eth_type", 0x0800)), instructions: [apply(set, output(2))] });
    for (const [size, segmentSize] of [
      [10, 0],
      [3500, SEGMENT_SIZE],
    ] as const) {
      rig.sender.injectOpen(openFrame(size), segmentSize);
      rig.run();
      const sent = rig.ports[0]!.takeSent();
      expect(text(sent).byteLength).toBe(size);
      expect(parseIpv4(sent[0]!.subarray(14)).source).toBe(NEW_SOURCE);
    }
  });

  it("is tracked although its checksum is open, and goes to the controller as frames of a wire", () => {
    const rig = new OffloadRig();
    const track: Action = {
      type: "ct",
      commit: false,
      force: false,
      zone: 1,
      tableId: 1,
      alg: 0,
      actions: [],
    };
    rig.flow({ match: match(field("eth_type", 0x0800)), instructions: [apply(track)] });
    rig.flow({
      tableId: 1,
      match: match(field("ct_state", 0x20, 0x10 | 0x20)),
      instructions: [apply({ type: "output", port: OFPP_CONTROLLER, maxLength: 0xffff })],
    });
    const syn = tcpFrame(ENDS, 2, new Uint8Array(0), {});
    syn.set([0xde, 0xad], L4 + 16);
    rig.sender.injectOpen(syn, 0);
    rig.run();
    rig.sender.injectOpen(openFrame(2500), SEGMENT_SIZE);
    rig.run();
    const frames = rig.events.flatMap((event) => (event.type === "packet_in" ? [event.data] : []));
    expect(frames.map((one) => one.byteLength)).toEqual([54, 1054, 1054, 554]);
    expect(text(frames).byteLength).toBe(2500);
  });

  it("fits a link by its segments; one whose segments are too long does not", () => {
    const rig = new OffloadRig();
    const slot = rig.bridge.slot(3)!;
    rig.bridge.setPort(slot, { vlan: TRUNK_ALL, mtu: 1040 }, 1);
    rig.flow({ instructions: [apply(output(3))] });
    rig.sender.injectOpen(openFrame(3000), SEGMENT_SIZE);
    rig.sender.injectOpen(openFrame(3000), SEGMENT_SIZE + 1);
    rig.run();
    expect([rig.receiver.seen.length, slot.txDropped]).toEqual([1, 1]);
  });
});
