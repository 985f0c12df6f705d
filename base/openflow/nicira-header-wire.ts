// The Nicira actions on whole headers and on what a switch exports, as bytes: encap, decap, delete_field, sample,
// dec_nsh_ttl. Our switch carries none of them out; recorded messages and flows as text may have them.
// Source: ovs-actions(7) for meaning; layouts as Open vSwitch writes and accepts them. A reader starts behind the
// subtype, a writer begins with it.

import type { Action } from "./actions.js";
import { readFieldHeader, writeFieldHeader } from "./bit-range-wire.js";
import type {
  DecapAction,
  DeleteFieldAction,
  EncapAction,
  EncapProperty,
  SampleAction,
} from "./nicira-actions.js";
import type { Reader, Writer } from "./wire.js";

export const NXAST_SAMPLE = 29;
export const NXAST_SAMPLE2 = 38;
export const NXAST_SAMPLE3 = 41;
export const NXAST_ENCAP = 46;
export const NXAST_DECAP = 47;
export const NXAST_DEC_NSH_TTL = 48;
export const NXAST_DELETE_FIELD = 50;

/** Packet types (OpenFlow 1.5.1, 7.2.3.11): namespace and type in 16 bits each. */
export const PACKET_TYPES = {
  ethernet: 0x00000000,
  nsh: 0x0001894f,
  mpls: 0x00018847,
  mpls_mc: 0x00018848,
} as const;

const OFPPPC_NSH = 4;
const OFPPPT_MD_TYPE = 1;
const OFPPPT_TLV = 2;
const DIRECTIONS = [undefined, "ingress", "egress"] as const;
const OFPP_NONE = 0xffff;

export function readEncap(body: Reader): Action {
  body.skip(2);
  const packetType = body.u32("encap.new_pkt_type");
  if (!Object.values<number>(PACKET_TYPES).includes(packetType))
    throw body.fail("NXBAC_BAD_HEADER_TYPE", "encap.new_pkt_type", `0x${packetType.toString(16)}`);
  const properties: EncapProperty[] = [];
  while (body.left > 0) properties.push(readEncapProperty(body));
  return { type: "encap", packetType, properties };
}

function readEncapProperty(body: Reader): EncapProperty {
  const at = body.offset;
  const propertyClass = body.u16("encap.property.class");
  const type = body.u8("encap.property.type");
  const length = body.u8("encap.property.len");
  if (length < 4 || length - 4 > body.left)
    throw body.fail("OFPBAC_BAD_LEN", "encap.property.len", `${length}`, at);
  const property = body.within(length - 4, "encap.property", "NXBAC_BAD_ED_PROP");
  body.skip(Math.min(body.left, (8 - (length % 8)) % 8));
  if (propertyClass !== OFPPPC_NSH)
    throw body.fail("NXBAC_UNKNOWN_ED_PROP", "encap.property.class", `${propertyClass}`, at);
  if (type === OFPPPT_MD_TYPE) {
    const mdType = property.u8("encap.md_type");
    if (property.left > 0 || (mdType !== 1 && mdType !== 2))
      throw body.fail("NXBAC_BAD_ED_PROP", "encap.md_type", `${mdType}`, at);
    return { type: "md_type", mdType };
  }
  if (type !== OFPPPT_TLV) throw body.fail("NXBAC_UNKNOWN_ED_PROP", "encap.property.type", `${type}`, at);
  const tlvClass = property.u16("encap.tlv.class");
  const tlvType = property.u8("encap.tlv.type");
  const data = property.copy(property.u8("encap.tlv.len"), "encap.tlv.data");
  return { type: "tlv", tlvClass, tlvType, data };
}

export function writeEncap(writer: Writer, action: EncapAction): void {
  writer.u16(NXAST_ENCAP).zero(2).u32(action.packetType);
  for (const property of action.properties) {
    writer.u16(OFPPPC_NSH);
    if (property.type === "md_type") writer.u8(OFPPPT_MD_TYPE).u8(5).u8(property.mdType).zero(3);
    else {
      const { tlvClass, tlvType, data } = property;
      const padding = (8 - (data.byteLength % 8)) % 8;
      writer.u8(OFPPPT_TLV).u8(8 + data.byteLength + padding);
      writer.u16(tlvClass).u8(tlvType).u8(data.byteLength).put(data).zero(padding);
    }
  }
}

export function readDecap(body: Reader): Action {
  body.skip(2);
  const packetType = body.u32("decap.new_pkt_type");
  if (body.left > 0) throw body.fail("NXBAC_UNKNOWN_ED_PROP", "decap.properties", `${body.left} bytes`);
  return { type: "decap", packetType };
}

export function writeDecap(writer: Writer, { packetType }: DecapAction): void {
  writer.u16(NXAST_DECAP).zero(2).u32(packetType);
}

export function readDeleteField(body: Reader): Action {
  const field = readFieldHeader(body, "delete_field.field");
  body.skip(body.left);
  if (!field.isVariable) throw body.fail("OFPBAC_BAD_SET_TYPE", "delete_field.field", "cannot be deleted");
  return { type: "delete_field", field: field.name };
}

export function writeDeleteField(writer: Writer, { field }: DeleteFieldAction): void {
  writer.u16(NXAST_DELETE_FIELD);
  writeFieldHeader(writer, field);
  writer.zero(10);
}

export function readSample(body: Reader, subtype: number): Action {
  const probability = body.u16("sample.probability");
  const collectorSetId = body.u32("sample.collector_set_id");
  const observationDomainId = body.u32("sample.obs_domain_id");
  const observationPointId = body.u32("sample.obs_point_id");
  if (probability === 0) throw body.fail("OFPBAC_BAD_ARGUMENT", "sample.probability", "is 0");
  const action = {
    type: "sample",
    probability,
    collectorSetId,
    observationDomainId,
    observationPointId,
  } as const;
  if (subtype === NXAST_SAMPLE) return action;
  const port = body.u16("sample.sampling_port");
  const code = subtype === NXAST_SAMPLE3 ? body.u8("sample.direction") : 0;
  body.skip(body.left);
  if (code >= DIRECTIONS.length) throw body.fail("OFPBAC_BAD_ARGUMENT", "sample.direction", `${code}`);
  const direction = DIRECTIONS[code];
  return {
    ...action,
    ...(port === OFPP_NONE ? {} : { samplingPort: port }),
    ...(direction === undefined ? {} : { direction }),
  };
}

export function writeSample(writer: Writer, action: SampleAction): void {
  const { samplingPort, direction } = action;
  const isLong = samplingPort !== undefined || direction !== undefined;
  writer
    .u16(isLong ? NXAST_SAMPLE3 : NXAST_SAMPLE)
    .u16(action.probability)
    .u32(action.collectorSetId);
  writer.u32(action.observationDomainId).u32(action.observationPointId);
  if (isLong)
    writer
      .u16(samplingPort ?? OFPP_NONE)
      .u8(DIRECTIONS.indexOf(direction))
      .zero(5);
}
