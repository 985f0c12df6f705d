import { expect, it } from "vitest";
import { PacketPool } from "../../base/packet/index.js";
import { plainFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import { Datapath } from "./datapath.js";
import { FairTurn, FairTurns } from "./fair-turns.js";
import { FAIR_FRAMES_MIN, TURNS_OUT_MAX } from "./limits.js";

const FRAME = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const BURST = 32;

/** Breaths after which every port has been measured. */
const MEASURED = 256;

/** A datapath with two senders, whose frames take so many milliseconds each of a clock that only they move. */
function race(costs: readonly [number, number], breaths: number, secondSends: (breath: number) => boolean) {
  const pool = new PacketPool({ slots: 512 });
  let clockMs = 1;
  const datapath = new Datapath({ pool, clock: () => clockMs, onEvents: () => {} });
  const bridge = datapath.addBridge("br0");
  const senders = costs.map((cost, i) => {
    const port = new GeneratorPort(`p${i}`, pool, [FRAME]);
    const rx = port.rx.bind(port);
    port.rx = (batch) => {
      const count = rx(batch);
      clockMs += cost * count;
      return count;
    };
    return port;
  });
  const sinks = costs.map((_, i) => new GeneratorPort(`s${i}`, pool, []));
  const mac = new Uint8Array(6);
  for (const [i, port] of [...senders, ...sinks].entries())
    bridge.addPort({ port, ofport: i + 1, mac, mtu: 1500, nowMs: 0 });
  for (const port of [1, 2])
    bridge.change(
      flowMod({ match: match(field("in_port", port)), instructions: [apply(output(port + 2))] }),
      0,
    );
  for (let n = -MEASURED; n < breaths; n++) {
    if (n === 0) for (const sink of sinks) sink.taken = 0;
    (senders[1] as GeneratorPort).left = secondSends(n) ? BURST : 0;
    datapath.breathe(0);
  }
  return sinks.map(({ taken }) => taken) as [number, number];
}

it("ports whose frames cost the same have as many turns", () => {
  const [first, second] = race([0.001, 0.001], 2_000, () => true);
  expect([first, second]).toEqual([2_000 * BURST, 2_000 * BURST]);
});

it("a port whose frames cost more has about as much time as the other, not more", () => {
  for (const ratio of [3, 20, 100]) {
    const [first, second] = race([0.001, 0.001 * ratio], 4_000, () => true);
    expect(first).toBe(4_000 * BURST);
    const share = (second * ratio) / first;
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(1.2);
  }
});

it("it has every turn while the other is idle", () => {
  const [first, second] = race([0.1, 0.001], 4_000, (breath) => breath < 2_000);
  expect(second).toBe(2_000 * BURST);
  // Alone it had all of the second half, and hardly anything of the first.
  expect(first).toBeGreaterThan(2_000 * BURST);
  expect(first).toBeLessThan(2_100 * BURST);
});

it("no port waits for ever, and a port with little to do never waits", () => {
  const turns = new FairTurns();
  const turn = new FairTurn();
  turns.measure(turn, BURST, 1e6);
  turns.judge(turn, 1e-6);
  expect(turn.turnsOut).toBe(TURNS_OUT_MAX);
  turns.measure(turn, FAIR_FRAMES_MIN - 1, 1e6);
  turns.judge(turn, 1e-6);
  expect(turn.turnsOut).toBe(0);
});
