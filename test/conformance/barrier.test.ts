// What a barrier promises, across the datapath's thread and with every cache hot: a frame that is put into a port in the
// very callback that reads the reply is judged by what was changed before it, whatever was changed and how often.
import { connect } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { OFPG_ANY, OFPP_ANY, type Unsent } from "../../base/openflow/index.js";
import { Random } from "../../base/random/index.js";
import { waitFor } from "../../base/time/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { apply, field, flowMod, output } from "../../vswitch/testing/rig.js";
import { requirePrograms } from "../support/run.js";
import { StreamPeer } from "../support/stream-peer.js";
import { ethernetFrame, SwitchProcess, textOf } from "../support/switch.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const ROUNDS = NIGHTLY ? 20_000 : 1000;
const DEADLINE_MS = 60_000;
const NIGHTLY_DEADLINE_MS = 3_600_000;
const SEED = NIGHTLY ? Date.now() % 0x3fffffff : 5;
/** In each round: the first finds the caches as the change has left them, the last leaves them warm. */
const FRAMES = 3;
/** Of another conversation, in front of each change, so that the datapath is busy when it comes. */
const NOISE = 16;

let daemon: SwitchProcess;
let controller: ControllerPeer;
const peers: StreamPeer[] = [];

beforeAll(async () => {
  requirePrograms("ovs-vsctl");
  daemon = new SwitchProcess();
  await daemon.start();
  await daemon.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "fail_mode=secure");
  for (const n of [1, 2, 3, 4]) {
    const peer = await StreamPeer.listen(daemon.path(`${n}.peer`));
    peers.push(peer);
    const columns = ["type=stream", `options:path=${peer.path}`, `ofport_request=${n}`];
    await daemon.vsctl("add-port", "br0", `p${n}`, "--", "set", "Interface", `p${n}`, ...columns);
    await peer.connected();
  }
  controller = new ControllerPeer(connect(daemon.path("br0.mgmt")));
  await controller.established();
});

afterAll(async () => {
  controller?.socket.destroy();
  for (const peer of peers) await peer.close();
  await daemon?.destroy();
});

const peerOf = (port: number): StreamPeer => peers[port - 1] as StreamPeer;
const fromOne = [field("in_port", 1)];

function group(command: "add" | "modify", port: number): Unsent {
  const bucket = { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [output(port)] };
  return { type: "group_mod", command, groupType: "indirect", groupId: 1, buckets: [bucket] };
}

/** A flow above those of the table, there or not. */
function above(tableId: number, port: number | undefined): Unsent {
  const flow = { tableId, priority: 20, match: fromOne } as const;
  return port === undefined
    ? flowMod({ ...flow, command: "delete_strict" })
    : flowMod({ ...flow, instructions: [apply(output(port))] });
}

/** Where the frames of port 1 go: by the upper flow of table 0, else by that of table 1, else by the group. */
class Tables {
  group = 2;
  readonly upper: (number | undefined)[] = [undefined, undefined];

  get port(): number {
    return this.upper[0] ?? this.upper[1] ?? this.group;
  }

  /** One change, drawn at random; returns the messages that make it. */
  change(random: Random): Unsent[] {
    const what = random.below(3);
    if (what === 2) {
      this.group = 5 - this.group;
      return [group("modify", this.group)];
    }
    this.upper[what] = this.upper[what] === undefined ? 2 + random.below(2) : undefined;
    return [above(what, this.upper[what])];
  }
}

it(
  "a frame behind a barrier is judged by what was changed before it, every time",
  async () => {
    const random = new Random(SEED);
    const tables = new Tables();
    let onReply = (): void => {};
    // Behind the peer's own listener, which takes the messages apart: both run in the same turn.
    controller.socket.on("data", () => {
      if (controller.messages.some(({ type }) => type === "barrier_reply")) onReply();
    });
    const settle = (messages: readonly Unsent[], frames: readonly Uint8Array[]): Promise<void> => {
      controller.messages.length = 0;
      const settled = new Promise<void>((resolve) => {
        onReply = () => {
          for (const frame of frames) peerOf(1).send(frame);
          onReply = () => {};
          resolve();
        };
      });
      controller.send(...messages, { type: "barrier_request" });
      return settled;
    };
    await settle(
      [
        group("add", tables.group),
        flowMod({ tableId: 0, priority: 10, instructions: [{ type: "goto_table", tableId: 1 }] }),
        flowMod({ tableId: 0, priority: 30, match: [field("in_port", 4)] }),
        flowMod({ tableId: 1, priority: 10, instructions: [apply({ type: "group", groupId: 1 })] }),
      ],
      [],
    );
    const noise = ethernetFrame({ to: 8, from: 4, text: "noise" });
    for (let round = 0; round < ROUNDS; round++) {
      for (let n = 0; n < NOISE; n++) peerOf(4).send(noise);
      const texts = Array.from({ length: FRAMES }, (_, n) => `round ${round} frame ${n}.`);
      const frames = texts.map((text) => ethernetFrame({ to: 9, from: 1, text }));
      await settle(tables.change(random), frames);
      await waitFor(
        () => peerOf(2).received.length + peerOf(3).received.length >= FRAMES,
        () => `seed ${SEED}, round ${round}: frames have not come out`,
        DEADLINE_MS,
        0,
      );
      expect(controller.messages.map(({ type }) => type)).toEqual(["barrier_reply"]);
      const [right, wrong] = [peerOf(tables.port), peerOf(5 - tables.port)];
      const what = `seed ${SEED}, round ${round}`;
      expect(wrong.received.map(textOf), what).toEqual([]);
      const came = right.received.map((frame) => textOf(frame).slice(0, texts[0]?.length));
      expect(came, what).toEqual(texts);
      right.received.length = 0;
    }
  },
  NIGHTLY ? NIGHTLY_DEADLINE_MS : 2 * DEADLINE_MS,
);
