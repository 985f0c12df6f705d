// One switch's OpenFlow channel after its handshake: requests with their replies, and what the switch says unasked.
// The bytes are somebody else's. Invariant: every request settles, at the latest when the channel closes or the switch
// takes longer than SWITCH_REPLY_TIMEOUT_MS. Thread: the controller's.
import { setImmediate as nextTurn } from "node:timers/promises";
import { PlinthError } from "../../base/errors/index.js";
import {
  type BundleControlType,
  type ControllerRole,
  errorName,
  experimenterErrorName,
  type FlowMod,
  type FlowRemoved,
  type FlowStats,
  MessageBatch,
  OFPBF_ATOMIC,
  OFPBF_ORDERED,
  OFPG_ANY,
  OFPMPF_REPLY_MORE,
  OFPP_ANY,
  OFPTT_ALL,
  type OpenFlowMessage,
  type PacketIn,
  type Unsent,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { SWITCH_REPLY_TIMEOUT_MS } from "../limits.js";
import type { CookieSlice } from "../pipeline/cookie.js";
import type { HeldRole, RoleChannel } from "./mastership.js";

export interface SwitchLinkEvents {
  onPacketIn(message: PacketIn): void;
  /** A flow that was to be reported is gone. */
  onFlowRemoved(message: FlowRemoved): void;
  /** An error that answers a request which nobody waits for, such as a flow-mod. */
  onError(xid: number, name: string): void;
  /** The switch refused a change because it takes this channel for a slave. */
  onSlave(): void;
}

/** Messages of a bundle that are made before others have their turn. */
const MESSAGES_PER_TURN = 1_000;
const WHOLE: CookieSlice = { mask: 0, value: 0 };
const BUNDLE_FLAGS = OFPBF_ATOMIC | OFPBF_ORDERED;

/** What an answer brought, of which a request wants at most one. */
interface Answer {
  readonly flows: FlowStats[];
  flowCount: number;
  held?: HeldRole;
}

const IS_SLAVE = "OFPBRC_IS_SLAVE";
/** Refusals that a caller has to tell from all others. */
const OWN_CODES: Readonly<Record<string, string>> = {
  OFPRRFC_STALE: "ROLE_STALE",
  [IS_SLAVE]: "SWITCH_SLAVE",
};

interface Waiting extends Answer {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

export class SwitchLink implements RoleChannel {
  readonly datapathId: bigint;
  readonly #write: (message: Unsent, xid: number) => void;
  readonly #events: SwitchLinkEvents;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #xid = 0x10000;
  #bundleId = 0;
  #bundles: boolean | undefined;
  #closed = false;

  constructor(
    options: {
      readonly datapathId: bigint;
      readonly write: (message: Unsent, xid: number) => void;
      readonly events: SwitchLinkEvents;
    },
    modules: { readonly clock: Clock },
  ) {
    this.datapathId = options.datapathId;
    this.#write = options.write;
    this.#events = options.events;
    this.#clock = modules.clock;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Sends without waiting; returns the xid, by which an error would name it. */
  send(message: Unsent): number {
    const xid = this.#nextXid();
    if (!this.#closed) this.#write(message, xid);
    return xid;
  }

  /** Resolves when the switch has carried out everything sent before. */
  async barrier(): Promise<void> {
    await this.#request({ type: "barrier_request" });
  }

  /**
   * Carries out all flow-mods as one, in order, or none of them; resolves when the switch judges by all. `onSent` gets
   * each one's xid, by which `onError` names what the switch refuses. Rejects with SWITCH_REFUSED when nothing was
   * carried out, with SWITCH_SLAVE when another controller is master, and with BUNDLES_UNSUPPORTED when the switch
   * knows no bundles. Source: ONF extension 230.
   */
  async bundle(
    messages: readonly Omit<FlowMod, "xid">[],
    onSent: (xid: number, index: number) => void,
  ): Promise<void> {
    if (this.#bundles === false) throw unsupported();
    const bundleId = this.#bundleId++ >>> 0;
    const control = (name: BundleControlType): Promise<Answer> =>
      this.#request({ type: "bundle_control", bundleId, control: name, flags: BUNDLE_FLAGS });
    await control("open_request").catch((thrown: unknown) => {
      if (!(thrown instanceof PlinthError) || thrown.code !== "SWITCH_REFUSED") throw thrown;
      if (this.#bundles === true) throw thrown;
      this.#bundles = false;
      throw unsupported(thrown);
    });
    this.#bundles = true;
    const batch = new MessageBatch();
    for (let index = 0; index < messages.length; index++) {
      const xid = this.#nextXid();
      onSent(xid, index);
      batch.add(messages[index] as Omit<FlowMod, "xid">, xid);
      const message = batch.take();
      if (!this.#closed) this.#write({ type: "bundle_add", bundleId, flags: BUNDLE_FLAGS, message }, xid);
      // The switch reads the first while the last are made, and nobody else has to wait for all of them.
      if (index % MESSAGES_PER_TURN === MESSAGES_PER_TURN - 1) await nextTurn();
    }
    await Promise.all([control("commit_request"), this.barrier()]);
  }

  /** Asks for a role, or with "nochange" which one it is. Source: OpenFlow 1.3.5, 7.3.9. */
  async requestRole(role: ControllerRole, generationId: bigint): Promise<HeldRole> {
    const { held } = await this.#request({ type: "role_request", role, generationId });
    if (held === undefined) throw new PlinthError("SWITCH_REFUSED", "the switch told no role");
    return held;
  }

  /** Every flow of every table that is in `slice`, with its counters. */
  async flowStats(slice: CookieSlice = WHOLE): Promise<FlowStats[]> {
    return (await this.#flows("flow", slice)).flows;
  }

  /** How many flows the switch has. Rejects with SWITCH_REFUSED when it does not count. */
  async flowCount(): Promise<number> {
    return (await this.#flows("aggregate", WHOLE)).flowCount;
  }

  #flows(kind: "flow" | "aggregate", { mask, value }: CookieSlice): Promise<Answer> {
    return this.#request({
      type: "multipart_request",
      flags: 0,
      body: {
        kind,
        tableId: OFPTT_ALL,
        outPort: OFPP_ANY,
        outGroup: OFPG_ANY,
        cookie: BigInt(value),
        cookieMask: BigInt(mask),
        match: [],
      },
    });
  }

  /** Takes one message from the switch. */
  receive(message: OpenFlowMessage): void {
    switch (message.type) {
      case "packet_in":
        this.#events.onPacketIn(message);
        break;
      case "flow_removed":
        this.#events.onFlowRemoved(message);
        break;
      case "barrier_reply":
        this.#settle(message.xid, (waiting) => waiting.resolve(waiting));
        break;
      case "multipart_reply":
        this.#receiveFlows(message);
        break;
      case "bundle_control":
        this.#settle(message.xid, (waiting) => waiting.resolve(waiting));
        break;
      case "role_reply": {
        const { role, generationId } = message;
        this.#settle(message.xid, (waiting) => {
          waiting.held = { role, generationId };
          waiting.resolve(waiting);
        });
        break;
      }
      case "error": {
        const { errorType, code } = message;
        this.#receiveError(message.xid, errorName(errorType, code) ?? `error ${errorType}/${code}`);
        break;
      }
      case "experimenter_error": {
        const { experimenter, expType } = message;
        const name = experimenterErrorName(experimenter, expType) ?? `experimenter error ${expType}`;
        this.#receiveError(message.xid, name);
        break;
      }
      default:
    }
  }

  /** The channel is gone: rejects everything that waits. */
  close(): void {
    this.#closed = true;
    for (const xid of [...this.#waiting.keys()]) {
      this.#settle(xid, (waiting) =>
        waiting.reject(new PlinthError("SWITCH_GONE", "the switch disconnected")),
      );
    }
  }

  #receiveFlows(message: Extract<OpenFlowMessage, { type: "multipart_reply" }>): void {
    const waiting = this.#waiting.get(message.xid);
    const { body } = message;
    if (waiting === undefined) return;
    if (body.kind === "flow") for (const flow of body.flows) waiting.flows.push(flow);
    else if (body.kind === "aggregate") waiting.flowCount = body.flowCount;
    else return;
    if ((message.flags & OFPMPF_REPLY_MORE) === 0) this.#settle(message.xid, () => waiting.resolve(waiting));
  }

  #receiveError(xid: number, name: string): void {
    if (name === IS_SLAVE) this.#events.onSlave();
    if (this.#waiting.has(xid)) {
      const code = OWN_CODES[name] ?? "SWITCH_REFUSED";
      const error = new PlinthError(code, `the switch refused a request: ${name}`);
      this.#settle(xid, (waiting) => waiting.reject(error));
    } else if (name !== IS_SLAVE) this.#events.onError(xid, name);
  }

  #request(message: Unsent): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new PlinthError("SWITCH_GONE", "the switch disconnected"));
        return;
      }
      const xid = this.#nextXid();
      const timer = this.#clock.after(SWITCH_REPLY_TIMEOUT_MS, () => {
        const text = `no answer to ${message.type} within ${SWITCH_REPLY_TIMEOUT_MS} ms`;
        this.#settle(xid, (waiting) => waiting.reject(new PlinthError("SWITCH_TIMEOUT", text)));
      });
      this.#waiting.set(xid, { flows: [], flowCount: 0, resolve, reject, timer });
      this.#write(message, xid);
    });
  }

  #settle(xid: number, finish: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(xid);
    if (waiting === undefined) return;
    this.#waiting.delete(xid);
    waiting.timer.cancel();
    finish(waiting);
  }

  #nextXid(): number {
    this.#xid = this.#xid >= 0xfffffff0 ? 0x10000 : this.#xid + 1;
    return this.#xid;
  }
}

function unsupported(cause?: Error): PlinthError {
  return new PlinthError("BUNDLES_UNSUPPORTED", "the switch does not take bundles", { cause });
}
