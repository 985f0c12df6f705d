// A switch for tests that speaks OpenFlow over the controller's unix socket. It keeps its flows in a map and forwards
// nothing, unless it is given tables that do.
import { connect, type Socket } from "node:net";
import {
  type BundleControl,
  type ChannelOutput,
  ChannelSession,
  encodeMessage,
  type FlowMod,
  type FlowRemoved,
  type FlowStats,
  type Match,
  OFPFF_SEND_FLOW_REM,
  ONF_ERRORS,
  ONF_EXPERIMENTER,
  type OpenFlowMessage,
  type PacketOut,
  parseMessage,
} from "../../base/openflow/index.js";
import { flowKey } from "../pipeline/flow.js";

/** What keeps the flows in place of the map. */
export interface FakeSwitchTables {
  /** Throws when it refuses. */
  applyFlowMod(message: FlowMod): void;
  flowStats(): readonly FlowStats[];
  packetOut(message: PacketOut): void;
}

export class FakeSwitch {
  /** Survives reconnection, as flows of a switch survive its controller. */
  flows = new Map<string, FlowStats>();
  readonly flowMods: FlowMod[] = [];
  readonly packetOuts: PacketOut[] = [];
  /** Answers flow-mods that it returns true for with an error. */
  refuses: (message: FlowMod) => boolean = () => false;
  /** Says yes to flow-mods that it returns true for, and does nothing. */
  ignores: (message: FlowMod) => boolean = () => false;
  /** An old switch has none. */
  knowsBundles = true;
  /** Flows that it told of, over all requests. */
  flowsReported = 0;
  /** Sizes of the bundles that were committed. */
  readonly commits: number[] = [];
  readonly #bundles = new Map<number, FlowMod[]>();
  readonly #tables: FakeSwitchTables | undefined;
  #socket: Socket | undefined;

  constructor(tables?: FakeSwitchTables) {
    this.#tables = tables;
  }

  async dial(path: string): Promise<void> {
    const session = new ChannelSession({ answerMalformed: true, probeIntervalMs: 0 });
    const socket = connect(path);
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve());
      socket.once("error", reject);
    });
    socket.on("error", () => {});
    socket.on("data", (bytes) => this.#handle(session.receive(bytes, 0)));
    this.#handle(session.start(0));
  }

  async hangUp(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) return;
    await new Promise<void>((resolve) => {
      socket.once("close", () => resolve());
      socket.destroy();
    });
  }

  /** Sends a frame up, as from `inPort` through the flow with `cookie`. */
  packetIn(cookie: bigint, tableId: number, inPort: number, data: Uint8Array, more: Match = []): void {
    const value = Uint8Array.of(0, 0, inPort >> 8, inPort & 255);
    this.#send({
      type: "packet_in",
      xid: 0,
      bufferId: 0xffffffff,
      totalLength: data.byteLength,
      reason: "action",
      tableId,
      cookie,
      match: [{ field: "in_port", value }, ...more],
      data,
    });
  }

  /** Reports a flow that is gone. */
  flowRemoved(message: Omit<FlowRemoved, "xid">): void {
    this.#send({ ...message, xid: 0 });
  }

  #handle(outputs: readonly ChannelOutput[]): void {
    for (const out of outputs) {
      if (out.type === "send") this.#socket?.write(out.bytes);
      else if (out.type === "message") this.#receive(out.message);
    }
  }

  #receive(message: OpenFlowMessage): void {
    const { xid } = message;
    switch (message.type) {
      case "features_request":
        this.#send({
          type: "features_reply",
          xid,
          datapathId: 1n,
          bufferCount: 0,
          tableCount: 254,
          auxiliaryId: 0,
          capabilities: 0,
        });
        break;
      case "barrier_request":
        this.#send({ type: "barrier_reply", xid });
        break;
      case "multipart_request": {
        const { body } = message;
        if (body.kind !== "flow" && body.kind !== "aggregate") break;
        const { cookie, cookieMask } = body;
        const all = [...(this.#tables?.flowStats() ?? this.flows.values())].filter(
          (flow) => (flow.cookie & cookieMask) === (cookie & cookieMask),
        );
        if (body.kind === "aggregate") {
          const counts = { packetCount: 0n, byteCount: 0n, flowCount: all.length };
          this.#send({ type: "multipart_reply", xid, flags: 0, body: { kind: "aggregate", ...counts } });
          break;
        }
        this.flowsReported += all.length;
        // In two parts, as a large table would be.
        const half = all.length >> 1;
        this.#send({
          type: "multipart_reply",
          xid,
          flags: 1,
          body: { kind: "flow", flows: all.slice(0, half) },
        });
        this.#send({
          type: "multipart_reply",
          xid,
          flags: 0,
          body: { kind: "flow", flows: all.slice(half) },
        });
        break;
      }
      case "flow_mod":
        this.#flowMod(message);
        break;
      case "bundle_control":
        this.#bundle(message);
        break;
      case "bundle_add":
        this.#bundles.get(message.bundleId)?.push(parseMessage(message.message) as FlowMod);
        break;
      case "packet_out":
        this.packetOuts.push(message);
        this.#tables?.packetOut(message);
        break;
      default:
    }
  }

  #bundle(message: BundleControl): void {
    const { xid, bundleId, flags } = message;
    if (!this.knowsBundles) {
      this.#send({ type: "error", xid, errorType: 1, code: 3, data: new Uint8Array(64) });
      return;
    }
    if (message.control === "open_request") {
      this.#bundles.set(bundleId, []);
      this.#send({ type: "bundle_control", xid, bundleId, control: "open_reply", flags });
      return;
    }
    const collected = this.#bundles.get(bundleId) ?? [];
    this.#bundles.delete(bundleId);
    const bad = collected.find((each) => this.refuses(each));
    if (bad !== undefined) {
      this.#refuse(bad);
      const failed = { experimenter: ONF_EXPERIMENTER, expType: ONF_ERRORS.OFPBFC_MSG_FAILED };
      this.#send({ type: "experimenter_error", xid, ...failed, data: new Uint8Array(64) });
      return;
    }
    for (const each of collected) this.#flowMod(each);
    this.commits.push(collected.length);
    this.#send({ type: "bundle_control", xid, bundleId, control: "commit_reply", flags });
  }

  #refuse({ xid }: FlowMod): void {
    this.#send({ type: "error", xid, errorType: 5, code: 1, data: new Uint8Array(64) });
  }

  #flowMod(message: FlowMod): void {
    this.flowMods.push(message);
    if (this.refuses(message)) {
      this.#refuse(message);
      return;
    }
    if (this.ignores(message)) return;
    if (this.#tables !== undefined) {
      this.#tables.applyFlowMod(message);
      return;
    }
    const key = flowKey(message.tableId, message.priority, message.match);
    if (message.command === "delete_strict") {
      const gone = this.flows.get(key);
      if (gone !== undefined && (gone.flags & OFPFF_SEND_FLOW_REM) !== 0)
        this.flowRemoved({ type: "flow_removed", reason: "delete", ...gone });
      this.flows.delete(key);
      return;
    }
    const { tableId, priority, match, instructions, cookie } = message;
    this.flows.set(key, {
      tableId,
      priority,
      // Another order than it was sent in: a switch may report fields as it likes.
      match: [...match].reverse().sort((a, b) => rank(a.field) - rank(b.field)),
      instructions,
      cookie,
      durationSeconds: 0,
      durationNanoseconds: 0,
      idleTimeoutSeconds: 0,
      hardTimeoutSeconds: 0,
      flags: message.flags,
      packetCount: 0n,
      byteCount: 0n,
    });
  }

  #send(message: OpenFlowMessage): void {
    this.#socket?.write(encodeMessage(message));
  }
}

/** Prerequisites stay before what needs them. */
function rank(field: string): number {
  return field === "eth_type" ? 0 : field === "ip_proto" ? 1 : 2;
}
