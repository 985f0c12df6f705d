import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { SwitchModel } from "../agent/index.js";
import { numberedFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import type { StreamPeer } from "../testing/stream-peer.js";
import { TRUNK, WorkerThreads } from "../testing/worker-threads.js";
import type { DatapathHandle } from "./index.js";

const DEADLINE_MS = 30_000;

let stage: WorkerThreads;
let handle: DatapathHandle;
let model: SwitchModel;
let peers: readonly StreamPeer[];

beforeAll(async () => {
  // The last one is asked for by the worker that forwards itself.
  stage = await WorkerThreads.open([undefined, undefined, 0]);
  ({ handle, model, peers } = stage);
});

afterAll(() => stage.close());

describe("DatapathHandle with port workers", () => {
  it("spreads ports, and shows which core serves which", async () => {
    const threads = await handle.threads();
    expect(
      threads.map(({ core, isIsolated, status }) => [core, isIsolated, status.ports.map(({ name }) => name)]),
    ).toEqual([
      [0, false, ["p3"]],
      [1, false, ["p1"]],
      [2, false, ["p2"]],
    ]);
  });

  it("forwards every frame in order between ports of different workers, and counts them exactly", async () => {
    await model.change([flowMod({ instructions: [apply(output(2), output(3))] })]);
    await model.barrier();
    const sent = Array.from({ length: 500 }, (_, n) => numberedFrame(n));
    for (const frame of sent) peers[0]!.send(frame);
    expect(await peers[1]!.take(500)).toEqual(sent);
    expect(await peers[2]!.take(500)).toEqual(sent);
    const states = await handle.call("portStates", { bridge: "br0" });
    expect(states.map(({ statistics }) => [statistics["rx_packets"], statistics["tx_packets"]])).toEqual([
      [500, 0],
      [0, 500],
      [0, 500],
    ]);
    expect(states[1]!.statistics["tx_bytes"]).toBe(500 * 80);
    const [flow] = await model.flowStats({
      ...{ tableId: 0xff, outPort: 0xffffffff, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n, match: [] },
    });
    expect(flow?.packetCount).toBe(500n);
  });

  it("judges no frame by an older rule once the barrier is answered", async () => {
    for (let round = 0; round < 30; round++) {
      const to = 2 + (round % 2);
      await model.change([flowMod({ instructions: [apply(output(to))] })]);
      await model.barrier();
      peers[0]!.send(numberedFrame(round));
      expect(await peers[to - 1]!.take(1)).toEqual([numberedFrame(round)]);
    }
    expect(peers.map(({ frames }) => frames.length)).toEqual([0, 0, 0]);
  });

  it("tracks a connection whose ends are with different workers", async () => {
    const ct = { type: "ct", force: false, zone: 3, alg: 0, actions: [] } as const;
    const ip = field("eth_type", 0x0800);
    const results = await model.change([
      flowMod({
        priority: 200,
        match: match(ip),
        instructions: [apply({ ...ct, commit: false, tableId: 1 })],
      }),
      flowMod({
        ...{ tableId: 1, match: match(ip, field("in_port", 1), field("ct_state", 0x21, 0x21)) },
        instructions: [apply({ ...ct, commit: true }, output(2))],
      }),
      flowMod({
        ...{ tableId: 1, match: match(ip, field("ct_state", 0x22, 0x22)) },
        instructions: [apply(output(1))],
      }),
    ]);
    expect(results).toEqual([undefined, undefined, undefined]);
    const there = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" });
    const back = udpFrame({
      ...{ source: "10.0.0.2", destination: "10.0.0.1", sourcePort: 53, destinationPort: 40000 },
    });
    peers[0]!.send(there);
    expect(await peers[1]!.take(1)).toEqual([there]);
    peers[1]!.send(back);
    expect(await peers[0]!.take(1)).toEqual([back]);
    await model.change([flowMod({ command: "delete", tableId: 0xff, match: match(ip) })]);
  });

  it("refuses what a port worker refuses, and what is there already", async () => {
    const port = { bridge: "br0", ofport: 9, vlan: TRUNK };
    await expect(handle.addPort({ ...port, spec: stage.spec("p9", {}) })).rejects.toMatchObject({
      code: "PORT_OPTION_MISSING",
    });
    await expect(handle.addPort({ ...port, spec: stage.spec("p1") })).rejects.toMatchObject({
      code: "PORT_EXISTS",
    });
    await expect(handle.addPort({ ...port, ofport: 2, spec: stage.spec("p9") })).rejects.toMatchObject({
      code: "PORT_EXISTS",
    });
    expect((await handle.threads()).flatMap(({ status }) => status.ports)).toHaveLength(3);
  });

  it("lets no thread sleep while it is told not to", async () => {
    const counted = async () =>
      (await handle.threads()).map(({ status: { breaths, sleeps } }) => ({ breaths, sleeps }));
    await handle.letSleep(false);
    const before = await counted();
    let now = before;
    await waitFor(
      async () => {
        now = await counted();
        return now.every(({ breaths }, i) => breaths > before[i]!.breaths + 5000);
      },
      "five thousand breaths of each thread",
      DEADLINE_MS,
    );
    expect(now.map(({ sleeps }) => sleeps)).toEqual(before.map(({ sleeps }) => sleeps));
    await handle.letSleep(true);
    await waitFor(
      async () => (await counted()).every(({ sleeps }, i) => sleeps > now[i]!.sleeps),
      "each thread to sleep again",
      DEADLINE_MS,
    );
  });

  it("closes a port and opens it again, without losing packets of the pool", async () => {
    await handle.removePort("br0", "p2");
    // One worker is to serve it alone.
    await handle.addPort({ bridge: "br0", spec: stage.spec("p2"), ofport: 2, vlan: TRUNK }, { 0: 2 });
    await stage.linksUp();
    const threads = await handle.threads();
    expect(threads.map(({ isIsolated }) => isIsolated)).toEqual([false, false, true]);
    await model.change([flowMod({ instructions: [apply(output(2))] })]);
    peers[0]!.send(numberedFrame(1));
    expect(await peers[1]!.take(1)).toEqual([numberedFrame(1)]);
    // Each port worker has its share, or up to half as much again; the rest is back.
    await waitFor(
      async () => ((await handle.call("counters", {}))["packets_free"] as number) >= 512 * 3 - 2 * 768,
      "packets back",
      DEADLINE_MS,
    );
  });

  it("moves ports from worker to worker while frames fly: none is lost, or overtaken", async () => {
    const dialled = peers.map((peer) => peer.dialled);
    const descriptors = readdirSync("/proc/self/fd").length;
    // To one port, workers send without asking, also to each other's.
    for (const ports of [[2], [2, 3]]) {
      await model.change([flowMod({ instructions: [apply(...ports.map(output))] })]);
      const sent: Uint8Array[] = [];
      for (let round = 0; round < 12; round++) {
        for (let n = 0; n < 40; n++) {
          const frame = numberedFrame(round * 100 + n);
          sent.push(frame);
          peers[0]!.send(frame);
        }
        // Where the frames come from, and where they go to, in turn.
        expect(await handle.pinPort(round % 2 === 0 ? "p1" : "p2", { 0: 1 + ((round >> 1) % 2) })).toBe(true);
      }
      for (const port of ports) expect(await peers[port - 1]!.take(sent.length)).toEqual(sent);
    }
    expect(peers.map((peer) => peer.dialled)).toEqual(dialled);
    // Nothing stays open of where they have been.
    await waitFor(
      () => readdirSync("/proc/self/fd").length <= descriptors,
      () => `${readdirSync("/proc/self/fd").length} descriptors, ${descriptors} before`,
      DEADLINE_MS,
    );
    // What the worker that forwards serves, or is to serve, is not for them.
    expect(await handle.pinPort("p3", { 0: 1 })).toBe(false);
    expect(await handle.pinPort("p1", { 0: 0 })).toBe(false);
  });

  it("leaves nothing else with a worker to which a port is pinned, and shares ports anew by other rules", async () => {
    const served = async () =>
      (await handle.threads()).map(({ isIsolated, status }) => [
        isIsolated,
        status.ports.map(({ name }) => name).sort(),
      ]);
    await handle.pinPort("p1", {});
    await handle.pinPort("p2", { 0: 1 });
    expect(await served()).toEqual([
      [false, ["p3"]],
      [true, ["p2"]],
      [false, ["p1"]],
    ]);
    await handle.assignPorts({ assignment: "roundrobin", isolates: false });
    expect(await served()).toEqual([
      [false, ["p3"]],
      [false, ["p1", "p2"]],
      [false, []],
    ]);
    await handle.pinPort("p2", {});
    await handle.rebalancePorts();
    expect(await served()).toEqual([
      [false, ["p3"]],
      [false, ["p1"]],
      [false, ["p2"]],
    ]);
    peers[0]!.send(numberedFrame(7));
    expect(await peers[1]!.take(1)).toEqual([numberedFrame(7)]);
    expect(await peers[2]!.take(1)).toEqual([numberedFrame(7)]);
    await model.change([flowMod({ instructions: [apply(output(2))] })]);
  });

  it("serves every port with the worker that forwards before it leaves; peers notice nothing", async () => {
    const dialled = peers.map((peer) => peer.dialled);
    await expect(handle.leave(join(stage.dir, "nobody"))).rejects.toMatchObject({ code: "ENOENT" });
    expect((await handle.threads()).map(({ status }) => status.ports.map(({ name }) => name))).toEqual([
      expect.arrayContaining(["p1", "p2", "p3"]),
      [],
      [],
    ]);
    const sent = Array.from({ length: 50 }, (_, n) => numberedFrame(n));
    for (const frame of sent) peers[0]!.send(frame);
    expect(await peers[1]!.take(50)).toEqual(sent);
    expect(peers.map((peer) => peer.dialled)).toEqual(dialled);
    const [p1] = await handle.call("portStates", { bridge: "br0" });
    expect(p1!.statistics["rx_packets"]).toBeGreaterThan(550);
  });
});
