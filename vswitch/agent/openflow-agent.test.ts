// The agent over real sockets, with a switch model in memory.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { silentLog } from "../../base/log/index.js";
import {
  encodeMessage,
  type FlowMod,
  OFP_NO_BUFFER,
  OFPCML_NO_BUFFER,
  OFPFF_SEND_FLOW_REM,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  type OpenFlowMessage,
  type TableFeatures,
  type Unsent,
} from "../../base/openflow/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { ControllerPeer as Peer } from "../testing/controller-peer.js";
import { MemorySwitch } from "./memory-switch.js";
import { OpenFlowAgent } from "./openflow-agent.js";

const DEADLINE_MS = 5_000;
const TEN = { version: 1, flowModTableId: false } as const;

function flowMod(change: Partial<FlowMod> = {}): Unsent<FlowMod> {
  return {
    type: "flow_mod",
    command: "add",
    tableId: 0,
    cookie: 1n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: 100,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags: 0,
    match: [],
    instructions: [],
    ...change,
  };
}

const allFlows: Unsent = {
  type: "multipart_request",
  flags: 0,
  body: {
    kind: "flow",
    tableId: 255,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    cookie: 0n,
    cookieMask: 0n,
    match: [],
  },
};

let directory: string;
let model: MemorySwitch;
let agent: OpenFlowAgent;
const peers: Peer[] = [];
const servers: Server[] = [];

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-agent-");
  model = new MemorySwitch();
  agent = await OpenFlowAgent.open(
    { managementSocket: join(directory, "br0.mgmt") },
    { model, clock: systemClock, log: silentLog },
  );
});

afterEach(async () => {
  await agent.close();
  for (const peer of peers.splice(0)) peer.socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  rmSync(directory, { recursive: true, force: true });
});

async function dial(): Promise<Peer> {
  const peer = new Peer(connect(join(directory, "br0.mgmt")));
  peers.push(peer);
  await peer.established();
  return peer;
}

/** Listens as a controller; resolves with the n-th connection that the switch makes. */
async function listen(name: string): Promise<{ target: string; accepted: Peer[]; server: Server }> {
  const accepted: Peer[] = [];
  const server = createServer((socket) => {
    const peer = new Peer(socket);
    accepted.push(peer);
    peers.push(peer);
  });
  servers.push(server);
  const path = join(directory, name);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { target: `unix:${path}`, accepted, server };
}

async function controller(name: string): Promise<Peer> {
  const { target, accepted } = await listen(name);
  agent.setControllers(
    [...agent.controllers.map((status) => ({ target: status.target })), { target }],
    "secure",
  );
  await waitFor(() => accepted.length > 0, "no connection", DEADLINE_MS, 2);
  const peer = accepted[0] as Peer;
  await peer.established();
  await waitFor(
    () => agent.controllers.every((status) => status.isConnected),
    "not established",
    DEADLINE_MS,
    2,
  );
  return peer;
}

describe("OpenFlowAgent", () => {
  it("answers a barrier only when the switch confirmed the changes before it", async () => {
    const peer = await dial();
    let open = (): void => {};
    model.gate = new Promise((resolve) => {
      open = resolve;
    });
    peer.send(flowMod(), { type: "barrier_request" }, { type: "features_request" });
    peer.send({ type: "get_config_request" });
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.messages).toEqual([]);
    open();
    await peer.next("get_config_reply");
    expect(peer.messages.map((message) => message.type)).toEqual(["barrier_reply", "features_reply"]);
    expect(model.flows).toHaveLength(1);
  });

  it("answers a refused change with its error, in order, and applies the others", async () => {
    const peer = await dial();
    const xids = peer.send(flowMod({ priority: 1 }), flowMod({ tableId: 255 }), flowMod({ priority: 2 }), {
      type: "barrier_request",
    });
    await peer.next("barrier_reply");
    expect(peer.messages).toMatchObject([{ type: "error", xid: xids[1], errorType: 5, code: 2 }]);
    expect(model.flows.map((flow) => flow.priority)).toEqual([1, 2]);
  });

  it("answers malformed bytes in their place and goes on", async () => {
    const peer = await dial();
    peer.socket.write(Buffer.from("0463000800000009", "hex"));
    peer.send({ type: "barrier_request" });
    await peer.next("barrier_reply");
    expect(peer.messages).toMatchObject([{ type: "error", xid: 9, errorType: 1, code: 1 }]);
  });

  it("answers a read that the switch refuses with its error", async () => {
    const peer = await dial();
    model.flowStats = async () => {
      throw new PlinthError("OFPBMC_BAD_FIELD", "pbb_isid cannot be matched");
    };
    peer.send(allFlows, { type: "barrier_request" });
    await peer.next("barrier_reply");
    expect(peer.messages).toMatchObject([{ type: "error", errorType: 4, code: 6 }]);
  });

  it("hangs up when the switch behind it is gone", async () => {
    const peer = await dial();
    model.barrier = async () => {
      throw new PlinthError("WORKER_DIED", "the datapath died");
    };
    peer.send({ type: "barrier_request" });
    await waitFor(() => peer.isClosed, "still connected", DEADLINE_MS, 2);
  });

  it("refuses what only a switch sends and what it has never heard of", async () => {
    const peer = await dial();
    peer.send(
      { type: "barrier_reply" },
      { type: "experimenter", experimenter: 0x2320, expType: 99, data: new Uint8Array(0) },
      { type: "experimenter", experimenter: 0x123, expType: 1, data: new Uint8Array(0) },
      { type: "barrier_request" },
    );
    await peer.next("barrier_reply");
    expect(peer.messages).toMatchObject([
      { errorType: 1, code: 1 },
      { errorType: 1, code: 4 },
      { errorType: 1, code: 3 },
    ]);
  });

  it("cuts a long flow list into several replies", async () => {
    const peer = await dial();
    for (let priority = 0; priority < 3000; priority++) peer.send(flowMod({ priority }));
    peer.send(allFlows, { type: "barrier_request" });
    await peer.next("barrier_reply");
    const replies = peer.messages.flatMap((message) => (message.type === "multipart_reply" ? [message] : []));
    expect(replies.length).toBeGreaterThan(1);
    expect(replies.map((reply) => reply.flags)).toEqual([...replies.slice(1).map(() => 1), 0]);
    expect(replies.flatMap((reply) => (reply.body.kind === "flow" ? reply.body.flows : []))).toHaveLength(
      3000,
    );
  });

  it("tells controllers of packets and removals, and management only when it asks", async () => {
    const first = await controller("c1");
    const silent = await dial();
    const monitor = await dial();
    monitor.send({ type: "set_config", flags: 0, missSendLength: 128 }, { type: "barrier_request" });
    await monitor.next("barrier_reply");
    silent.send(
      flowMod({ flags: OFPFF_SEND_FLOW_REM }),
      flowMod({ command: "delete" }),
      {
        type: "packet_out",
        bufferId: OFP_NO_BUFFER,
        inPort: OFPP_CONTROLLER,
        actions: [{ type: "output", port: OFPP_CONTROLLER, maxLength: OFPCML_NO_BUFFER }],
        data: new Uint8Array(60).fill(7),
      },
      { type: "barrier_request" },
    );
    await silent.next("barrier_reply");
    expect(silent.messages).toEqual([]);
    for (const peer of [first, monitor]) {
      expect(await peer.next("flow_removed")).toMatchObject({ reason: "delete", priority: 100, xid: 0 });
      expect(await peer.next("packet_in")).toMatchObject({ totalLength: 60, reason: "action" });
    }
  });

  it("keeps one master, refuses stale elections, and gives slaves no say", async () => {
    const [first, second] = [await controller("c1"), await controller("c2")];
    first.send({ type: "role_request", role: "master", generationId: 5n });
    expect(await first.next("role_reply")).toMatchObject({ role: "master", generationId: 5n });
    second.send({ type: "role_request", role: "master", generationId: 4n });
    expect(await second.next("error")).toMatchObject({ errorType: 11, code: 0 });
    second.send({ type: "role_request", role: "master", generationId: 6n });
    await second.next("role_reply");
    // ONFT_ROLE_STATUS: a slave by a master's request, in that election.
    expect(await first.next("experimenter")).toMatchObject({
      experimenter: 0x4f4e4600,
      expType: 1911,
      data: Uint8Array.of(0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6),
    });
    first.send(flowMod(), { type: "role_request", role: "nochange", generationId: 0n });
    expect(await first.next("role_reply")).toMatchObject({ role: "slave", generationId: 6n });
    expect(await first.next("error")).toMatchObject({ errorType: 1, code: 10 });
    expect(model.flows).toEqual([]);
    expect(agent.controllers.map((status) => status.role)).toEqual(["slave", "master"]);
  });

  it("handles fragments for all connections alike, tells what it does, and refuses what it does not know", async () => {
    const [first, second] = [await controller("c1"), await controller("c2")];
    first.send({ type: "set_config", flags: 2, missSendLength: 64 }, { type: "barrier_request" });
    await first.next("barrier_reply");
    expect(model.fragmentHandling).toBe(2);
    second.send({ type: "get_config_request" });
    expect(await second.next("get_config_reply")).toMatchObject({ flags: 2, missSendLength: 128 });
    for (const flags of [4, 8, 0x100])
      second.send({ type: "set_config", flags, missSendLength: 1 }, { type: "get_config_request" });
    for (let i = 0; i < 3; i++) {
      expect(await second.next("error")).toMatchObject({ errorType: 10, code: 0 });
      expect(await second.next("get_config_reply")).toMatchObject({ flags: 2, missSendLength: 128 });
    }
    second.send({ type: "role_request", role: "slave", generationId: 1n });
    await second.next("role_reply");
    second.send({ type: "set_config", flags: 1, missSendLength: 1 });
    expect(await second.next("error")).toMatchObject({ errorType: 10, code: 2 });
    second.send({ type: "set_config", flags: 2, missSendLength: 9 }, { type: "get_config_request" });
    expect(await second.next("get_config_reply")).toMatchObject({ flags: 2, missSendLength: 9 });
  });

  it("takes a table-mod that says what earlier versions could say of misses, and refuses what no version does", async () => {
    const peer = await controller("c1");
    for (const tableId of [0, 0xff])
      for (const config of [0, 1, 2, 3]) peer.send({ type: "table_mod", tableId, config });
    peer.send({ type: "barrier_request" });
    await peer.next("barrier_reply");
    expect(peer.messages.filter(({ type }) => type === "error")).toEqual([]);
    for (const config of [4, 7, 0x80000000]) {
      peer.send({ type: "table_mod", tableId: 0, config });
      expect(await peer.next("error")).toMatchObject({ errorType: 8, code: 1 });
    }
  });

  it("has the tables that a controller asks for in pieces, and no others for a slave", async () => {
    const peer = await controller("c1");
    const named = (tableId: number): TableFeatures => {
      const table = model.tablesAtMost[tableId] as TableFeatures;
      const properties = table.properties.map((property) =>
        property.type === "next_tables" ? { ...property, tables: tableId === 0 ? [1] : [] } : property,
      );
      return { ...table, name: `t${tableId}`, properties };
    };
    const [first, second] = [named(0), named(1)];
    const request = (flags: number, ...tables: TableFeatures[]): Unsent => ({
      type: "multipart_request",
      flags,
      body: { kind: "table_features", tables },
    });
    const send = (xid: number, message: Unsent) =>
      peer.socket.write(encodeMessage({ ...message, xid } as OpenFlowMessage));
    send(77, request(1, first));
    send(77, request(0, second));
    expect(await peer.next("multipart_reply")).toMatchObject({
      xid: 77,
      body: { tables: [{ name: "t0" }, { name: "t1" }] },
    });
    peer.send({ type: "features_request" });
    expect(await peer.next("features_reply")).toMatchObject({ tableCount: 2 });
    send(78, request(0, second));
    expect(await peer.next("error")).toMatchObject({ xid: 78, errorType: 13, code: 0 });
    peer.send({ type: "table_mod", tableId: 2, config: 0 });
    expect(await peer.next("error")).toMatchObject({ errorType: 8, code: 0 });
    peer.send({ type: "role_request", role: "slave", generationId: 1n });
    send(79, request(1, first));
    send(79, request(0, second));
    expect(await peer.next("error")).toMatchObject({ xid: 79, errorType: 1, code: 10 });
  });

  it("tells of misses only in OpenFlow 1.0, and only while a connection wants to know", async () => {
    const asked: boolean[] = [];
    model.tellMisses = async (isWanted: boolean) => void asked.push(isWanted);
    const newer = await controller("c1");
    expect(asked).toEqual([]);
    const socket = connect(join(directory, "br0.mgmt"));
    let bytes = Buffer.alloc(0);
    socket.on("data", (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
    });
    const send = (message: Unsent): boolean =>
      socket.write(encodeMessage({ ...message, xid: 1 } as OpenFlowMessage, TEN));
    socket.write(encodeMessage({ type: "hello", xid: 1, version: 1 }));
    send({ type: "set_config", flags: 0, missSendLength: 128 });
    send({ type: "barrier_request" });
    await waitFor(() => asked.length === 1, "misses are not asked for", DEADLINE_MS, 2);
    const packetIn = {
      type: "packet_in",
      bufferId: OFP_NO_BUFFER,
      totalLength: 60,
      reason: "no_match",
      tableId: 0,
      cookie: 1n,
      match: [{ field: "in_port", value: Uint8Array.of(0, 0, 0, 1) }],
      data: new Uint8Array(60),
      maxLength: OFPCML_NO_BUFFER,
      controllerId: 0,
    } as const;
    for (const miss of ["table", "flow"] as const) model.emit({ ...packetIn, miss });
    expect(await newer.next("packet_in")).toMatchObject({ reason: "no_match" });
    const reasons = (): number[] => {
      const found: number[] = [];
      for (let at = 0; at + 8 <= bytes.byteLength; at += bytes.readUInt16BE(at + 2))
        if (bytes[at + 1] === 10) found.push(bytes[at + 16] as number);
      return found;
    };
    // Before 1.4 there are three reasons: a group's is that of any other action, for what is wanted as well.
    model.emit({ ...packetIn, reason: "group" });
    expect(await newer.next("packet_in")).toMatchObject({ reason: "action" });
    // What the table-miss flow of 1.3 sends is an action like any other in 1.0.
    await waitFor(() => reasons().length === 3, "no packet-ins", DEADLINE_MS, 2);
    expect(reasons()).toEqual([0, 1, 1]);
    expect(newer.messages).toEqual([]);
    socket.destroy();
    await waitFor(() => asked.length === 2, "misses are still asked for", DEADLINE_MS, 2);
    expect(asked).toEqual([true, false]);
  });

  it("dials again when a controller goes and comes back", async () => {
    const { target, accepted } = await listen("c1");
    agent.setControllers([{ target }], "secure");
    await waitFor(() => agent.controllers[0]?.isConnected === true, "not connected", DEADLINE_MS, 2);
    accepted[0]?.socket.destroy();
    await waitFor(() => accepted.length === 2, "not dialled again", DEADLINE_MS, 2);
    await waitFor(() => agent.controllers[0]?.isConnected === true, "not connected again", DEADLINE_MS, 2);
  });

  it("becomes a learning switch without controllers only when it stands alone", async () => {
    agent.setControllers([], "standalone");
    await waitFor(() => model.flows.length === 1, "no flow", DEADLINE_MS, 2);
    expect(model.flows[0]).toMatchObject({ priority: 0, match: [] });
    agent.setControllers([], "secure");
    await waitFor(() => model.flows.length === 0, "the flow stayed", DEADLINE_MS, 2);
  });

  it("listens where a controller row asks for it", async () => {
    const path = join(directory, "service");
    agent.setControllers([{ target: `punix:${path}` }], "secure");
    await waitFor(() => agent.controllers[0]?.state === "ACTIVE", "not listening", DEADLINE_MS, 2);
    const peer = new Peer(connect(path));
    peers.push(peer);
    await peer.established();
    peer.send({ type: "features_request" });
    expect(await peer.next("features_reply")).toMatchObject({ datapathId: model.datapathId, bufferCount: 0 });
    agent.setControllers([], "secure");
    await waitFor(() => peer.isClosed, "still connected", DEADLINE_MS, 2);
  });

  it("names a controller that it cannot dial and keeps the others", () => {
    const problems = agent.setControllers(
      [{ target: "sctp:1.2.3.4" }, { target: "unix:/nowhere" }],
      "secure",
    );
    expect(problems.map((problem) => problem.code)).toEqual(["CONTROLLER_TARGET_INVALID"]);
    expect(agent.controllers).toMatchObject([{ target: "unix:/nowhere", isConnected: false }]);
  });

  it("refuses a socket path that the kernel would cut", async () => {
    const options = { managementSocket: `/tmp/${"x".repeat(120)}` };
    await expect(OpenFlowAgent.open(options, { model, clock: systemClock, log: silentLog })).rejects.toThrow(
      /at most 107/,
    );
  });
});
