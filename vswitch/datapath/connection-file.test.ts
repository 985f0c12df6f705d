import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { MemoryPort, PacketPool } from "../../base/packet/index.js";
import { type Conntrack, expiryAt, stateAt, tupleAt } from "../conntrack/index.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import { mapConnectionFile, tryConnectionFile } from "./connection-file.js";
import { Datapath } from "./datapath.js";

const CAPACITY = 1024;
let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/plc-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A life of the switch: its connections stand in the file; nothing is closed at its end, as after SIGKILL. */
function live(startMs: number, capacity = CAPACITY) {
  const file = mapConnectionFile(join(dir, "connections"), capacity);
  const shiftMs = file.claim(startMs);
  const pool = new PacketPool({ slots: 64 });
  const datapath = new Datapath({
    pool,
    connectionsMax: capacity,
    connectionMemory: file.memory,
    onEvents: () => {},
  });
  const restored = shiftMs === undefined ? -1 : datapath.conntrack.restore(startMs, shiftMs);
  const bridge = datapath.addBridge("br0");
  const ports = [1, 2].map((ofport) => {
    const port = new MemoryPort({ name: `p${ofport}`, pool });
    bridge.addPort({ port, ofport, mac: Uint8Array.of(2, 0, 0, 0, 0, ofport), mtu: 1500, nowMs: startMs });
    return port;
  });
  const ct = { type: "ct", force: false, zone: 3, alg: 0, actions: [] } as const;
  const ip = field("eth_type", 0x0800);
  const flows = [
    flowMod({ match: match(ip), instructions: [apply({ ...ct, commit: false, tableId: 1 })] }),
    flowMod({
      tableId: 1,
      match: match(ip, field("in_port", 1), field("ct_state", 0x21, 0x21)),
      instructions: [apply({ ...ct, commit: true }, output(2))],
    }),
    flowMod({
      tableId: 1,
      match: match(ip, field("ct_state", 0x22, 0x22)),
      instructions: [apply(output(1))],
    }),
  ];
  for (const flow of flows) bridge.change(flow, startMs);
  return {
    restored,
    conntrack: datapath.conntrack,
    /** Whether a frame into a port comes out of the other. */
    passes(port: number, frame: Uint8Array, nowMs: number): boolean {
      ports[port - 1]!.inject(frame);
      while (datapath.breathe(nowMs) > 0);
      return ports[2 - port]!.takeSent().length > 0;
    },
  };
}

const ends = (n: number) => ({
  source: `10.0.${n >> 8}.${n & 255}`,
  destination: "10.1.0.1",
  sourcePort: 1000,
  destinationPort: 80,
});
const back = (n: number) => {
  const { source, destination, sourcePort, destinationPort } = ends(n);
  return {
    source: destination,
    destination: source,
    sourcePort: destinationPort,
    destinationPort: sourcePort,
  };
};
const nothing = new Uint8Array(0);

it("connections are there after the next start, with the time that was left to them", () => {
  const first = live(1000);
  expect(first.restored).toBe(-1);
  for (let n = 1; n <= 300; n++) {
    expect(first.passes(1, tcpFrame(ends(n), 2, nothing, { sequence: 1 }), 1000)).toBe(true);
    if (n <= 200) first.passes(2, tcpFrame(back(n), 0x12, nothing, { sequence: 9, acknowledgment: 2 }), 1000);
  }
  const lines = (one: { conntrack: Conntrack }, nowMs: number) =>
    one.conntrack
      .connections(nowMs)
      .map(({ expiresInMs, ...rest }) => JSON.stringify({ ...rest, expires: Math.round(expiresInMs / 5000) }))
      .sort();
  const before = lines(first, 1000);
  const second = live(50);
  expect(second.restored).toBe(300);
  expect(lines(second, 50)).toEqual(before);
  expect(second.passes(2, tcpFrame(back(7), 0x10, nothing, { sequence: 10, acknowledgment: 2 }), 60)).toBe(
    true,
  );
  // What is over is over for the next life too.
  second.conntrack.sweep(50 + 40_000);
  expect(second.conntrack.size).toBeLessThan(300);
  expect(live(70).restored).toBe(second.conntrack.size);
  second.conntrack.flush({}, 70);
  expect(live(70).restored).toBe(0);
});

it("a file of another size, of another make, or with slots that cannot be, gives what is sound and no more", () => {
  const first = live(1000);
  for (let n = 1; n <= 3; n++) first.passes(1, tcpFrame(ends(n), 2, nothing, { sequence: 1 }), 1000);
  const { memory, claim } = mapConnectionFile(join(dir, "connections"), CAPACITY);
  claim(1000);
  const slots = Array.from({ length: CAPACITY }, (_, slot) => slot);
  const [a, b] = slots.filter((slot) => memory.bytes[stateAt(slot)] !== 0) as [number, number];
  memory.words.copyWithin(tupleAt(b * 2), tupleAt(a * 2), tupleAt(a * 2) + 32);
  const free = slots.findIndex((slot) => memory.bytes[stateAt(slot)] === 0);
  memory.bytes[stateAt(free)] = 200;
  memory.times[expiryAt(free)] = 1e12;
  expect(live(1000).restored).toBe(2);
  expect(live(1000, 2 * CAPACITY).restored).toBe(-1);
  expect(live(1000, 2 * CAPACITY).restored).toBe(0);
  writeFileSync(join(dir, "connections"), "precious?");
  expect(live(1000).restored).toBe(-1);
  expect(statSync(join(dir, "connections")).mode & 0o777).toBe(0o600);
});

it("a place where no file can be is told of", () => {
  const { problem } = tryConnectionFile(join(dir, "none", "connections"), CAPACITY) as { problem: Error };
  expect(problem.message).toContain("ENOENT");
});
