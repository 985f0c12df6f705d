import { expect, it } from "vitest";
import { type Action, OFPP_CONTROLLER, OFPP_NORMAL } from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { plainFrame, udpFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";
import { Datapath } from "./datapath.js";
import { FairTurn, FairTurns } from "./fair-turns.js";
import { BURST_SIZE, FAIR_FRAMES_MIN, NEWS_CHARGE, TURNS_OUT_MAX } from "./limits.js";

const FRAME = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const BURST = BURST_SIZE;

/** Breaths after which every port has been measured. */
const MEASURED = 256;

/** A datapath with two senders, whose frames take so many milliseconds each of a clock that only they move. */
function race(costs: readonly [number, number], breaths: number, secondSends: (breath: number) => boolean) {
  const pool = new PacketPool({ slots: 512 });
  const clock = { ms: Float64Array.of(1), read: () => {} };
  const datapath = new Datapath({ pool, clock, onEvents: () => {} });
  const bridge = datapath.addBridge("br0");
  const senders = costs.map((cost, i) => {
    const port = new GeneratorPort(`p${i}`, pool, [FRAME]);
    const rx = port.rx.bind(port);
    port.rx = (batch) => {
      const count = rx(batch);
      clock.ms[0]! += cost * count;
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

it("a port whose frames begin something new each has less time than its frames take", () => {
  const turns = new FairTurns();
  const [plain, opening] = [new FairTurn(), new FairTurn()];
  turns.measure(plain, BURST, BURST, 0);
  turns.measure(opening, BURST, 10 * BURST, BURST);
  turns.judge(plain, plain.costPs);
  turns.judge(opening, plain.costPs);
  expect([plain.turnsOut, opening.turnsOut]).toEqual([0, 10 * (1 + NEWS_CHARGE)]);
  // What is counted twice of a frame is charged once, and seldom news hardly count.
  const [twice, seldom] = [new FairTurn(), new FairTurn()];
  turns.measure(twice, BURST, 10 * BURST, 2 * BURST);
  turns.measure(seldom, BURST, BURST, 1);
  turns.judge(seldom, plain.costPs);
  expect([twice.costPs, seldom.turnsOut]).toEqual([opening.costPs, 0]);
});

it("new connections, stations and packet-ins are such news, packets of known ones are not", () => {
  for (const kind of ["connections", "stations", "packet-ins"] as const) {
    const shares = [false, true].map((isNew) => shareOf(kind, isNew));
    expect(shares[1], kind).toBeLessThan((shares[0] as number) / 2);
  }
});

/** Frames of a second port, for each of the first, when each of its frames takes ten times as long, and is new or not. */
function shareOf(kind: "connections" | "stations" | "packet-ins", isNew: boolean): number {
  const pool = new PacketPool({ slots: 512 });
  const clock = { ms: Float64Array.of(1), read: () => {} };
  const datapath = new Datapath({ pool, clock, connectionsMax: 1024, onEvents: () => {} });
  const bridge = datapath.addBridge("br0");
  const udp = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(10));
  // Without a checksum, so that it is right whatever the ports.
  udp.fill(0, 40, 42);
  let serial = 0;
  const senders = [1, 10].map((cost, i) => {
    const port = new GeneratorPort(`p${i}`, pool, [udp]);
    const rx = port.rx.bind(port);
    port.rx = (batch) => {
      const count = rx(batch);
      clock.ms[0]! += (cost * count) / 1000;
      if (i === 1 && isNew)
        for (let n = 0; n < count; n++) {
          const at = pool.offset[batch.packets[n] as number] as number;
          if (kind === "stations") pool.view.setUint16(at + 10, ++serial & 0xffff);
          else pool.view.setUint16(at + 34, 1 + (++serial % 60_000));
        }
      return count;
    };
    return port;
  });
  const sinks = [0, 1].map((i) => new GeneratorPort(`s${i}`, pool, []));
  for (const [i, port] of [...senders, ...sinks].entries())
    bridge.addPort({ port, ofport: i + 1, mac: Uint8Array.of(2, 0, 0, 0, 1, i), mtu: 1500, nowMs: 0 });
  const ip = field("eth_type", 0x800);
  const up: Action = { type: "output", port: OFPP_CONTROLLER, maxLength: 64 };
  const track = trackAction({ zone: 1, commit: true });
  const work = {
    connections: [track],
    stations: [output(OFPP_NORMAL)],
    "packet-ins": isNew ? [up] : [],
  }[kind];
  for (const port of [1, 2])
    bridge.change(
      flowMod({
        match: match(field("in_port", port), ip),
        instructions: [apply(...(port === 2 ? work : []), output(port + 2))],
      }),
      0,
    );
  let nowMs = 0;
  for (let n = -MEASURED; n < 4_000; n++) {
    if (n === 0) for (const sink of sinks) sink.taken = 0;
    // Packet-ins are bounded by the second.
    nowMs += 40;
    datapath.breathe(nowMs);
  }
  const [first, second] = sinks.map(({ taken }) => taken) as [number, number];
  return second / first;
}

it("no port waits for ever, and a port with little to do never waits", () => {
  const turns = new FairTurns();
  const turn = new FairTurn();
  turns.measure(turn, BURST, 1e9, 0);
  turns.judge(turn, 1);
  expect(turn.turnsOut).toBe(TURNS_OUT_MAX);
  turns.measure(turn, FAIR_FRAMES_MIN - 1, 1e9, 0);
  turns.judge(turn, 1);
  expect(turn.turnsOut).toBe(0);
});
