// Packet-ins as they stand on the wire, where Open vSwitch prints what our codec, which is that of a switch, refuses:
// reasons that no version has, and what in a continuation only we understand. Pure.
import { type MessageKind, OFP10_VERSION, OFP11_VERSION } from "../../base/openflow/index.js";

const HEADER_SIZE = 8;
const NX_HEADER_SIZE = 16;
const NXPINT_REASON = 5;
const NXPINT_CONTINUATION = 8;
/** Of a continuation; see base/openflow/continuation-wire.ts. */
const OURS_FIRST = 0x80f0;
const OURS_LAST = 0x80f2;
const UNKNOWN = 0x80ff;
const REASONS = ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out", "", ""] as const;
const REASON_MAX = 5;

/** Every property from `at` on, until the first that does not fit. */
function* propertiesFrom(view: DataView, from: number, to: number) {
  for (let at = from; at + 4 <= to; ) {
    const [type, size] = [view.getUint16(at), view.getUint16(at + 2)];
    if (size < 4 || at + size > to) return;
    yield { type, at, size };
    at += Math.ceil(size / 8) * 8;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Where the byte of the reason stands; undefined when the message tells none. */
function reasonAt(kind: string, bytes: Uint8Array): number | undefined {
  if (kind === "OFPT_PACKET_IN") {
    if (bytes[0] === OFP10_VERSION) return HEADER_SIZE + 8;
    return HEADER_SIZE + (bytes[0] === OFP11_VERSION ? 14 : 6);
  }
  if (kind === "NXT_PACKET_IN") return NX_HEADER_SIZE + 6;
  const found = [...propertiesFrom(viewOf(bytes), NX_HEADER_SIZE, bytes.byteLength)].findLast(
    ({ type, size }) => type === NXPINT_REASON && size > 4,
  );
  return found && found.at + 4;
}

/** Why a packet was sent up, as ovs-ofctl says it; every version has the words of all. */
export function packetInReason(kind: string, bytes: Uint8Array): string {
  const at = reasonAt(kind, bytes);
  const reason = at === undefined ? 0 : (bytes[at] as number);
  return REASONS[reason] ?? String(reason);
}

/** The same message with nothing in it that only Open vSwitch takes, or only we. */
export function plainPacketIn({ name }: Pick<MessageKind, "name">, bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice();
  const view = viewOf(changed);
  const at = reasonAt(name, changed);
  if (at !== undefined && (changed[at] as number) > REASON_MAX) changed[at] = 1;
  if (name === "OFPT_PACKET_IN" || name === "NXT_PACKET_IN") return changed;
  for (const outer of propertiesFrom(view, NX_HEADER_SIZE, changed.byteLength)) {
    if (outer.type !== NXPINT_CONTINUATION || outer.size < 8) continue;
    for (const { type, at: inner } of propertiesFrom(view, outer.at + 8, outer.at + outer.size))
      if (type >= OURS_FIRST && type <= OURS_LAST) view.setUint16(inner, UNKNOWN);
  }
  return changed;
}
