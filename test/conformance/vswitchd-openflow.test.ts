// `plinth vswitchd` over OpenFlow, across the datapath's thread: a barrier answered means that the very next frame is
// judged by the change; flows outlive their controller; a controller that comes back is dialled again.
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  ChannelSession,
  encodeMessage,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import { requirePrograms } from "../support/run.js";
import { StreamPeer } from "../support/stream-peer.js";
import { ethernetFrame, SwitchProcess, textOf } from "../support/switch.js";

const DEADLINE_MS = 20_000;
let daemon: SwitchProcess;
const peers = new Map<string, StreamPeer>();
let controller: Controller | undefined;

beforeEach(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl");
  daemon = new SwitchProcess();
  await daemon.start();
  await daemon.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "fail_mode=secure");
  for (const [i, name] of ["a", "b", "c"].entries()) {
    const peer = await StreamPeer.listen(daemon.path(`${name}.peer`));
    peers.set(name, peer);
    const set = [
      "set",
      "Interface",
      name,
      "type=stream",
      `options:path=${peer.path}`,
      `ofport_request=${i + 1}`,
    ];
    await daemon.vsctl("add-port", "br0", name, "--", ...set);
  }
  for (const peer of peers.values()) await peer.connected();
});

afterEach(async () => {
  await controller?.close();
  controller = undefined;
  for (const peer of peers.values()) await peer.close();
  peers.clear();
  await daemon.destroy();
});

const peer = (name: string): StreamPeer => peers.get(name) as StreamPeer;
const frame = (text: string): Uint8Array => ethernetFrame({ to: 9, from: 1, text });
const texts = (name: string): string[] => peer(name).received.map(textOf);

async function arrives(name: string, text: string): Promise<void> {
  await waitFor(
    () => texts(name).some((other) => other.startsWith(text)),
    () => `${text} at ${name}, where there are ${texts(name).join(", ")}`,
    DEADLINE_MS,
    2,
  );
}

it("judges the frame behind a barrier by the new flows, every time", async () => {
  for (let round = 0; round < 20; round++) {
    const [to, port] = round % 2 === 0 ? ["b", 2] : ["c", 3];
    // ovs-ofctl returns when its barrier is answered.
    await daemon.ofctl("add-flow", "br0", `in_port=1,actions=output:${port}`);
    peer("a").send(frame(`round${round}.`));
    await arrives(to as string, `round${round}.`);
  }
  expect(peer("b").received).toHaveLength(10);
  expect(peer("c").received).toHaveLength(10);
  const flows = await daemon.ofctl("dump-flows", "br0");
  expect(flows).toContain("n_packets=20, n_bytes=1200");
  await daemon.ofctl("del-flows", "br0");
  peer("a").send(frame("lost"));
  await daemon.ofctl("add-flow", "br0", "in_port=1,actions=output:2");
  peer("a").send(frame("last"));
  await arrives("b", "last");
});

it("tells its controller, keeps the flows while it is away, and finds it again", async () => {
  const path = daemon.path("controller.sock");
  controller = await Controller.listen(path);
  await daemon.vsctl("set-controller", "br0", `unix:${path}`);
  await controller.send({
    type: "flow_mod",
    command: "add",
    tableId: 0,
    cookie: 5n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: 0,
    bufferId: 0xffffffff,
    outPort: 0xffffffff,
    outGroup: 0xffffffff,
    flags: 0,
    match: [],
    instructions: [
      {
        type: "apply_actions",
        actions: [
          { type: "output", port: 0xfffffffd, maxLength: 0xffff },
          { type: "output", port: 3, maxLength: 0 },
        ],
      },
    ],
  });
  await controller.send({ type: "barrier_request" });
  await controller.received("barrier_reply");
  peer("a").send(frame("miss"));
  const packetIn = await controller.received("packet_in");
  expect(packetIn).toMatchObject({ reason: "no_match", cookie: 5n, totalLength: 60 });
  await arrives("c", "miss");

  await controller.close();
  peer("a").send(frame("alone"));
  await arrives("c", "alone");
  controller = await Controller.listen(path);
  await controller.send({ type: "features_request" });
  expect(await controller.received("features_reply")).toMatchObject({ bufferCount: 0 });
  peer("a").send(frame("again"));
  expect(await controller.received("packet_in")).toMatchObject({ cookie: 5n });
  await waitFor(
    async () => (await daemon.vsctl("--bare", "--columns=is_connected", "list", "Controller")) === "true",
    "the Controller row to say that it is connected",
    DEADLINE_MS,
    100,
  );
});

/** A controller on a unix socket that talks to the one switch that dials it. */
class Controller {
  readonly messages: OpenFlowMessage[] = [];
  readonly #server: Server;
  #session = new ChannelSession({ answerMalformed: false });
  #socket: Socket | undefined;

  private constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async listen(path: string): Promise<Controller> {
    const created = new Controller();
    await new Promise<void>((resolve) => created.#server.listen(path, resolve));
    return created;
  }

  async send(message: Unsent): Promise<void> {
    await waitFor(() => this.#session.isEstablished, "the switch to dial", DEADLINE_MS, 5);
    this.#socket?.write(encodeMessage({ ...message, xid: this.#session.nextXid() } as OpenFlowMessage));
  }

  async received(type: OpenFlowMessage["type"]): Promise<OpenFlowMessage> {
    await waitFor(
      () => this.messages.some((message) => message.type === type),
      () => `${type} among ${this.messages.map((message) => message.type).join(", ")}`,
      DEADLINE_MS,
      5,
    );
    return this.messages.splice(
      this.messages.findIndex((message) => message.type === type),
      1,
    )[0] as OpenFlowMessage;
  }

  async close(): Promise<void> {
    this.#socket?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    this.#socket = socket;
    socket.on("error", () => {});
    for (const output of this.#session.start(0)) if (output.type === "send") socket.write(output.bytes);
    socket.on("data", (bytes) => {
      for (const output of this.#session.receive(bytes as Buffer, 0)) {
        if (output.type === "send") socket.write(output.bytes);
        if (output.type === "message") this.messages.push(output.message);
      }
    });
  }
}
