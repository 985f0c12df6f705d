// A list of changes to a bridge as one: all of it or nothing, and no packet of a port sees a part.
// Packet-outs of the list are judged by the tables as of their place in it, and leave only when all of it succeeds:
// a trial without them comes first, is undone, and then everything is done in order.
// Thread: datapath worker, between breaths.
import { assert } from "../../base/assert/index.js";
import { WireError } from "../../base/openflow/index.js";
import { openFlowErrorOf } from "../flow/index.js";
import type { Bridge, BridgeChange } from "./bridge.js";
import type { Refusal } from "./requests.js";

/** Which change was refused, and why. */
export interface IndexedRefusal extends Refusal {
  readonly index: number;
}

/** Undefined when all of it is in force. */
export function applyAtomically(
  bridge: Bridge,
  changes: readonly BridgeChange[],
  nowMs: number,
  origin = 0,
): IndexedRefusal | undefined {
  bridge.begin();
  const refusal = firstRefusal(bridge, changes, nowMs, origin);
  if (refusal !== undefined) {
    bridge.rollBack();
    return refusal;
  }
  if (changes.some(({ type }) => type === "packet_out" || type === "resume")) {
    bridge.rollBack();
    bridge.begin();
    for (const change of changes) {
      const surprise = attempt(() => bridge.change(change, nowMs, origin));
      assert(surprise === undefined, `a bundle that was tried out is refused: ${surprise?.message}`);
    }
  }
  bridge.commit();
  return undefined;
}

function firstRefusal(
  bridge: Bridge,
  changes: readonly BridgeChange[],
  nowMs: number,
  origin: number,
): IndexedRefusal | undefined {
  for (const [index, change] of changes.entries()) {
    const refusal = attempt(() => {
      if (change.type === "packet_out") bridge.checkPacketOut(change);
      else if (change.type === "resume") bridge.checkResume(change);
      else bridge.change(change, nowMs, origin);
    });
    if (refusal !== undefined) return { index, ...refusal };
  }
  return undefined;
}

/** The OpenFlow error that `run` throws, or that a message it cannot read deserves; rethrows every other. */
export function attempt(run: () => void): Refusal | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof WireError)
      return { error: thrown.error, message: thrown.message, isMalformed: true };
    const error = openFlowErrorOf(thrown);
    if (error === undefined) throw thrown;
    return { error, message: (thrown as Error).message };
  }
}
