// Frames that cross a patch have had their turn where they came in, and are charged there for what they cost behind it.
import { expect, it } from "vitest";
import { type Action, OFPP_IN_PORT } from "../../base/openflow/index.js";
import { MemoryPort, PacketPool, type Port, TX_DROPPED } from "../../base/packet/index.js";
import { PatchPort } from "../port/index.js";
import { numberedFrame, plainFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import type { Bridge } from "./bridge.js";
import { Datapath } from "./datapath.js";
import { BURST_SIZE } from "./limits.js";

const FRAME = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const SENDERS = 8;
const [PATCH, SINK, BACK] = [100, 101, 102];
/** Breaths after which every port has been measured. */
const MEASURED = 512;
const MAC = new Uint8Array(6);

function numberOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(60);
}

/** Many senders on the first bridge, whose frames cross one patch; those of the second bridge's sink come back. */
function joined(clock: { ms: Float64Array; read: () => void }) {
  const pool = new PacketPool({ slots: 4096 });
  const datapath = new Datapath({ pool, clock, onEvents: () => {} });
  const [near, far] = [datapath.addBridge("br0"), datapath.addBridge("br1")];
  const [here, there] = ["here", "there"].map((name) => new PatchPort({ name, pool })) as [
    PatchPort,
    PatchPort,
  ];
  here.connect(there);
  const senders = Array.from({ length: SENDERS }, (_, i) => new GeneratorPort(`p${i}`, pool, [FRAME]));
  const sink = new GeneratorPort("sink", pool, []);
  for (const [i, port] of senders.entries())
    near.addPort({ port, ofport: i + 1, mac: MAC, mtu: 1500, nowMs: 0 });
  near.addPort({ port: here, ofport: PATCH, mac: MAC, mtu: 1500, nowMs: 0 });
  far.addPort({ port: there, ofport: PATCH, mac: MAC, mtu: 1500, nowMs: 0 });
  far.addPort({ port: sink, ofport: SINK, mac: MAC, mtu: 1500, nowMs: 0 });
  near.change(flowMod({ instructions: [apply(output(PATCH))] }), 0);
  far.change(flowMod({ match: match(field("in_port", PATCH)), instructions: [apply(output(SINK))] }), 0);
  return { datapath, near, far, here, there, senders, sink };
}

it("all that came in on one side is on the other in the same breath, however many gave it", () => {
  const { datapath, here, sink } = joined({ ms: Float64Array.of(1), read: () => {} });
  const breaths = 100;
  for (let n = 0; n < breaths; n++) datapath.breathe(0);
  expect(sink.taken).toBe(breaths * SENDERS * BURST_SIZE);
  expect(here.stats[TX_DROPPED]).toBe(0);
});

it("who answers to a frame at once overtakes its copy behind a patch by no other patch", () => {
  const pool = new PacketPool({ slots: 256 });
  const clock = { ms: Float64Array.of(1), read: () => {} };
  const datapath = new Datapath({ pool, clock, onEvents: () => {} });
  const [near, far] = [datapath.addBridge("br0"), datapath.addBridge("br1")];
  const add = (bridge: Bridge, port: Port, ofport: number): void =>
    void bridge.addPort({ port, ofport, mac: MAC, mtu: 1500, nowMs: 0 });
  const [asker, answerer, sink] = ["asker", "answerer", "sink"].map(
    (name) => new MemoryPort({ name, pool }),
  ) as [MemoryPort, MemoryPort, MemoryPort];
  const witness = new MemoryPort({ name: "witness", pool });
  const tx = witness.tx.bind(witness);
  witness.tx = (batch) => {
    tx(batch);
    for (const frame of witness.sent.splice(0)) answerer.inject(numberedFrame(numberOf(frame) + 1));
  };
  const [patches, ends] = ["near", "far"].map((side) =>
    [10, 11].map((n) => new PatchPort({ name: `${side}${n}`, pool })),
  );
  const to = (inPort: number, ...ports: number[]) =>
    flowMod({
      match: match(field("in_port", inPort)),
      instructions: [apply(...ports.map((port) => output(port)))],
    });
  for (const [i, port] of [asker, witness, answerer].entries()) add(near, port, i + 1);
  for (const [i, patch] of (patches as PatchPort[]).entries()) {
    patch.connect((ends as PatchPort[])[i] as PatchPort);
    add(near, patch, 10 + i);
    add(far, (ends as PatchPort[])[i] as PatchPort, 10 + i);
    far.change(to(10 + i, SINK), 0);
  }
  add(far, sink, SINK);
  near.change(to(1, 2, 11), 0);
  near.change(to(3, 10), 0);
  const wanted: number[] = [];
  for (let n = 0; n < 2 * MEASURED; n += 2) {
    asker.inject(numberedFrame(n));
    for (let breath = 0; breath < 3; breath++) datapath.breathe(0);
    wanted.push(n, n + 1);
  }
  expect(sink.sent.map(numberOf)).toEqual(wanted);
});

it("frames that are dear behind a patch never sit turns out in it", () => {
  const clock = { ms: Float64Array.of(1), read: () => {} };
  const { datapath, there, sink } = joined(clock);
  const rx = there.rx.bind(there);
  there.rx = (batch) => {
    const count = rx(batch);
    clock.ms[0]! += count;
    return count;
  };
  for (let n = 1; n <= 300; n++) {
    datapath.breathe(0);
    expect(sink.taken).toBe(n * SENDERS * BURST_SIZE);
  }
});

/**
 * What a cheap sender and one through so many patches have forwarded, when each frame takes a unit of time, but `ratio`
 * behind the last patch. The bridges come in that order or the other way round.
 */
function raceThrough(
  patches: number,
  ratio: number,
  isReversed: boolean,
): readonly [cheap: number, dear: number] {
  const clock = { ms: Float64Array.of(1), read: () => {} };
  const pool = new PacketPool({ slots: 8192 });
  const datapath = new Datapath({ pool, clock, onEvents: () => {} });
  const names = Array.from({ length: patches + 1 }, (_, i) => `br${i}`);
  const bridges = (isReversed ? names.reverse() : names).map((name) => datapath.addBridge(name));
  if (isReversed) bridges.reverse();
  const add = (bridge: Bridge, port: Port, ofport: number): void =>
    void bridge.addPort({ port, ofport, mac: MAC, mtu: 1500, nowMs: 0 });
  const to = (port: number, inPort: number) =>
    flowMod({ match: match(field("in_port", inPort)), instructions: [apply(output(port))] });
  const [first, last] = [bridges[0] as Bridge, bridges[patches] as Bridge];
  const [cheap, dear] = [new GeneratorPort("cheap", pool, []), new GeneratorPort("dear", pool, [])];
  for (const [i, name] of ["p1", "p2"].entries()) {
    const port = new GeneratorPort(name, pool, [FRAME]);
    const rx = port.rx.bind(port);
    port.rx = (batch) => {
      const count = rx(batch);
      clock.ms[0]! += count / 1000;
      return count;
    };
    add(first, port, i + 1);
  }
  add(first, cheap, SINK);
  first.change(to(SINK, 1), 0);
  first.change(to(PATCH, 2), 0);
  for (let i = 0; i < patches; i++) {
    const [out, into] = ["out", "in"].map((name) => new PatchPort({ name: `${name}${i}`, pool }));
    (out as PatchPort).connect(into as PatchPort);
    add(bridges[i] as Bridge, out as PatchPort, PATCH);
    add(bridges[i + 1] as Bridge, into as PatchPort, BACK);
    if (i + 1 < patches) (bridges[i + 1] as Bridge).change(to(PATCH, BACK), 0);
  }
  add(last, dear, SINK);
  last.change(to(SINK, BACK), 0);
  const receive = last.receive.bind(last);
  last.receive = (slot, batch, nowMs) => {
    if (slot.ofport === BACK) clock.ms[0]! += (ratio * batch.length) / 1000;
    receive(slot, batch, nowMs);
  };
  for (let n = -MEASURED; n < 4_000; n++) {
    if (n === 0) [cheap.taken, dear.taken] = [0, 0];
    datapath.breathe(0);
  }
  return [cheap.taken, dear.taken];
}

it.each([
  [1, false],
  [1, true],
  [3, false],
  [3, true],
])(
  "a port whose frames are dear behind %i patches has about as much time as another, not more",
  (patches, isReversed) => {
    for (const ratio of [5, 50]) {
      const [cheap, dear] = raceThrough(patches, ratio, isReversed);
      expect(cheap).toBe(4_000 * BURST_SIZE);
      const share = (dear * (1 + ratio)) / cheap;
      expect(share).toBeGreaterThan(0.6);
      expect(share).toBeLessThan(1.3);
    }
  },
);

it("what circles between two bridges goes round once in a breath", () => {
  const { datapath, near, far, senders, sink } = joined({ ms: Float64Array.of(1), read: () => {} });
  for (const port of senders) port.left = 1;
  const back: Action = { type: "output", port: OFPP_IN_PORT, maxLength: 0 };
  const fromPatch = match(field("in_port", PATCH));
  near.change(flowMod({ priority: 40_000, match: fromPatch, instructions: [apply(back)] }), 0);
  far.change(flowMod({ priority: 40_000, match: fromPatch, instructions: [apply(output(SINK), back)] }), 0);
  for (let n = 1; n <= 10; n++) {
    datapath.breathe(0);
    expect(sink.taken).toBe(n * SENDERS);
  }
});
