// Matches as Nicira's extensions write them: NXM entries without the frame of an OXM match, where the ingress port has
// 16 bits, VLAN id and priority are one field, DSCP stands in its byte, and a cookie may be among them.
// Source: ovs-fields(7).

import type { Match, OxmEntry } from "./actions.js";
import {
  checked,
  constrains,
  prerequisiteHolds,
  readMatchEntry,
  skipUnknown,
  writeOxm,
} from "./match-wire.js";
import { OFPXMC_NXM_0, OFPXMC_NXM_1, OXM_FIELDS, type OxmFieldName } from "./oxm-fields.js";
import { bigEndian, narrowPort, numberOf, widenPort } from "./v10/numbers.js";
import type { Reader, Writer } from "./wire.js";

const NXM_OF_IN_PORT = 0x00000002;
const NXM_OF_VLAN_TCI = 0x00000802;
const NXM_OF_VLAN_TCI_W = 0x00000904;
const NXM_OF_IP_TOS = 0x00000a01;
const NXM_NX_COOKIE = 0x00013c08;
const NXM_NX_COOKIE_W = 0x00013d10;

export interface NxmMatch {
  readonly match: Match;
  /** 0 and no bits when the match has none. */
  readonly cookie: bigint;
  readonly cookieMask: bigint;
}

/** Reads entries of `size` bytes and the padding to a multiple of 8. */
export function readNxmMatch(reader: Reader, size: number, isLoose = false): NxmMatch {
  const padded = Math.ceil(size / 8) * 8;
  if (padded > reader.left)
    throw reader.fail("OFPBMC_BAD_LEN", "match", `${padded} bytes, of which ${reader.left} are left`);
  const match = readNxmEntries(reader.within(size, "match", "OFPBMC_BAD_LEN"), isLoose);
  reader.skip((8 - (size % 8)) % 8, "match.padding");
  return match;
}

/** Reads entries to the reader's end; loose ones tell of a packet, with fields of any sort. */
export function readNxmEntries(body: Reader, isLoose = false): NxmMatch {
  const match: OxmEntry[] = [];
  const seen = new Set<OxmFieldName>();
  let cookie = 0n;
  let cookieMask = 0n;
  while (body.left > 0) {
    const at = body.offset;
    const header = peek(body);
    if (header === NXM_NX_COOKIE || header === NXM_NX_COOKIE_W) {
      body.skip(4);
      cookie = body.u64("match.cookie");
      cookieMask = header === NXM_NX_COOKIE_W ? body.u64("match.cookie_mask") : 0xffffffffffffffffn;
      continue;
    }
    if (isLoose && header !== NXM_OF_IN_PORT && header !== NXM_OF_IP_TOS && skipUnknown(body)) continue;
    const entry = readEntry(body, header);
    if (seen.has(entry.field)) throw body.fail("OFPBMC_DUP_FIELD", entry.field, "occurs twice", at);
    if (!isLoose && !prerequisiteHolds(OXM_FIELDS[entry.field].prerequisite, match)) {
      throw body.fail("OFPBMC_BAD_PREREQ", entry.field, "its prerequisites are not matched before it", at);
    }
    if (!constrains(entry)) continue;
    seen.add(entry.field);
    match.push(entry);
  }
  return { match, cookie, cookieMask };
}

function peek(body: Reader): number {
  const header = body.u32("nxm.header");
  body.offset -= 4;
  return header;
}

function readEntry(body: Reader, header: number): OxmEntry {
  const at = body.offset;
  if (header === NXM_OF_IN_PORT) {
    body.skip(4);
    return checked(body, { field: "in_port", value: bigEndian(widenPort(body.u16("in_port")), 4) }, at);
  }
  if (header === NXM_OF_IP_TOS) {
    body.skip(4);
    const tos = body.u8("ip_tos");
    if ((tos & 3) !== 0) throw body.fail("OFPBMC_BAD_VALUE", "ip_tos", `0x${tos.toString(16)} has ECN bits`);
    return { field: "ip_dscp", value: Uint8Array.of(tos >> 2) };
  }
  return readMatchEntry(body);
}

/** Writes the entries with padding to a multiple of 8; returns their size without it. */
export function writeNxmMatch(writer: Writer, { match, cookie, cookieMask }: NxmMatch): number {
  const start = writer.size;
  writeNxmEntries(writer, match);
  if (cookieMask === 0xffffffffffffffffn) writer.u32(NXM_NX_COOKIE).u64(cookie);
  else if (cookieMask !== 0n) writer.u32(NXM_NX_COOKIE_W).u64(cookie).u64(cookieMask);
  const size = writer.size - start;
  writer.align8(start);
  return size;
}

export function writeNxmEntries(writer: Writer, match: Match): void {
  for (const entry of match) writeEntry(writer, entry, match);
}

function writeEntry(writer: Writer, entry: OxmEntry, match: Match): void {
  switch (entry.field) {
    case "in_port":
      writer.u32(NXM_OF_IN_PORT).u16(narrowPort(numberOf(entry.value)));
      return;
    case "ip_dscp":
      writer.u32(NXM_OF_IP_TOS).u8((entry.value[0] as number) << 2);
      return;
    case "vlan_vid":
      writeTci(
        writer,
        entry,
        match.find(({ field }) => field === "vlan_pcp"),
      );
      return;
    case "vlan_pcp":
      return; // Written with vlan_vid, its prerequisite.
    default:
      writeAlias(writer, entry);
  }
}

/** VLAN id, presence and priority as the tag's 16 bits; "no tag" is all of them zero. */
function writeTci(writer: Writer, vid: OxmEntry, pcp: OxmEntry | undefined): void {
  const isUntagged = vid.mask === undefined && numberOf(vid.value) === 0;
  const value = numberOf(vid.value) | ((pcp?.value[0] ?? 0) << 13);
  const mask = (vid.mask === undefined ? 0x1fff : numberOf(vid.mask)) | (pcp === undefined ? 0 : 0xe000);
  if (isUntagged) writer.u32(NXM_OF_VLAN_TCI).u16(0);
  else if (mask === 0xffff) writer.u32(NXM_OF_VLAN_TCI).u16(value);
  else writer.u32(NXM_OF_VLAN_TCI_W).u16(value).u16(mask);
}

/** By its NXM header where it has one. */
function writeAlias(writer: Writer, entry: OxmEntry): void {
  const { aliases } = OXM_FIELDS[entry.field];
  const alias = aliases.find(([oxmClass]) => oxmClass === OFPXMC_NXM_0 || oxmClass === OFPXMC_NXM_1);
  if (alias === undefined) {
    writeOxm(writer, entry);
    return;
  }
  const [oxmClass, number] = alias;
  const hasMask = entry.mask !== undefined;
  writer.u16(oxmClass).u8((number << 1) | (hasMask ? 1 : 0));
  writer.u8(entry.value.byteLength * (hasMask ? 2 : 1)).put(entry.value);
  if (entry.mask !== undefined) writer.put(entry.mask);
}
