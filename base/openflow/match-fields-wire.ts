// The fields of a match by themselves, without what frames them in a message. Source: as nxm-match-wire.ts.
import type { Match } from "./actions.js";
import { inWireOrder } from "./match-order.js";
import { writeOxm } from "./match-wire.js";
import { readNxmEntries, writeNxmEntries } from "./nxm-match-wire.js";
import { Reader, Writer } from "./wire.js";

/** Both forms are read, whatever was asked for. Throws WireError. */
export function readMatchFields(bytes: Uint8Array): Match {
  return readNxmEntries(new Reader(bytes, 0, bytes.byteLength, "OFPBMC_BAD_LEN")).match;
}

/** In Nicira's form or the standard's, in the order in which Open vSwitch writes them. */
export function writeMatchFields(match: Match, form: "nxm" | "oxm"): Uint8Array {
  const writer = new Writer();
  const ordered = inWireOrder(match);
  if (form === "nxm") writeNxmEntries(writer, ordered);
  else for (const entry of ordered) writeOxm(writer, entry);
  return writer.take();
}
