// Changes on their way from the main thread to the worker: flow-mods as the bytes that came, many in one piece, since to
// copy objects from thread to thread costs more than to read them; all else as values.
// Thread: main (pack), datapath worker between breaths (carryOut).
import {
  type Dialect,
  type FlowMod,
  OFP13_VERSION,
  parseHeader,
  parseMessage,
} from "../../base/openflow/index.js";
import type { EncodedFlowMod } from "../agent/index.js";
import { attempt, type IndexedRefusal } from "./atomic-change.js";
import type { Bridge, BridgeChange } from "./bridge.js";

/** Flow-mods of one dialect, one behind the other. */
export interface FlowModPiece {
  readonly type: "flow_mods";
  readonly dialect: Dialect;
  readonly bytes: Uint8Array;
}

export type ChangePart = BridgeChange | FlowModPiece;

/** changes[from] up to changes[to]. */
export function pack(
  changes: readonly (BridgeChange | EncodedFlowMod)[],
  from: number,
  to: number,
): ChangePart[] {
  const parts: ChangePart[] = [];
  for (let i = from; i < to; ) {
    const change = changes[i]!;
    if (change.type !== "encoded_flow_mod") {
      parts.push(change);
      i++;
      continue;
    }
    const messages: Uint8Array[] = [];
    for (; i < to; i++) {
      const next = changes[i]!;
      if (next.type !== "encoded_flow_mod" || next.dialect !== change.dialect) break;
      messages.push(next.bytes);
    }
    parts.push({ type: "flow_mods", dialect: change.dialect, bytes: joined(messages) });
  }
  return parts;
}

function joined(messages: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const { byteLength } of messages) size += byteLength;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const message of messages) {
    bytes.set(message, at);
    at += message.byteLength;
  }
  return bytes;
}

/** Has the bridge do everything, in order; returns what was refused, by its place in the list. */
export function carryOut(
  bridge: Bridge,
  parts: readonly ChangePart[],
  nowMs: number,
  origin = 0,
): IndexedRefusal[] {
  const refused: IndexedRefusal[] = [];
  let index = 0;
  for (const part of parts) {
    if (part.type !== "flow_mods") {
      const refusal = attempt(() => bridge.change(part, nowMs, origin));
      if (refusal !== undefined) refused.push({ index, ...refusal });
      index++;
      continue;
    }
    for (const message of messagesIn(part.bytes)) {
      const refusal = attempt(() => carryOutFlowMod(bridge, message, part.dialect, nowMs, origin));
      if (refusal !== undefined) refused.push({ index, ...refusal });
      index++;
    }
  }
  return refused;
}

/** The main thread has seen that these are whole messages. */
function messagesIn(bytes: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let at = 0; ; ) {
    const header = parseHeader(bytes, at);
    if (header === undefined) return messages;
    messages.push(bytes.subarray(at, at + header.length));
    at += header.length;
  }
}

function carryOutFlowMod(
  bridge: Bridge,
  bytes: Uint8Array,
  dialect: Dialect,
  nowMs: number,
  origin: number,
): void {
  const mod = parseMessage(bytes, dialect) as FlowMod;
  bridge.change(mod, nowMs, origin, dialect.version === OFP13_VERSION ? bytes : undefined);
}
