// The table of tunnel options (TLVs), of which our switch has none: there is no port that could carry any. It says so,
// takes what changes nothing, and refuses every mapping as a full table does.
// Source: ovs-ofctl(8), add-tlv-map; layouts as ovs-ofctl sends them.
import { NX_EXPERIMENTER, type OfpErrorName, Reader, type Unsent } from "../../base/openflow/index.js";

export const NXT_TLV_TABLE_MOD = 24;
export const NXT_TLV_TABLE_REQUEST = 25;
const NXT_TLV_TABLE_REPLY = 26;

const NXTTMC_ADD = 0;
const NXTTMC_CLEAR = 2;
const INDEX_MAX = 63;
const OPTION_SIZE_MAX = 124;
/** Option space in bytes u32, fields u16, padding 10; no mapping follows. */
const NOTHING = new Uint8Array(16);

export function describeTlvTable(): Unsent {
  return { type: "experimenter", experimenter: NX_EXPERIMENTER, expType: NXT_TLV_TABLE_REPLY, data: NOTHING };
}

/** The error that a change deserves; undefined for one that leaves the table empty. Throws WireError. */
export function refuseTlvMod(data: Uint8Array): OfpErrorName | undefined {
  const reader = new Reader(data, 0, data.byteLength, "OFPBRC_BAD_LEN");
  const command = reader.u16("tlv_table_mod.command");
  if (command > NXTTMC_CLEAR) return "NXTTMFC_BAD_COMMAND";
  reader.skip(6);
  let mappings = 0;
  while (reader.left > 0) {
    reader.skip(3); // class and type
    const size = reader.u8("tlv_map.length");
    const index = reader.u16("tlv_map.index");
    reader.skip(2);
    if (size % 4 !== 0 || size > OPTION_SIZE_MAX) return "NXTTMFC_BAD_OPT_LEN";
    if (index > INDEX_MAX) return "NXTTMFC_BAD_FIELD_IDX";
    mappings++;
  }
  return command === NXTTMC_ADD && mappings > 0 ? "NXTTMFC_TABLE_FULL" : undefined;
}
