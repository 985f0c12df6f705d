// Whether all that a recorded verdict does is to commit connections and to put packets out as they are: then the packets
// of a burst may be committed one by one and put out together. Thread: datapath worker.
import { OFPP_MAX, OFPP_NORMAL } from "../../base/openflow/index.js";
import { ALG_NONE } from "./ct-program.js";
import { OP_OUTPUT } from "./program.js";
import { type Commit, V_AT, V_CT_LIVE } from "./verdict.js";
import type { VerdictRecorder } from "./verdict-recorder.js";

export function commitOf({ code, length, cts, isLive, isMetered }: VerdictRecorder): Commit | null {
  const ct = cts[0];
  if (!isLive || isMetered || ct === undefined || cts.length > 1) return null;
  // Other addresses, and a side of the conversation that is to be expected, are for the long way.
  const isPlain = ct.nat === null && ct.alg === ALG_NONE && !ct.force;
  if (!ct.commit || ct.zone < 0 || !isPlain) return null;
  let [tableId, flowIndex] = [-1, -1];
  let found: Commit | null = null;
  for (let at = 0; at < length; ) {
    switch (code[at]) {
      case V_AT:
        [tableId, flowIndex] = [code[at + 1]!, code[at + 2]!];
        at += 3;
        break;
      case V_CT_LIVE:
        at += 3;
        break;
      case OP_OUTPUT: {
        const port = code[at + 1]! >>> 0;
        if (found !== null || (port > OFPP_MAX && port !== OFPP_NORMAL)) return null;
        found = { ct, port, tableId, flowIndex };
        at += 3;
        break;
      }
      default:
        return null;
    }
  }
  return found;
}
