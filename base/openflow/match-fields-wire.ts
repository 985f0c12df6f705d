// The fields of a match by themselves, without what frames them in a message. Source: as nxm-match-wire.ts.
import type { Match } from "./actions.js";
import { OFP13_VERSION } from "./constants.js";
import { inWireOrder } from "./match-order.js";
import { writeOxm } from "./match-wire.js";
import { readNxmEntries, writeNxmEntries } from "./nxm-match-wire.js";
import { readMatch10, writeMatch10 } from "./v10/match-wire.js";
import { readMatch11, writeMatch11 } from "./v11/match-wire.js";
import { Reader, type ReaderChecks, Writer } from "./wire.js";

/** Both forms are read, whatever was asked for; loose ones without what they need, and what is not known left out. Throws WireError. */
export function readMatchFields(bytes: Uint8Array, isLoose = false, checks?: ReaderChecks): Match {
  const reader = new Reader(bytes, 0, bytes.byteLength, "OFPBMC_BAD_LEN", OFP13_VERSION, { checks });
  return readNxmEntries(reader, isLoose).match;
}

/** In Nicira's form or the standard's, in the order in which Open vSwitch writes them. */
export function writeMatchFields(match: Match, form: "nxm" | "oxm"): Uint8Array {
  const writer = new Writer();
  const ordered = inWireOrder(match);
  if (form === "nxm") writeNxmEntries(writer, ordered);
  else for (const entry of ordered) writeOxm(writer, entry);
  return writer.take();
}

/** The match of fixed size that OpenFlow 1.0 and 1.1 have. Throws WireError. */
export function readFixedMatch(bytes: Uint8Array, version: 1 | 2): Match {
  const reader = new Reader(bytes, 0, bytes.byteLength, "OFPBMC_BAD_LEN", version);
  return version === 1 ? readMatch10(reader) : readMatch11(reader);
}

export function writeFixedMatch(match: Match, version: 1 | 2): Uint8Array {
  const writer = new Writer(version);
  if (version === 1) writeMatch10(writer, match);
  else writeMatch11(writer, match);
  return writer.take();
}
