// Meter-mod and bands as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.4.4.

import type { MeterBand } from "./actions.js";
import { OFPMF_KBPS, OFPMF_PKTPS } from "./constants.js";
import type { MeterMod, MeterModCommand } from "./messages.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const OFPMC: Readonly<Record<MeterModCommand, number>> = { add: 0, modify: 1, delete: 2 };
/** Band types on the wire, also the bit numbers of the meter features. */
export const OFPMBT = { drop: 1, dscp_remark: 2, experimenter: 0xffff } as const;

const BAND_SIZE = 16;
const OFPMF_ALL = 0x0f;
const OFPMF_RATES = OFPMF_KBPS | OFPMF_PKTPS;

export function readMeterMod(reader: Reader, xid: number): MeterMod {
  const at = reader.offset;
  const command = nameOf(OFPMC, reader.u16("meter_mod.command"));
  if (command === undefined)
    throw reader.fail("OFPMMFC_BAD_COMMAND", "meter_mod.command", "unknown command", at);
  const flags = reader.u16("meter_mod.flags");
  if (command === "delete") {
    // Nothing but its number counts.
    const meterId = reader.u32("meter_mod.meter_id");
    reader.skip(reader.left);
    return { type: "meter_mod", xid, command, flags: 0, meterId, bands: [] };
  }
  if ((flags & ~OFPMF_ALL) !== 0) {
    throw reader.fail(
      "OFPMMFC_BAD_FLAGS",
      "meter_mod.flags",
      `unknown bits in 0x${flags.toString(16)}`,
      at + 2,
    );
  }
  if ((flags & OFPMF_RATES) === OFPMF_RATES)
    throw reader.fail("OFPMMFC_BAD_FLAGS", "meter_mod.flags", "rates in kb/s and in packets/s", at + 2);
  const meterId = reader.u32("meter_mod.meter_id");
  return { type: "meter_mod", xid, command, flags, meterId, bands: readBands(reader) };
}

/** Reads bands to the reader's end. */
export function readBands(reader: Reader): readonly MeterBand[] {
  const bands: MeterBand[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const type = reader.u16("band.type");
    const length = reader.u16("band.len");
    const name = nameOf(OFPMBT, type);
    if (length < BAND_SIZE || length - 4 > reader.left)
      throw reader.fail("OFPBRC_BAD_LEN", "band.len", `${length} of ${reader.left + 4} bytes`, at);
    if (name === undefined) throw reader.fail("OFPMMFC_BAD_BAND", "band.type", `unknown type ${type}`, at);
    if (name !== "experimenter" && length !== BAND_SIZE)
      throw reader.fail("OFPBRC_BAD_LEN", "band.len", `${length} of ${BAND_SIZE} bytes`, at);
    bands.push(readBand(name, reader.within(length - 4, "band")));
  }
  return bands;
}

function readBand(type: keyof typeof OFPMBT, body: Reader): MeterBand {
  const rate = body.u32("band.rate");
  const burstSize = body.u32("band.burst_size");
  if (type === "drop") return { type, rate, burstSize };
  if (type === "dscp_remark") {
    return { type, rate, burstSize, precedenceLevel: body.u8("band.prec_level") };
  }
  return { type, rate, burstSize, experimenter: body.u32("band.experimenter"), data: body.rest() };
}

export function writeMeterMod(writer: Writer, mod: MeterMod): void {
  writer.u16(OFPMC[mod.command]).u16(mod.flags).u32(mod.meterId);
  writeBands(writer, mod.bands);
}

export function writeBands(writer: Writer, bands: readonly MeterBand[]): void {
  for (const band of bands) {
    const start = writer.size;
    writer.u16(OFPMBT[band.type]).u16(0).u32(band.rate).u32(band.burstSize);
    if (band.type === "drop") writer.zero(4);
    else if (band.type === "dscp_remark") writer.u8(band.precedenceLevel).zero(3);
    else writer.u32(band.experimenter).put(band.data);
    writer.setLength(start + 2, start);
  }
}
