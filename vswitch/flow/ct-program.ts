// A ct action, checked and made ready to run.
// Source: ovs-actions(7), ct and its nat and exec. Thread: datapath worker.
import type { Action, BitRange, CtAction, NatAction } from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import * as K from "./key.js";
import type { Prerequisites } from "./prerequisites.js";
import type { Program } from "./program.js";

export const ALG_NONE = 0;
export const ALG_FTP = 21;
export const ALG_TFTP = 69;

/** How a new connection is translated. */
export interface NatProgram {
  readonly kind: "source" | "destination" | "existing";
  /** Of the addresses: 4 or 6; 0 = the action names none, and they stay. */
  readonly family: number;
  /** Four words, as in the key; IPv4 in the first. Both ends belong to the range. */
  readonly addressMin: Int32Array;
  readonly addressMax: Int32Array;
  /** −1: none is named, so the port stays where it can. */
  readonly portMin: number;
  readonly portMax: number;
  /** How a port of a range is chosen: "auto" keeps the port where it can. */
  readonly selection: NatAction["selection"];
  /** A client gets the same address of the range also after a restart. */
  readonly persistent: boolean;
}

export interface CtProgram {
  readonly commit: boolean;
  readonly force: boolean;
  /** −1 when the zone comes from a field. */
  readonly zone: number;
  readonly zoneWord: number;
  readonly zoneShift: number;
  /** −1: no recirculation. */
  readonly tableId: number;
  /** ALG_: whose side connections are expected. */
  readonly alg: number;
  readonly nat: NatProgram | null;
  /** Run on the key when committed; sets ct_mark and ct_label only. */
  readonly program: Program | null;
}

/** Throws OFPBAC_MATCH_INCONSISTENT when the packet is known not to be what the action works on. */
export function checkConnectionPrerequisites(action: CtAction, prerequisites: Prerequisites): void {
  const refuse = (what: string): never => {
    throw flowError("OFPBAC_MATCH_INCONSISTENT", `${what}, which the match does not ask for`);
  };
  if (!prerequisites.allows("ip")) refuse("ct needs IP");
  if (action.alg === ALG_FTP && !prerequisites.allows("tcp")) refuse("alg=ftp needs TCP");
  if (action.alg === ALG_TFTP && !prerequisites.allows("udp")) refuse("alg=tftp needs UDP");
  const nat = action.actions.find((inner): inner is NatAction => inner.type === "nat");
  const size = nat?.addressMin?.byteLength;
  if (size === 4 && !prerequisites.allows("ipv4")) refuse("nat to IPv4 addresses needs IPv4");
  if (size === 16 && !prerequisites.allows("ipv6")) refuse("nat to IPv6 addresses needs IPv6");
}

/** Compiles `action`; `rangeStart` places a field in the key, `compile` makes a program of the exec actions. */
export function compileCt(
  action: CtAction,
  rangeStart: (range: BitRange) => number,
  compile: (actions: readonly Action[]) => Program,
): CtProgram {
  const { alg } = action;
  if (alg !== ALG_NONE && alg !== ALG_FTP && alg !== ALG_TFTP)
    throw flowError("OFPBAC_BAD_ARGUMENT", `ct alg ${alg} is neither ftp (21) nor tftp (69)`);
  const nat = action.actions.find((inner): inner is NatAction => inner.type === "nat");
  const rest = action.actions.filter((inner) => inner.type !== "nat");
  if (action.actions.length - rest.length > 1)
    throw flowError("OFPBAC_BAD_ARGUMENT", "more than one nat inside one ct");
  if (nat !== undefined && nat.direction !== "existing" && !action.commit)
    throw flowError("OFPBAC_BAD_ARGUMENT", "nat(src) and nat(dst) need ct(commit)");
  for (const inner of rest) checkExec(inner);
  const fixed = typeof action.zone === "number";
  const start = typeof action.zone === "number" ? 0 : rangeStart(action.zone);
  if (!fixed && (start & 31) > 16)
    throw flowError("OFPBAC_BAD_ARGUMENT", "a ct zone may not straddle two words of its field");
  return {
    commit: action.commit,
    force: action.force,
    zone: typeof action.zone === "number" ? action.zone : -1,
    zoneWord: start >>> 5,
    zoneShift: 16 - (start & 31),
    tableId: action.tableId ?? -1,
    alg,
    nat: nat === undefined ? null : compileNat(nat),
    program: rest.length === 0 ? null : compile(rest),
  };
}

function checkExec(inner: Action): void {
  const target =
    inner.type === "set_field" ? inner.field : "destination" in inner ? inner.destination.field : "";
  if (target !== "ct_mark" && target !== "ct_label")
    throw flowError("OFPBAC_BAD_ARGUMENT", `${inner.type} ${target} inside ct`);
}

function compileNat(nat: NatAction): NatProgram {
  const { addressMin, addressMax, portMin } = nat;
  return {
    kind: nat.direction,
    family: addressMin === undefined ? 0 : addressMin.byteLength === 4 ? 4 : 6,
    addressMin: addressWords(addressMin),
    addressMax: addressWords(addressMax ?? addressMin),
    portMin: portMin ?? -1,
    portMax: nat.portMax ?? portMin ?? -1,
    selection: nat.selection,
    persistent: nat.persistent,
  };
}

function addressWords(bytes: Uint8Array | undefined): Int32Array {
  const words = new Int32Array(4);
  if (bytes === undefined) return words;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i * 4 < bytes.byteLength; i++) words[i] = view.getInt32(i * 4);
  return words;
}

/** The ct words of a packet that has not been tracked: none. */
export function clearConnection(key: Int32Array): void {
  for (let i = K.K_CT_STATE; i < K.K_PKT_MARK; i++) key[i] = 0;
}

/** Whether the key names the connection that the packet belongs to. */
export function hasConnection(key: Int32Array): boolean {
  return key[K.K_CT_ZONE]! >>> 24 !== 0;
}

/** Exchanges the packet's addresses, ports and protocol with those of the connection's first packet. */
export function swapConnection(key: Int32Array): void {
  for (let i = 0; i < 8; i++) {
    const own = key[K.K_SRC + i]!;
    key[K.K_SRC + i] = key[K.K_CT_SRC + i]!;
    key[K.K_CT_SRC + i] = own;
  }
  const ports = key[K.K_TP]!;
  key[K.K_TP] = key[K.K_CT_TP]!;
  key[K.K_CT_TP] = ports;
  const protocol = key[K.K_IP]! & 0xff000000;
  key[K.K_IP] = (key[K.K_IP]! & 0xffffff) | (key[K.K_CT_ZONE]! & 0xff000000);
  key[K.K_CT_ZONE] = (key[K.K_CT_ZONE]! & 0xffffff) | protocol;
}
