// Decides of each message of one connection who is to do what it asks for. Thread: main.

import { PlinthError } from "../../base/errors/index.js";
import {
  type Dialect,
  isErrorName,
  type MultipartRequest,
  OFP10_VERSION,
  OFPPC_NO_FLOOD,
  type OfpErrorName,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import type { AnswerQueue } from "./answer-queue.js";
import type { ChangeQueue } from "./change-queue.js";
import type { MonitorChannel } from "./monitor-channel.js";
import { MultipartAssembly } from "./multipart-assembly.js";
import { answer, type ConnectionState, isChange } from "./requests.js";
import type { Roles } from "./roles.js";
import type { SwitchChange, SwitchModel } from "./switch-model.js";

/** OFPPC_NO_STP and OFPPC_NO_RECV_STP of OpenFlow 1.0. */
const SPANNING_TREE_BITS = (1 << 1) | (1 << 3);

export interface DispatcherModules {
  readonly model: SwitchModel;
  readonly roles: Roles;
  readonly state: ConnectionState;
  readonly answers: AnswerQueue;
  readonly changes: ChangeQueue;
  readonly monitors: MonitorChannel;
}

export class RequestDispatcher {
  readonly #modules: DispatcherModules;
  readonly #assembly = new MultipartAssembly();

  constructor(modules: DispatcherModules) {
    this.#modules = modules;
  }

  /** `request` is the message as it came. */
  dispatch(message: OpenFlowMessage, request: Uint8Array): void {
    const { changes, monitors, state } = this.#modules;
    const refusal = refusalFor(message, state);
    if (refusal !== undefined) changes.refuse(refusal, message.xid, request);
    else if (isChange(message)) changes.add(asMeant(message, state), request);
    else if (message.type === "bundle_add") changes.addToBundle(message, request);
    else {
      changes.flush();
      if (message.type === "bundle_control") changes.controlBundle(message, request);
      else if (message.type === "flow_monitor_cancel")
        this.#modules.answers.answer(monitors.cancel(message.monitorId), { xid: message.xid, request });
      else if (message.type === "multipart_request") this.#multipart(message, request);
      else this.#answer(message, request, false);
    }
  }

  /** A flow-mod in the dialect that was agreed on. */
  dispatchFlowMod(xid: number, dialect: Dialect, request: Uint8Array): void {
    const { changes, state } = this.#modules;
    if (state.role === "slave") changes.refuse("OFPBRC_IS_SLAVE", xid, request);
    else changes.add({ type: "encoded_flow_mod", xid, dialect, bytes: request }, request);
  }

  #multipart(piece: MultipartRequest, request: Uint8Array): void {
    const { answers, monitors } = this.#modules;
    const { xid } = piece;
    const message = this.#assembly.take(piece, request.byteLength);
    if (message === undefined) return;
    if (typeof message === "string") {
      answers.answer(message, { xid, request });
      return;
    }
    if (message.body.kind !== "flow_monitor") {
      this.#answer(message, request, true);
      return;
    }
    const pending = monitors.request(message.body.monitors).catch(refusalIn);
    answers.answer(pending, { xid, request, isLong: true, onWritten: () => monitors.begin() });
  }

  #answer(message: OpenFlowMessage, request: Uint8Array, isLong: boolean): void {
    const { model, roles, state, answers } = this.#modules;
    const pending = answer(model, roles, state, message).catch(refusalIn);
    answers.answer(pending, { xid: message.xid, request, isLong });
  }
}

/** OpenFlow 1.0 has bits for spanning trees, of which there are none here: they ask for nothing. */
function asMeant(change: SwitchChange, { version }: ConnectionState): SwitchChange {
  if (version !== OFP10_VERSION || change.type !== "port_mod") return change;
  return { ...change, mask: change.mask & ~SPANNING_TREE_BITS };
}

/** What is refused whatever the switch would say of it. */
function refusalFor(message: OpenFlowMessage, state: ConnectionState): OfpErrorName | undefined {
  if (message.type === "port_mod" && state.version !== OFP10_VERSION && (message.mask & OFPPC_NO_FLOOD) !== 0)
    return "OFPPMFC_BAD_CONFIG";
  const isForMasters =
    isChange(message) || message.type === "bundle_add" || message.type === "bundle_control";
  return isForMasters && state.role === "slave" ? "OFPBRC_IS_SLAVE" : undefined;
}

/** The OpenFlow error in a rejection; rethrows every other. */
function refusalIn(thrown: unknown): OfpErrorName {
  if (thrown instanceof PlinthError && isErrorName(thrown.code)) return thrown.code;
  throw thrown;
}
