// Connection tracking in its simplest form, for tests of what is around it: a map of tuples, no time-outs, no NAT, no
// protocol states beyond "seen in both directions".
import { CT_STATE_EST, CT_STATE_NEW, CT_STATE_RPL, CT_STATE_TRK } from "../../base/openflow/index.js";
import { FlowKey, type Tracker } from "../../vswitch/flow/index.js";

const IPPROTO_ICMP = 1;

export function createModelTracker(): Tracker {
  const connections = new Map<string, { readonly opener: string; mark: number }>();
  const tuple = (key: Int32Array, zone: number, reversed: boolean): string => {
    const protocol = (key[FlowKey.K_IP] as number) >>> 24;
    const ports = protocol === IPPROTO_ICMP ? 0 : (key[FlowKey.K_TP] as number);
    const source = `${key[FlowKey.K_SRC]}:${ports >>> 16}`;
    const destination = `${key[FlowKey.K_DST]}:${ports & 0xffff}`;
    return [zone, protocol, ...(reversed ? [destination, source] : [source, destination])].join(" ");
  };
  return {
    track(_packet, key, _headers, _rewriter, ct, zone, _nowMs, dry) {
      const forward = tuple(key, zone, false);
      const found = connections.get(forward) ?? connections.get(tuple(key, zone, true));
      key[FlowKey.K_CT_ZONE] = zone;
      key[FlowKey.K_CT_MARK] = found?.mark ?? 0;
      const reply = found !== undefined && found.opener !== forward;
      const state = found === undefined ? CT_STATE_NEW : CT_STATE_EST | (reply ? CT_STATE_RPL : 0);
      key[FlowKey.K_CT_STATE] = CT_STATE_TRK | state;
      if (!ct.commit || dry) return -1;
      const connection = found ?? { opener: forward, mark: 0 };
      if (ct.program !== null) setMark(key, ct.program.code);
      connection.mark = key[FlowKey.K_CT_MARK] as number;
      connections.set(connection.opener, connection);
      return -1;
    },
  };
}

/** Runs OP_SET instructions: op, writer, count, then (word, mask, value) per word. */
function setMark(key: Int32Array, code: Int32Array): void {
  for (let at = 0; at < code.length; ) {
    const count = code[at + 2] as number;
    for (let i = 0; i < count; i++) {
      const [word, mask, value] = code.subarray(at + 3 + i * 3, at + 6 + i * 3) as unknown as [
        number,
        number,
        number,
      ];
      key[word] = ((key[word] as number) & ~mask) | value;
    }
    at += 3 + count * 3;
  }
}
