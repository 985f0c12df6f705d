// What NXT_CT_FLUSH and NXT_CT_FLUSH_ZONE ask for, out of their bytes behind the subtype.
// Source: the messages that ovs-ofctl ct-flush and ct-flush-zone send; ovs-ofctl(8).
//
//   FLUSH_ZONE  zero 6, zone u16
//   FLUSH       protocol u8, zero 7, properties: 0 tuple of the opener, 1 of the answers, 2 zone u16
//   tuple       zero 4, properties: 0 source 16, 1 destination 16 (IPv4 as ::ffff:a.b.c.d), 2 source port u16,
//               3 destination port u16, 4 ICMP id u16, 5 ICMP type u8, 6 ICMP code u8
//   property    type u16, length u16 (without what fills it up to 8 bytes), value
import { type OfpErrorName, Reader, WireError } from "../../base/openflow/index.js";
import { formatIpv4Address, formatIpv6Address } from "../../base/wire/index.js";
import type { ConnectionFilter, TupleFilter } from "../conntrack/index.js";

export const NXT_CT_FLUSH_ZONE = 29;
export const NXT_CT_FLUSH = 32;

const HEADER_SIZE = 4;
const ICMP = 1;
const ICMPV6 = 58;

/** Which connections are to go, or the error to answer. */
export function parseCtFlush(subtype: number, data: Uint8Array): ConnectionFilter | OfpErrorName {
  const reader = new Reader(data, 0, data.byteLength, "OFPBRC_BAD_LEN");
  try {
    return subtype === NXT_CT_FLUSH_ZONE ? readZone(reader) : readFlush(reader);
  } catch (thrown) {
    if (thrown instanceof WireError) return thrown.error;
    throw thrown;
  }
}

function readZone(reader: Reader): ConnectionFilter {
  mustBeZero(reader, 6, "ct_flush_zone.zero");
  return { zone: reader.u16("ct_flush_zone.zone_id") };
}

function readFlush(reader: Reader): ConnectionFilter {
  const protocol = reader.u8("ct_flush.ip_proto");
  mustBeZero(reader, 7, "ct_flush.zero");
  let filter: ConnectionFilter = protocol === 0 ? {} : { original: { protocol } };
  for (const { type, value } of properties(reader, "ct_flush")) {
    if (type === 0) filter = { ...filter, original: { ...filter.original, ...readTuple(value, protocol) } };
    else if (type === 1) {
      const reply = readTuple(value, protocol);
      if (Object.keys(reply).length > 0) filter = { ...filter, reply };
    } else if (type === 2) filter = { ...filter, zone: value.u16("ct_flush.zone") };
    else throw value.fail("OFPBRC_BAD_TYPE", "ct_flush.property", `type ${type}`);
  }
  return filter;
}

/** What is zero may be anything, of ICMP when all three are. */
function readTuple(reader: Reader, protocol: number): TupleFilter {
  mustBeZero(reader, 4, "ct_flush.tuple.zero");
  const tuple: { -readonly [Name in keyof TupleFilter]: TupleFilter[Name] } = {};
  const icmp = [0, 0, 0];
  for (const { type, value } of properties(reader, "ct_flush.tuple")) {
    if (type === 0) tuple.source = readAddress(value);
    else if (type === 1) tuple.destination = readAddress(value);
    else if (type === 2) tuple.sourcePort = value.u16("ct_flush.tuple.src_port");
    else if (type === 3) tuple.destinationPort = value.u16("ct_flush.tuple.dst_port");
    else if (type === 4) icmp[0] = value.u16("ct_flush.tuple.icmp_id");
    else if (type === 5) icmp[1] = value.u8("ct_flush.tuple.icmp_type");
    else if (type === 6) icmp[2] = value.u8("ct_flush.tuple.icmp_code");
    else throw value.fail("OFPBRC_BAD_TYPE", "ct_flush.tuple.property", `type ${type}`);
  }
  const [id = 0, kind = 0, code = 0] = icmp;
  if ((protocol !== ICMP && protocol !== ICMPV6) || (id === 0 && kind === 0 && code === 0)) return tuple;
  // Tracked connections have type and code where others have a port.
  return { ...tuple, sourcePort: id, destinationPort: (kind << 8) | code };
}

function readAddress(reader: Reader): string {
  const bytes = reader.copy(16, "ct_flush.tuple.address");
  const isIpv4 =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (!isIpv4) return formatIpv6Address(bytes);
  return formatIpv4Address(new DataView(bytes.buffer, bytes.byteOffset).getUint32(12));
}

function* properties(
  reader: Reader,
  field: string,
): Generator<{ readonly type: number; readonly value: Reader }> {
  while (reader.left > 0) {
    const type = reader.u16(`${field}.type`);
    const length = reader.u16(`${field}.length`);
    if (length < HEADER_SIZE || length - HEADER_SIZE > reader.left)
      throw reader.fail("OFPBRC_BAD_LEN", `${field}.length`, `${length} bytes`);
    const value = reader.within(length - HEADER_SIZE, field);
    reader.skip(Math.min(reader.left, (8 - (length % 8)) % 8));
    yield { type, value };
  }
}

function mustBeZero(reader: Reader, size: number, field: string): void {
  const bytes = reader.copy(size, field);
  if (bytes.some((byte) => byte !== 0)) throw reader.fail("NXBRC_MUST_BE_ZERO", field, "is not zero");
}
