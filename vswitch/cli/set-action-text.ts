// The actions that set a field, by its name and by the older words for it: set_field, mod_vlan_vid, mod_nw_src and their
// like. Pure. Source: ovs-actions(7).
import { PlinthError } from "../../base/errors/index.js";
import {
  type Action,
  isLoadable,
  loadsOf,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP15_VERSION,
  OXM_FIELDS,
  type OxmField,
  type OxmFieldName,
  onesMask,
  type SetFieldAction,
} from "../../base/openflow/index.js";
import type { ActionContext } from "./action-context.js";
import { flowTextError } from "./errors.js";
import { exactProtocols } from "./field-protocols.js";
import { readFieldText, readVidText } from "./field-reader.js";
import {
  actionFieldNamed,
  bytesToNumber,
  type FieldValue,
  isFieldName,
  numberToBytes,
  parseFieldValue,
  smallOr,
} from "./field-text.js";
import { flagsOf } from "./flag-text.js";
import { boundedNumber, cNumber, longWordOf, wordOf } from "./number-text.js";
import { P_NXM_OF11_UP } from "./protocol-set.js";

const NEVER_SET: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>(["eth_type", "ip_proto", "mpls_bos"]);
const VLAN_PRESENT = 0x1000;

/** Names of fields as they stand in a match on the wire. */
const HEADER_NAME = /^(NXM|[A-Z]*OXM)_/;
/** Older names of what set_field sets. */
const SET_WORDS: Readonly<Partial<Record<string, string>>> = { tp_src: "tcp_src", tp_dst: "tcp_dst" };

/** `context` is given where the word is set_field itself. */
export function setField(given: string, argument: string, context?: ActionContext): Action[] {
  const name = SET_WORDS[given] ?? given;
  if (!isFieldName(name) || HEADER_NAME.test(name))
    throw flowTextError(`${name} is not a valid OXM field name`);
  const field = actionFieldNamed(name);
  // What may be matched but not set.
  if (context !== undefined && (!field.writable || NEVER_SET.has(field.name)))
    throw flowTextError(`${name} is read-only`);
  const { value, mask: told } =
    context === undefined ? parseFieldValue(field, argument) : readSetText(field, argument, given);
  const ones = onesMask(field, value.byteLength);
  // An option's mask tells how much of it there is.
  const isWhole =
    !field.isVariable && told?.every((byte, i) => byte === (field.name === "vlan_vid" ? 0xff : ones[i]));
  const mask = isWhole ? undefined : told;
  context?.carriers.restrict(name === "in_port_oxm" ? P_NXM_OF11_UP : exactProtocols(field.name));
  if (mask === undefined) {
    const action = { type: "set_field", field: field.name, value } as const;
    return context === undefined || context.version > OFP11_VERSION ? [action] : oldForm(action, context);
  }
  const action = { type: "set_field", field: field.name, value, mask } as const;
  return !isLoadable(field.name) || context?.version === OFP15_VERSION ? [action] : loadsOf(action);
}

function readSetText(field: OxmField, text: string, word: string): FieldValue {
  const number = flagsOf(field.name) === undefined ? cNumber(text) : undefined;
  if (number !== undefined && number >> BigInt(field.bits) > 0n && number >> BigInt(8 * field.size) === 0n)
    throw flowTextError(`${text} is not a valid value for field ${word}`);
  return field.name === "vlan_vid" ? readVidText(text) : readFieldText(field, text, undefined, word);
}

/** Before 1.2 a field is set by an action of its own, or by loads. */
function oldForm(action: SetFieldAction, context: ActionContext): Action[] {
  const { field, value } = action;
  const number = Number(bytesToNumber(value.subarray(0, 6)));
  if (field === "mpls_label" || field === "mpls_tc") return loadsOf(action);
  if (field === "ip_tos") return [{ type: "set_field", field: "ip_dscp", value: Uint8Array.of(number >> 2) }];
  if (field !== "vlan_tci") return [action];
  if ((number & VLAN_PRESENT) === 0) return [{ type: "pop_vlan" }];
  const set = [
    ...setVlan("vlan_vid", number & 0xfff, context, true),
    ...setVlan("vlan_pcp", number >> 13, context, true),
  ];
  for (const one of set) context.lenient.add(one);
  return set;
}

/** Sets a VLAN field, pushing a tag first where the packet is not known to have one. */
export function setVlan(
  field: "vlan_vid" | "vlan_pcp",
  value: number,
  context: ActionContext,
  pushes: boolean,
): Action[] {
  const bytes = field === "vlan_vid" ? numberToBytes(BigInt(value | 0x1000), 2) : Uint8Array.of(value);
  // 1.0 pushes a tag by itself where there is none.
  if (context.version === OFP10_VERSION || context.hasVlan || !pushes)
    return [{ type: "set_field", field, value: bytes }];
  context.hasVlan = true;
  return [
    { type: "push_vlan", etherType: 0x8100 },
    { type: "set_field", field, value: bytes },
  ];
}

export function setTransport(end: "src" | "dst", argument: string, { protocol }: ActionContext): Action[] {
  const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[protocol ?? -1] ?? "tcp";
  const name = end === "src" ? "source" : "destination";
  smallOr(argument, 0xffff, `invalid ${name} port "${argument}"`);
  return setField(`${prefix}_${end}`, argument);
}

export function setTunnel(argument: string, form: "set_tunnel" | "set_tunnel64"): Action {
  const value = numberToBytes(longWordOf(argument), OXM_FIELDS.tunnel_id.size);
  const isLong = value.subarray(0, 4).some((byte) => byte !== 0);
  return { type: "set_field", field: "tunnel_id", value, form: isLong ? "set_tunnel64" : form };
}

export function setDscp(argument: string): Action {
  const tos = boundedNumber(argument, 255, "TOS");
  if ((tos & 3) !== 0) throw flowTextError(`${argument}: not a valid TOS`);
  return { type: "set_field", field: "ip_dscp", value: Uint8Array.of(tos >> 2) };
}

/** A number of as many bits as C has for it, then held against the bits of the field. */
export function fitting(
  text: string,
  [size, max]: readonly [size: number, max: number],
  what: string,
): number {
  const number = size > 0xffff ? wordOf(text) : boundedNumber(text, size, what);
  if (number > max) throw flowTextError(`${text}: not a valid ${what}`);
  return number;
}

/** As C reads an address of six bytes: what follows it is left. */
function macOf(text: string): Uint8Array {
  const parts = /^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}/.exec(text)?.[0].split(":");
  if (parts === undefined) throw flowTextError(`invalid mac address ${text}`);
  return Uint8Array.from(parts, (part) => Number.parseInt(part, 16));
}

export function setMac(field: "eth_src" | "eth_dst", argument: string): Action {
  return { type: "set_field", field, value: macOf(argument) };
}

export function setIpv4(field: "ipv4_src" | "ipv4_dst", argument: string): Action[] {
  try {
    if (argument.includes("/")) throw flowTextError("no mask");
    return setField(field, argument);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw flowTextError(`${argument}: could not convert to IP address`);
    throw thrown;
  }
}
