// Ports and queues of OpenFlow 1.4 and 1.5, where what depends on the kind of a port stands in properties.
// Source: OpenFlow Switch Specification 1.4.1, 7.2.1, 7.3.4.3, 7.3.5.6 and 7.3.5.8.

import type { PortDescription, PortMod } from "../messages.js";
import type { PortStats, QueueStats } from "../multipart.js";
import type { Reader, Writer } from "../wire.js";

const ETHERNET = 0;
const EXPERIMENTER = 0xffff;
const INTEL_EXPERIMENTER = 0x0000aa01;
const INTEL_PORT_STATS_RFC2819 = 1;
const INTEL_PORT_STATS_CUSTOM = 2;
const RFC2819_COUNTERS = 21;
/** Of a property, without its type and length. */
const RFC2819_SIZE = 12 + 8 * RFC2819_COUNTERS;
const PORT_NAME_SIZE = 16;
const PORT_SIZE = 40;
const PORT_STATS_SIZE = 80;
const QUEUE_STATS_SIZE = 48;
const UNCOUNTED = 0xffffffffffffffffn;

/** The properties to the reader's end: the body of each by its type, padding to 8 bytes left out. */
export function readProperties(reader: Reader, field: string): readonly { type: number; body: Reader }[] {
  const found: { type: number; body: Reader }[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const type = reader.u16(`${field}.type`);
    const length = reader.u16(`${field}.length`);
    if (length < 4 || length - 4 > reader.left)
      throw reader.fail("OFPTFFC_BAD_LEN", `${field}.length`, `${length}`, at);
    found.push({ type, body: reader.within(length - 4, field, "OFPTFFC_BAD_LEN") });
    reader.skip(Math.min(reader.left, (8 - (length % 8)) % 8));
  }
  return found;
}

/** What is not Ethernet's is not understood, and left out. */
function ethernetOf(reader: Reader, field: string): Reader | undefined {
  let found: Reader | undefined;
  for (const { type, body } of readProperties(reader, field)) {
    if (type === ETHERNET) found = body;
  }
  return found;
}

export function readPortDescription14(reader: Reader): PortDescription {
  const at = reader.offset;
  reader.skip(4);
  const length = reader.u16("port.length");
  if (length < PORT_SIZE || length - 6 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "port.length", `${length}`, at);
  reader.offset = at;
  const port = reader.port("port.port_no");
  reader.skip(2);
  const body = reader.within(length - 6, "port");
  body.skip(2);
  const macAddress = body.copy(6, "port.hw_addr");
  body.skip(2);
  const name = body.name(PORT_NAME_SIZE, "port.name");
  const [config, state] = [body.u32("port.config"), body.u32("port.state")];
  const ethernet = ethernetOf(body, "port.property");
  ethernet?.skip(4);
  const next = (field: string): number => ethernet?.u32(`port.${field}`) ?? 0;
  return {
    port,
    macAddress,
    name,
    config,
    state,
    current: next("curr"),
    advertised: next("advertised"),
    supported: next("supported"),
    peer: next("peer"),
    currentSpeedKbps: next("curr_speed"),
    maxSpeedKbps: next("max_speed"),
  };
}

export function readPortMod14(reader: Reader, xid: number): PortMod {
  const port = reader.port("port_mod.port_no");
  reader.skip(4);
  const macAddress = reader.copy(6, "port_mod.hw_addr");
  reader.skip(2);
  const [config, mask] = [reader.u32("port_mod.config"), reader.u32("port_mod.mask")];
  const advertise = ethernetOf(reader, "port_mod.property")?.u32("port_mod.advertise") ?? 0;
  return { type: "port_mod", xid, port, macAddress, config, mask, advertise };
}

/** The property of Ethernet ports; none when nothing is to be advertised otherwise. */
export function writeAdvertised14(writer: Writer, advertise: number): void {
  if (advertise !== 0) writer.u16(ETHERNET).u16(8).u32(advertise);
}

/** A reader of one element, whose first 16 bits tell its size; what follows them is left. */
function element(reader: Reader, sizeMin: number, field: string): Reader {
  const at = reader.offset;
  const length = reader.u16(`${field}.length`);
  if (length < sizeMin || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", `${field}.length`, `${length}`, at);
  return reader.within(length - 2, field);
}

export function readPortStats14(reader: Reader): PortStats {
  const body = element(reader, PORT_STATS_SIZE, "port_stats");
  body.skip(2);
  const port = body.port("port_stats.port_no");
  const [durationSeconds, durationNanoseconds] = [body.u32("port_stats.sec"), body.u32("port_stats.nsec")];
  const counter = (): bigint => body.u64("port_stats.counter");
  const [rxPackets, txPackets, rxBytes, txBytes] = [counter(), counter(), counter(), counter()];
  const [rxDropped, txDropped, rxErrors, txErrors] = [counter(), counter(), counter(), counter()];
  const properties = readProperties(body, "port_stats.property");
  const ethernet = properties.findLast(({ type }) => type === ETHERNET)?.body;
  const rfc2819 = properties.flatMap(({ type, body }) =>
    type === EXPERIMENTER ? rfc2819Counters(body) : [],
  );
  const custom = properties.flatMap((property) =>
    property.type === EXPERIMENTER ? customCounters(property.body) : [],
  );
  ethernet?.skip(4);
  const next = (): bigint => ethernet?.u64("port_stats.ethernet") ?? UNCOUNTED;
  const [rxFrameErrors, rxOverErrors, rxCrcErrors, collisions] = [next(), next(), next(), next()];
  return {
    ...{ port, rxPackets, txPackets, rxBytes, txBytes, rxDropped, txDropped, rxErrors, txErrors },
    ...{ rxFrameErrors, rxOverErrors, rxCrcErrors, collisions, durationSeconds, durationNanoseconds },
    ...(custom.length === 0 ? {} : { custom }),
    ...(rfc2819.length === 0 ? {} : { rfc2819: rfc2819.slice(-RFC2819_COUNTERS) }),
  };
}

/** Intel's property of the counters of RFC 2819; none for what is another. Leaves the reader where it was. */
function rfc2819Counters(body: Reader): readonly bigint[] {
  const at = body.offset;
  const isIt =
    body.left === RFC2819_SIZE &&
    body.u32("port_stats.experimenter") === INTEL_EXPERIMENTER &&
    body.u32("port_stats.exp_type") === INTEL_PORT_STATS_RFC2819;
  if (isIt) body.skip(4);
  const counters = isIt ? Array.from({ length: RFC2819_COUNTERS }, () => body.u64("port_stats.rfc2819")) : [];
  body.offset = at;
  return counters;
}

/** Intel's property of counters with names; none for what is not known. */
function customCounters(body: Reader): readonly { readonly name: string; readonly value: bigint }[] {
  if (body.left < 12 || body.u32("port_stats.experimenter") !== INTEL_EXPERIMENTER) return [];
  if (body.u32("port_stats.exp_type") !== INTEL_PORT_STATS_CUSTOM) return [];
  body.skip(2);
  const count = body.u16("port_stats.custom_count");
  return Array.from({ length: count }, () => {
    const size = body.u8("port_stats.custom_name_len");
    return { name: body.text(size, "port_stats.custom_name"), value: body.u64("port_stats.custom_value") };
  });
}

export function readQueueStats14(reader: Reader): QueueStats {
  const body = element(reader, QUEUE_STATS_SIZE, "queue_stats");
  body.skip(6);
  return {
    port: body.port("queue_stats.port_no"),
    queueId: body.u32("queue_stats.queue_id"),
    txBytes: body.u64("queue_stats.tx_bytes"),
    txPackets: body.u64("queue_stats.tx_packets"),
    txErrors: body.u64("queue_stats.tx_errors"),
    durationSeconds: body.u32("queue_stats.duration_sec"),
    durationNanoseconds: body.u32("queue_stats.duration_nsec"),
  };
}
