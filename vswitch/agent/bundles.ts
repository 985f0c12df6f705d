// The bundles of one connection: lists of changes that are collected here and applied as one by a commit.
//
//   open ──close──► closed ──commit──► gone, all applied or none
//     │  └────────────────────commit───►
//     └── discard, a wrong flag, an add or close after close, time-out, disconnect ──► gone, nothing applied
//
// Source: ONF extension 230; OpenFlow 1.4.1, 7.3.9. Every bundle is applied atomically and in order, whatever
// its flags ask for. Invariant: at most BUNDLES_MAX bundles with BUNDLE_BYTES_MAX bytes together are kept. Thread: main.

import {
  type BundleAdd,
  type BundleControl,
  OFPBF_ATOMIC,
  OFPBF_ORDERED,
  type OfpErrorName,
  type OpenFlowMessage,
  parseHeader,
  parseMessage,
  WireError,
} from "../../base/openflow/index.js";
import { BUNDLE_BYTES_MAX, BUNDLE_IDLE_MS, BUNDLE_MESSAGES_MAX, BUNDLES_MAX } from "./limits.js";
import type { EncodedFlowMod, SwitchChange } from "./switch-model.js";

/** A change that is yet to be applied, and what an error about it has to quote. */
export interface PendingChange<Change = SwitchChange | EncodedFlowMod> {
  readonly change: Change;
  readonly request: Uint8Array;
}

interface Bundle {
  readonly flags: number;
  readonly changes: PendingChange<SwitchChange>[];
  isClosed: boolean;
  bytes: number;
  idleSinceMs: number;
  /** The request that opened it: quoted when it times out. */
  readonly opening: { readonly xid: number; readonly request: Uint8Array };
}

/** What is to be done about a request: answer with an error or with `reply`, after applying `changes` of a commit. */
export type BundleOutcome =
  | { readonly error: OfpErrorName }
  | { readonly reply: BundleControl["control"]; readonly changes?: readonly PendingChange<SwitchChange>[] };

const FLAGS_KNOWN = OFPBF_ATOMIC | OFPBF_ORDERED;
/** Of each message only this much is kept for errors. */
const QUOTE_SIZE = 64;

export class Bundles {
  readonly #bundles = new Map<number, Bundle>();
  #bytes = 0;

  get count(): number {
    return this.#bundles.size;
  }

  /** `request` is the message as it came. */
  control(message: BundleControl, request: Uint8Array, nowMs: number): BundleOutcome {
    const { bundleId, control, flags } = message;
    const bundle = this.#bundles.get(bundleId);
    if (control === "open_request") return this.#open(message, request, bundle, nowMs);
    if (!isRequest(control)) return { error: "OFPBFC_BAD_TYPE" };
    if (bundle === undefined) return { error: "OFPBFC_BAD_ID" };
    if (control !== "discard_request" && bundle.flags !== flags)
      return this.#spoilt(bundleId, "OFPBFC_BAD_FLAGS");
    switch (control) {
      case "close_request":
        if (bundle.isClosed) return this.#spoilt(bundleId, "OFPBFC_BUNDLE_CLOSED");
        bundle.isClosed = true;
        bundle.idleSinceMs = nowMs;
        return { reply: "close_reply" };
      case "commit_request":
        this.#remove(bundleId);
        return { reply: "commit_reply", changes: bundle.changes };
      case "discard_request":
        this.#remove(bundleId);
        return { reply: "discard_reply" };
    }
  }

  /** Undefined when the message is in the bundle; nothing is answered then. */
  add(add: BundleAdd, request: Uint8Array, nowMs: number): OfpErrorName | undefined {
    const existing = this.#bundles.get(add.bundleId);
    if (existing !== undefined && existing.flags !== add.flags)
      return this.#spoilt(add.bundleId, "OFPBFC_BAD_FLAGS").error;
    if (existing?.isClosed === true) return this.#spoilt(add.bundleId, "OFPBFC_BUNDLE_CLOSED").error;
    const change = parseChange(add);
    if (typeof change === "string") return change;
    if (this.#bytes + add.message.byteLength > BUNDLE_BYTES_MAX) return "OFPBFC_MSG_TOO_MANY";
    const bundle = existing ?? this.#create(add.bundleId, add.flags, { xid: add.xid, request }, nowMs);
    if (typeof bundle === "string") return bundle;
    if (bundle.changes.length >= BUNDLE_MESSAGES_MAX) return "OFPBFC_MSG_TOO_MANY";
    bundle.changes.push({ change, request: add.message.slice(0, QUOTE_SIZE) });
    bundle.bytes += add.message.byteLength;
    bundle.idleSinceMs = nowMs;
    this.#bytes += add.message.byteLength;
    return undefined;
  }

  /** Discards the bundles that nothing was heard of for too long; returns what opened them. */
  expire(nowMs: number): readonly Bundle["opening"][] {
    const expired = [...this.#bundles].filter(([, bundle]) => nowMs - bundle.idleSinceMs >= BUNDLE_IDLE_MS);
    for (const [bundleId] of expired) this.#remove(bundleId);
    return expired.map(([, bundle]) => bundle.opening);
  }

  #open(
    { bundleId, flags, xid }: BundleControl,
    request: Uint8Array,
    existing: Bundle | undefined,
    nowMs: number,
  ): BundleOutcome {
    if (existing !== undefined) return this.#spoilt(bundleId, "OFPBFC_BUNDLE_EXIST");
    const bundle = this.#create(bundleId, flags, { xid, request }, nowMs);
    return typeof bundle === "string" ? { error: bundle } : { reply: "open_reply" };
  }

  #create(bundleId: number, flags: number, opening: Bundle["opening"], nowMs: number): Bundle | OfpErrorName {
    if ((flags & ~FLAGS_KNOWN) !== 0) return "OFPBFC_BAD_FLAGS";
    if (this.#bundles.size >= BUNDLES_MAX) return "OFPBFC_OUT_OF_BUNDLES";
    const quoted = { xid: opening.xid, request: opening.request.slice(0, QUOTE_SIZE) };
    const bundle: Bundle = {
      flags,
      changes: [],
      isClosed: false,
      bytes: 0,
      idleSinceMs: nowMs,
      opening: quoted,
    };
    this.#bundles.set(bundleId, bundle);
    return bundle;
  }

  /** A bundle about which the two ends disagree is discarded. */
  #spoilt(bundleId: number, error: OfpErrorName): { readonly error: OfpErrorName } {
    this.#remove(bundleId);
    return { error };
  }

  #remove(bundleId: number): void {
    this.#bytes -= this.#bundles.get(bundleId)?.bytes ?? 0;
    this.#bundles.delete(bundleId);
  }
}

function isRequest(
  control: BundleControl["control"],
): control is "close_request" | "commit_request" | "discard_request" {
  return control === "close_request" || control === "commit_request" || control === "discard_request";
}

/** The change inside; the error when it is not one, or not a good one. */
function parseChange(add: BundleAdd): SwitchChange | OfpErrorName {
  if (parseHeader(add.message)?.xid !== add.xid) return "OFPBFC_MSG_BAD_XID";
  let message: OpenFlowMessage;
  try {
    message = parseMessage(add.message);
  } catch (error) {
    if (error instanceof WireError) return error.error;
    throw error;
  }
  switch (message.type) {
    case "flow_mod":
    case "group_mod":
    case "port_mod":
    case "meter_mod":
    case "packet_out":
      return message;
    default:
      return "OFPBFC_MSG_UNSUP";
  }
}
