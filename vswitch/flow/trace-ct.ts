// What a trace makes of a ct() for a connection that is not known: nat(src=…) and nat(dst=…) give the packet the first
// address and the first port of the range, as in the traces of Open vSwitch, and exec(…) its mark and label. ICMP keeps
// its type and code. Source: ovs-actions(7), ct. Thread: datapath worker. Hot: no.
import type { CtAction, NatAction } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { type CtExec, execOf, writeExec } from "./ct-exec.js";
import * as K from "./key.js";
import { W_DESTINATION, W_PORTS, W_SOURCE } from "./program.js";
import { Rewriter } from "./rewrite.js";
import type { TraceEnds, TraceTranslation } from "./trace-nodes.js";

const PROTOCOLS_WITH_PORTS: readonly number[] = [6, 17, 132];

/** A copy of the packet that goes on in a table when the run is over. */
export interface ForkedCopy {
  readonly recirculation: number;
  readonly nat: NatAction | undefined;
  readonly exec: CtExec;
  /** Mark and label that the packet came with. */
  readonly marks: Int32Array;
}

const STATE_NEW = 0x01;
const STATE_TRACKED = 0x20;
/** By source or destination. */
const STATE_TRANSLATED = 0xc0;

const MARK_WORDS = 5;

/** `key` is the packet's as it comes to the ct(). */
export function forkedCopy(action: CtAction, key: Int32Array, recirculation: number): ForkedCopy {
  const nat = action.actions.find((one) => one.type === "nat");
  const marks = key.slice(K.K_CT_MARK, K.K_CT_MARK + MARK_WORDS);
  return { recirculation, nat, exec: execOf(action, key), marks };
}

/**
 * Changes the packet, which must not be shared, and its key, which says what connection tracking has found; `headers`
 * may be anybody's. `isActual`: a packet that opens no connection stays as it is. Nothing is returned when nothing is to
 * be told.
 */
export function foresee(
  { nat, exec, marks }: ForkedCopy,
  isActual: boolean,
  pool: PacketPool,
  packet: number,
  key: Int32Array,
  headers: K.Headers,
): { readonly translation?: TraceTranslation } {
  const found = key[K.K_CT_STATE]!;
  const opens = (found & STATE_NEW) !== 0;
  const isKnown = !opens && (found & STATE_TRACKED) !== 0;
  if (!isActual && !isKnown) key.set(marks, K.K_CT_MARK);
  if (isActual ? opens : !isKnown) writeExec(exec, key);
  if (nat === undefined) return {};
  const translation =
    isActual && !opens
      ? undefined
      : (found & STATE_TRANSLATED) !== 0
        ? {}
        : translate(nat, pool, packet, key, headers);
  return translation === undefined ? {} : { translation };
}

/** Without ends, the packet stays as it is: the action has no address for it. */
function translate(
  nat: NatAction,
  pool: PacketPool,
  packet: number,
  key: Int32Array,
  headers: K.Headers,
): TraceTranslation {
  const { direction, addressMin, portMin = 0 } = nat;
  headers.parse(pool, packet, key);
  const { l3Kind } = headers;
  const size = l3Kind === K.L3_IPV4 ? 4 : l3Kind === K.L3_IPV6 ? 16 : 0;
  if (direction === "existing" || addressMin?.byteLength !== size) return {};
  const isSource = direction === "source";
  const before = endsOf(key, size);
  const rewriter = new Rewriter(pool, key, headers);
  const view = new DataView(addressMin.buffer, addressMin.byteOffset, size);
  for (let i = 0; i < size / 4; i++) key[(isSource ? K.K_SRC : K.K_DST) + i] = view.getInt32(4 * i);
  rewriter.write(packet, isSource ? W_SOURCE : W_DESTINATION);
  const [protocol, fragment] = [key[K.K_IP]! >>> 24, key[K.K_IP]! & 0xff];
  if (portMin > 0 && fragment === 0 && PROTOCOLS_WITH_PORTS.includes(protocol)) {
    const ports = key[K.K_TP]!;
    key[K.K_TP] = isSource ? (portMin << 16) | (ports & 0xffff) : (ports & ~0xffff) | portMin;
    rewriter.write(packet, W_PORTS);
  }
  return { ends: { before, after: endsOf(key, size) } };
}

function endsOf(key: Int32Array, size: number): TraceEnds {
  const ports = key[K.K_TP]!;
  return {
    source: addressAt(key, K.K_SRC, size),
    sourcePort: ports >>> 16,
    destination: addressAt(key, K.K_DST, size),
    destinationPort: ports & 0xffff,
  };
}

function addressAt(key: Int32Array, word: number, size: number): Uint8Array {
  const address = new Uint8Array(size);
  const view = new DataView(address.buffer);
  for (let i = 0; i < size / 4; i++) view.setInt32(4 * i, key[word + i]!);
  return address;
}
