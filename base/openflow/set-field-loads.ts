// A set-field as the loads that do the same, where a version or a datapath has no set-field for the field or its mask.
// Source: ovs-actions(7), set_field: how it is said in versions before it.

import type { SetFieldAction } from "./actions.js";
import { onesMask } from "./match-wire.js";
import type { LoadAction } from "./nicira-actions.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, type OxmFieldName } from "./oxm-fields.js";

const LOAD_BITS_MAX = 64;

/** Whether loads can name the field: its header has 4 bytes, and its value a known size. */
export function isLoadable(name: OxmFieldName): boolean {
  const { oxmClass, aliases, isVariable } = OXM_FIELDS[name];
  return !isVariable && (oxmClass !== OFPXMC_EXPERIMENTER || aliases.length > 0);
}

/** A load for every run of set bits in the mask, of at most 64 bits each, the lowest first. */
export function loadsOf({
  field,
  value,
  mask,
}: Pick<SetFieldAction, "field" | "value" | "mask">): LoadAction[] {
  const { bits } = OXM_FIELDS[field];
  const masked = toNumber(mask ?? onesMask(OXM_FIELDS[field], value.byteLength));
  const number = toNumber(value);
  const isSet = (bit: number): boolean => ((masked >> BigInt(bit)) & 1n) === 1n;
  const loads: LoadAction[] = [];
  for (let offset = 0; offset < bits; offset++) {
    if (!isSet(offset)) continue;
    let end = offset;
    while (end < bits && end - offset < LOAD_BITS_MAX && isSet(end)) end++;
    const width = end - offset;
    const part = (number >> BigInt(offset)) & ((1n << BigInt(width)) - 1n);
    loads.push({ type: "load", destination: { field, offset, bits: width }, value: part });
    offset = end - 1;
  }
  return loads;
}

/** A load as a set-field, with a mask where it sets only a part. */
export function setFieldOf({ destination, value }: LoadAction): SetFieldAction {
  const field = OXM_FIELDS[destination.field];
  const ones = ((1n << BigInt(destination.bits)) - 1n) << BigInt(destination.offset);
  const size = field.isVariable ? Math.ceil((destination.offset + destination.bits) / 8) : field.size;
  const bytes = toBytes(value << BigInt(destination.offset), size);
  return destination.bits === field.bits
    ? { type: "set_field", field: field.name, value: bytes }
    : { type: "set_field", field: field.name, value: bytes, mask: toBytes(ones, size) };
}

function toNumber(bytes: Uint8Array): bigint {
  let number = 0n;
  for (const byte of bytes) number = (number << 8n) | BigInt(byte);
  return number;
}

function toBytes(number: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((number >> BigInt(8 * (size - 1 - i))) & 0xffn));
}
