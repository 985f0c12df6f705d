// Frames that cross a patch have had their turn where they came in.
import { expect, it } from "vitest";
import { type Action, OFPP_IN_PORT } from "../../base/openflow/index.js";
import { PacketPool, TX_DROPPED } from "../../base/packet/index.js";
import { PatchPort } from "../port/index.js";
import { plainFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import { Datapath } from "./datapath.js";
import { BURST_SIZE } from "./limits.js";

const FRAME = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const SENDERS = 8;
const [PATCH, SINK] = [100, 101];
const MAC = new Uint8Array(6);

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
