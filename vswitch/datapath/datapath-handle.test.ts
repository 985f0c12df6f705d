import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { SwitchEvent, SwitchModel } from "../agent/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, field, flowMod, match, output } from "../testing/rig.js";
import { StreamPeer } from "../testing/stream-peer.js";
import { DatapathHandle } from "./index.js";

const DEADLINE_MS = 10_000;
const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;
const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const about = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };
const everything = {
  tableId: 0xff,
  outPort: 0xffffffff,
  outGroup: 0xffffffff,
  cookie: 0n,
  cookieMask: 0n,
  match: [],
};

let dir: string;
let handle: DatapathHandle;
let model: SwitchModel;
let peers: StreamPeer[];
let events: SwitchEvent[];

beforeEach(async () => {
  dir = mkdtempSync("/tmp/pl-dp-");
  peers = [1, 2, 3].map((n) => new StreamPeer(join(dir, `p${n}`)));
  handle = new DatapathHandle({ slots: 512, connectionsMax: 1024 });
  await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
  model = handle.model("br0", 1n, about);
  events = [];
  model.onEvent((event) => events.push(event));
  for (const n of [1, 2, 3])
    await handle.addPort({ bridge: "br0", spec: spec(`p${n}`), ofport: n, vlan: TRUNK });
  await waitFor(
    async () => (await handle.call("portStates", { bridge: "br0" })).every((port) => port.linkUp),
    "links up",
    DEADLINE_MS,
  );
});
afterEach(async () => {
  await handle.close();
  await Promise.all(peers.map((peer) => peer.close()));
  rmSync(dir, { recursive: true, force: true });
});

const spec = (name: string) => ({
  name,
  type: "stream",
  options: { path: join(dir, name) },
  mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  mtu: 1500,
});

async function arrives(peer: number, count: number): Promise<void> {
  const { frames } = peers[peer - 1] as StreamPeer;
  await waitFor(
    () => frames.length >= count,
    () => `${frames.length} of ${count} at peer ${peer}`,
    DEADLINE_MS,
    2,
  );
}

describe("DatapathHandle", () => {
  it("forwards between ports, answers statistics and sends events", async () => {
    expect(
      await model.change([
        flowMod({
          instructions: [apply(output(2), { type: "output", port: 0xfffffffd, maxLength: 0xffff })],
        }),
      ]),
    ).toEqual([undefined]);
    peers[0]!.send(frame);
    await arrives(2, 1);
    expect(peers[1]!.frames).toEqual([frame]);
    await waitFor(() => events.some((event) => event.type === "packet_in"), "packet-in", DEADLINE_MS, 2);
    const [flow] = await model.flowStats(everything);
    expect(flow?.packetCount).toBe(1n);
    expect((await model.portStats()).map((port) => [port.port, port.rxPackets, port.txPackets])).toEqual([
      [1, 1n, 0n],
      [2, 0n, 1n],
      [3, 0n, 0n],
    ]);
    expect(events.filter((event) => event.type === "port_status").length).toBeGreaterThanOrEqual(3);
  });

  it("judges every frame that is sent after a change was answered by that change", async () => {
    const to = (port: number) =>
      flowMod({ match: match(field("in_port", 1)), instructions: [apply(output(port))] });
    for (let round = 0; round < 30; round++) {
      const port = 2 + (round % 2);
      await model.change([to(port)]);
      await model.barrier();
      const before = (peers[port - 1] as StreamPeer).frames.length;
      peers[0]!.send(frame);
      await arrives(port, before + 1);
    }
    expect([peers[1]!.frames.length, peers[2]!.frames.length]).toEqual([15, 15]);
  });

  it("answers each of many changes in its place, and all before the next request", async () => {
    const changes = Array.from({ length: 100 }, (_, n) =>
      flowMod({
        tableId: n % 7 === 6 ? 3 : 0,
        match: match(field("in_port", 100 + n)),
        instructions: n % 7 === 6 ? [{ type: "goto_table", tableId: 1 }] : [],
      }),
    );
    const changed = model.change(changes);
    const flows = model.flowStats({ ...everything, tableId: 0 });
    const refused = (await changed).map((refusal) => refusal !== undefined);
    expect(refused).toEqual(changes.map((_, n) => n % 7 === 6));
    expect(await flows).toHaveLength(refused.filter((one) => !one).length);
  });

  it("refuses with codes and goes on", async () => {
    const [refusal] = await model.change([
      flowMod({ tableId: 3, instructions: [{ type: "goto_table", tableId: 1 }] }),
    ]);
    expect(refusal?.error).toBe("OFPBIC_BAD_TABLE_ID");
    const add = (name: string, type: string, ofport: number) =>
      handle.addPort({ bridge: "br0", spec: { ...spec(name), type, options: {} }, ofport, vlan: TRUNK }).then(
        () => "ok",
        (error: { code: string }) => error.code,
      );
    expect(await add("x", "warp", 9)).toBe("PORT_TYPE_UNKNOWN");
    expect(await add("x", "stream", 9)).toBe("PORT_OPTION_MISSING");
    expect(await add("x", "internal", 2)).toBe("PORT_EXISTS");
    expect(await add("x", "internal", 0xfffffffe)).toBe("ok");
    expect((await model.ports()).map((port) => port.port)).toEqual([1, 2, 3, 0xfffffffe]);
    await handle.removePort("br0", "x");
    await expect(handle.removePort("br0", "x")).rejects.toMatchObject({ code: "PORT_UNKNOWN" });
  });

  it("traces a frame that is not there", async () => {
    await model.change([flowMod({ match: match(field("in_port", 1)), instructions: [apply(output(2))] })]);
    const ends = async (inPort: number): Promise<readonly string[] | undefined> =>
      (await handle.call("trace", { bridge: "br0", frame, inPort }))[0]?.actions;
    expect(await ends(1)).toEqual(["2"]);
    expect(await ends(3)).toEqual([]);
  });

  it("joins bridges by patch ports", async () => {
    await handle.addBridge({ name: "br1", macTableEntries: 64, macAgeingMs: 300_000 });
    const patch = (bridge: string, name: string, peer: string) =>
      handle.addPort({
        bridge,
        spec: { ...spec(name), type: "patch", options: { peer } },
        ofport: 7,
        vlan: TRUNK,
      });
    await patch("br0", "to1", "to0");
    await patch("br1", "to0", "to1");
    await handle.removePort("br0", "p2");
    await handle.addPort({ bridge: "br1", spec: spec("p2"), ofport: 2, vlan: TRUNK });
    await model.change([flowMod({ match: match(field("in_port", 1)), instructions: [apply(output(7))] })]);
    await handle
      .model("br1", 2n, about)
      .change([flowMod({ match: match(field("in_port", 7)), instructions: [apply(output(2))] })]);
    await waitFor(
      async () => (await handle.call("portStates", { bridge: "br1" })).every((port) => port.linkUp),
      "links",
      DEADLINE_MS,
    );
    peers[0]!.send(frame);
    await arrives(2, 1);
    await handle.removeBridge("br1");
  });

  it("says what its thread has done, and what it needed for it", async () => {
    await model.change([flowMod({ instructions: [apply(output(2))] })]);
    await model.barrier();
    const before = await handle.call("threadStatus", {});
    for (let n = 0; n < 3; n++) peers[0]!.send(frame);
    await waitFor(() => peers[1]!.frames.length === 3, "frames", DEADLINE_MS);
    const after = await handle.call("threadStatus", {});
    if (before === null || after === null) throw new Error("the thread is not timed");
    expect(after.received - before.received).toBe(3);
    expect(after.sent - before.sent).toBe(3);
    expect(after.pathHits + after.misses).toBe(3);
    expect(after.busyMs).toBeGreaterThan(before.busyMs);
    expect(after.sleeps).toBeGreaterThan(0);
    expect(after.ports.map(({ name }) => name)).toEqual(["p1", "p2", "p3"]);
    expect(after.ports[0]!.usage).toBeGreaterThan(0);
  });

  it("sleeps when there is nothing to do, and wakes for a frame", async () => {
    await model.change([flowMod({ instructions: [apply(output(2))] })]);
    let before = Number.POSITIVE_INFINITY;
    await waitFor(
      async () => {
        const { breaths = 0 } = await handle.call("counters", {});
        const slept = breaths - before < 200;
        before = breaths;
        return slept;
      },
      "a datapath that breathes rarely",
      DEADLINE_MS,
      100,
    );
    peers[0]!.send(frame);
    await arrives(2, 1);
  });
});
