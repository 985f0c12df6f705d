// Nicira messages that the switch does not speak, as ovs-ofctl prints them: options of tunnels, connections by zone. Pure.
// Source: ovs-ofctl(8), "OpenFlow Switch Tunnel TLV Table Commands"; the wording is that of ovs-ofctl.

import { formatHex } from "./field-text.js";

const NX_HEADER_SIZE = 16;
const OPTION_SIZE = 8;
const MAX_OPTION_LENGTH = 124;
const MAX_FIELD = 63;
const COMMANDS = ["ADD", "DEL", "CLEAR"] as const;
const HEADING = "  class  type  length  match field\n ------  ----  ------  --------------";

/** What follows the head of a message, or the error for which it is refused. */
export type Unspoken =
  | { readonly text: string }
  | { readonly error: string /** What is told nevertheless. */; readonly before?: string | undefined };

interface Options {
  readonly rows: string;
  /** Bytes of all their values. */
  readonly space: number;
}

/** Undefined for other kinds. `bytes` are a message whose length its kind allows. */
export function unspokenBody(kind: string, bytes: Uint8Array): Unspoken | undefined {
  const body = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (kind) {
    case "NXT_TLV_TABLE_REQUEST":
      return { text: "" };
    case "NXT_TLV_TABLE_MOD":
      return tableMod(body);
    case "NXT_TLV_TABLE_REPLY":
      return tableReply(body);
    case "NXT_CT_FLUSH_ZONE":
      return { text: ` zone_id=${body.getUint16(NX_HEADER_SIZE + 6)}` };
    default:
      return undefined;
  }
}

function tableMod(body: DataView): Unspoken {
  const command = COMMANDS[body.getUint16(NX_HEADER_SIZE)];
  if (command === undefined) return { error: "NXTTMFC_BAD_COMMAND" };
  const read = readOptions(body, NX_HEADER_SIZE + 8);
  if (typeof read === "string") return { error: read };
  return { text: command === "CLEAR" ? "\n CLEAR" : `\n ${command} mapping table:\n${HEADING}${read.rows}` };
}

function tableReply(body: DataView): Unspoken {
  const [most, fields] = [body.getUint32(NX_HEADER_SIZE), body.getUint16(NX_HEADER_SIZE + 4)];
  const read = readOptions(body, NX_HEADER_SIZE + 16);
  if (typeof read === "string") return { error: read };
  const space = ` max option space=${most} max fields=${fields}\n allocated option space=${read.space}\n`;
  return { text: `\n${space}\n mapping table:\n${HEADING}${read.rows}` };
}

function readOptions(body: DataView, from: number): Options | string {
  let [rows, space] = ["", 0];
  for (let at = from; at + OPTION_SIZE <= body.byteLength; at += OPTION_SIZE) {
    const [length, field] = [body.getUint8(at + 3), body.getUint16(at + 4)];
    if (length % 4 !== 0 || length > MAX_OPTION_LENGTH) return "NXTTMFC_BAD_OPT_LEN";
    if (field > MAX_FIELD) return "NXTTMFC_BAD_FIELD_IDX";
    const option = `${hex(body.getUint16(at), 6)}  ${hex(body.getUint8(at + 2), 4)}`;
    rows += `\n ${option}  ${String(length).padStart(6)}  tun_metadata${field}`;
    space += length;
  }
  return { rows, space };
}

/** As C prints it with "%#6x". */
function hex(value: number, width: number): string {
  return formatHex(value).padStart(width);
}
