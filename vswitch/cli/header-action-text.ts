// encap, decap, delete_field and sample as people write them. Pure. Source: ovs-actions(7).
// Invariant: what is formatted parses to the same value.
import type {
  Action,
  DecapAction,
  EncapAction,
  EncapProperty,
  SampleAction,
} from "../../base/openflow/index.js";
import { OXM_FIELDS, OXM_NAMES, widenPort } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { fieldNamed, formatPort, numberToBytes, parseNumber, parsePort, parseSmall } from "./field-text.js";
import { splitList, splitPair } from "./range-text.js";

const PACKET_TYPES: Readonly<Record<string, number>> = {
  ethernet: 0,
  nsh: 0x0001894f,
  mpls: 0x00018847,
  mpls_mc: 0x00018848,
};
const PT_USE_NEXT_PROTO = 0x0000fffe;
const U32 = 0xffffffff;
const TLV_SIZE_MAX = 124;

export function parseEncap(argument: string): EncapAction {
  const match = /^\s*(\w+)\s*(?:\(([\s\S]*)\))?\s*$/.exec(argument);
  const name = match?.[1] ?? "";
  if (/^[,\s]*$/.test(argument)) throw flowTextError(`Missing encap hdr: ${argument}`);
  const packetType = Object.hasOwn(PACKET_TYPES, name) ? PACKET_TYPES[name] : undefined;
  if (packetType === undefined) throw flowTextError("Encap hdr not supported: ");
  const properties = splitList(match?.[2] ?? "").map((part) => parseProperty(part, name));
  return { type: "encap", packetType, properties };
}

function parseProperty(text: string, header: string): EncapProperty {
  const [, key = text, inner] = /^(\w+)(?:[=(]([\s\S]*?)\)?)?$/.exec(text) ?? [];
  if (header !== "nsh" || inner === undefined) throw flowTextError(`Invalid property: ${key}`);
  if (key === "md_type") {
    const mdType = /^[12]$/.test(inner) ? Number(inner) : undefined;
    if (mdType === undefined) throw flowTextError(`invalid md_type`);
    return { type: "md_type", mdType };
  }
  if (key !== "tlv") throw flowTextError(`Invalid property: ${key}`);
  const [tlvClass, tlvType, value, more] = splitList(inner);
  const isHex = /^0[xX][0-9a-fA-F]+$/.test(value ?? "");
  if (!isHex || more !== undefined) throw flowTextError(`Invalid NSH TLV header: ${inner}`);
  const digits = (value as string).slice(2);
  const size = Math.max(1, Math.ceil(digits.length / 2));
  if (size > TLV_SIZE_MAX) throw flowTextError(`Value too big for tlv: ${value}`);
  const data = numberToBytes(BigInt(`0x${digits}`), size);
  return {
    type: "tlv",
    tlvClass: parseSmall(tlvClass ?? "", 0xffff),
    tlvType: parseSmall(tlvType ?? "", 0xff),
    data,
  };
}

export function parseDecap(argument: string): DecapAction {
  if (argument === "") return { type: "decap", packetType: PT_USE_NEXT_PROTO };
  const match = /^packet_type\(\s*ns=(\w+)\s*,\s*type=(\w+)\s*\)$/.exec(argument.trim());
  if (match === null) {
    const [name = "", inner = ""] = argument.trim().split(/[=:(]([\s\S]*)/);
    if (name !== "packet_type") throw flowTextError(`Invalid decap argument: ${name}`);
    throw flowTextError(`Missing packet_type attribute ${/^\s*ns=/.test(inner) ? "type" : "ns"}`);
  }
  const [namespace, type] = [parseSmall(match[1] as string, 0xffff), parseSmall(match[2] as string, 0xffff)];
  return { type: "decap", packetType: namespace * 0x10000 + type };
}

export function parseDeleteField(argument: string): Action {
  const field = fieldNamed(argument.trim());
  if (!field.isVariable) throw flowTextError(`${argument}: cannot delete this field`);
  return { type: "delete_field", field: field.name };
}

export function parseSample(argument: string): SampleAction {
  const found = {
    type: "sample" as const,
    probability: 0,
    collectorSetId: 0,
    observationDomainId: 0,
    observationPointId: 0,
  };
  const more: { samplingPort?: number; direction?: "ingress" | "egress" } = {};
  for (const part of splitList(argument)) {
    const [key, value = ""] = splitPair(part);
    if (key === "probability") {
      found.probability = parseSmall(value, 0xffff);
      if (found.probability === 0) throw flowTextError(`invalid probability value "${value}"`);
    } else if (key === "collector_set_id") found.collectorSetId = Number(parseNumber(value, BigInt(U32)));
    else if (key === "obs_domain_id") found.observationDomainId = Number(parseNumber(value, BigInt(U32)));
    else if (key === "obs_point_id") found.observationPointId = Number(parseNumber(value, BigInt(U32)));
    else if (key === "sampling_port") more.samplingPort = samplingPort(value);
    else if (part === "ingress" || part === "egress") more.direction = part;
    else throw flowTextError(`invalid key "${key}" in "sample" argument`);
  }
  if (found.probability === 0) throw flowTextError('non-zero "probability" must be specified on sample');
  return { ...found, ...more };
}

function samplingPort(text: string): number {
  try {
    return parsePort(text) & 0xffff;
  } catch {
    throw flowTextError(`${text}: unknown port`);
  }
}

/** These actions; undefined for others. */
export function formatHeaderAction(action: Action): string | undefined {
  switch (action.type) {
    case "encap":
      return formatEncap(action);
    case "decap": {
      const { packetType } = action;
      if (packetType === PT_USE_NEXT_PROTO) return "decap()";
      const type = packetType & 0xffff;
      return `decap(packet_type(ns=${packetType >>> 16},type=${type === 0 ? "0" : `0x${type.toString(16)}`}))`;
    }
    case "delete_field":
      return `delete_field:${OXM_NAMES[OXM_FIELDS[action.field].name].manual}`;
    case "sample":
      return formatSample(action);
    default:
      return undefined;
  }
}

function formatEncap({ packetType, properties }: EncapAction): string {
  const name = Object.keys(PACKET_TYPES).find((one) => PACKET_TYPES[one] === packetType);
  const parts = properties.map((one) =>
    one.type === "md_type"
      ? `md_type=${one.mdType}`
      : `tlv(0x${one.tlvClass.toString(16).padStart(4, "0")},${one.tlvType},0x${Buffer.from(one.data).toString("hex")})`,
  );
  return `encap(${name}${parts.length === 0 ? "" : `(${parts.join(",")})`})`;
}

function formatSample(action: SampleAction): string {
  const { samplingPort: port, direction } = action;
  const parts = [
    `probability=${action.probability}`,
    `collector_set_id=${action.collectorSetId}`,
    `obs_domain_id=${action.observationDomainId}`,
    `obs_point_id=${action.observationPointId}`,
    ...(port === undefined ? [] : [`sampling_port=${formatPort(widenPort(port))}`]),
    ...(direction === undefined ? [] : [direction]),
  ];
  return `sample(${parts.join(",")})`;
}
