// Error numbers of OpenFlow 1.0, and Nicira's for what 1.0 has no number for.
// Source: OpenFlow Switch Specification 1.0.0, 5.4.4; Nicira numbers as ovs-ofctl prints them (checked in
// message-wire.test.ts).

import { NX_EXPERIMENTER } from "../constants.js";
import type { OfpErrorName } from "../error-codes.js";
import type { Writer } from "../wire.js";

const NXET_VENDOR = 0xb0c2;
const NXVC_VENDOR_ERROR = 0;

const OF10: Readonly<Partial<Record<OfpErrorName, readonly [type: number, code: number]>>> = {
  OFPHFC_INCOMPATIBLE: [0, 0],
  OFPHFC_EPERM: [0, 1],
  OFPBRC_BAD_VERSION: [1, 0],
  OFPBRC_BAD_TYPE: [1, 1],
  OFPBRC_BAD_MULTIPART: [1, 2],
  OFPBRC_BAD_EXPERIMENTER: [1, 3],
  OFPBRC_BAD_EXP_TYPE: [1, 4],
  OFPBRC_EPERM: [1, 5],
  OFPBRC_IS_SLAVE: [1, 5],
  OFPBRC_BAD_LEN: [1, 6],
  OFPBRC_BUFFER_EMPTY: [1, 7],
  OFPBRC_BUFFER_UNKNOWN: [1, 8],
  OFPBAC_BAD_TYPE: [2, 0],
  OFPBAC_BAD_LEN: [2, 1],
  OFPBAC_BAD_EXPERIMENTER: [2, 2],
  OFPBAC_BAD_EXP_TYPE: [2, 3],
  OFPBAC_BAD_OUT_PORT: [2, 4],
  OFPBAC_BAD_ARGUMENT: [2, 5],
  OFPBAC_EPERM: [2, 6],
  OFPBAC_TOO_MANY: [2, 7],
  OFPBAC_BAD_QUEUE: [2, 8],
  OFPFMFC_TABLE_FULL: [3, 0],
  OFPFMFC_OVERLAP: [3, 1],
  OFPFMFC_EPERM: [3, 2],
  OFPFMFC_BAD_COMMAND: [3, 4],
  OFPPMFC_BAD_PORT: [4, 0],
  OFPPMFC_BAD_HW_ADDR: [4, 1],
  OFPQOFC_BAD_PORT: [5, 0],
  OFPQOFC_BAD_QUEUE: [5, 1],
  OFPQOFC_EPERM: [5, 2],
};

const NX10: Readonly<Partial<Record<OfpErrorName, readonly [type: number, code: number]>>> = {
  OFPBRC_BAD_TABLE_ID: [1, 512],
  OFPBRC_BAD_PORT: [1, 514],
  OFPBAC_MATCH_INCONSISTENT: [1, 522],
  OFPBAC_BAD_SET_TYPE: [1, 523],
  OFPBAC_BAD_SET_LEN: [1, 524],
  OFPBAC_BAD_SET_ARGUMENT: [1, 525],
  OFPBIC_UNSUP_INST: [2, 257],
  OFPBMC_BAD_WILDCARDS: [1, 262],
  OFPBMC_BAD_FIELD: [0, 263],
  OFPBMC_BAD_VALUE: [1, 258],
  OFPBMC_BAD_MASK: [1, 259],
  OFPBMC_BAD_PREREQ: [1, 260],
  OFPBMC_DUP_FIELD: [1, 261],
  OFPFMFC_BAD_FLAGS: [3, 258],
  OFPFMFC_BAD_TABLE_ID: [5, 257],
  OFPBAC_BAD_OUT_GROUP: [2, 9],
  OFPGMFC_GROUP_EXISTS: [6, 0],
  OFPGMFC_INVALID_GROUP: [6, 1],
  OFPGMFC_WEIGHT_UNSUPPORTED: [6, 2],
  OFPGMFC_OUT_OF_GROUPS: [6, 3],
  OFPGMFC_OUT_OF_BUCKETS: [6, 4],
  OFPGMFC_CHAINING_UNSUPPORTED: [6, 5],
  OFPGMFC_WATCH_UNSUPPORTED: [6, 6],
  OFPGMFC_LOOP: [6, 7],
  OFPGMFC_UNKNOWN_GROUP: [6, 8],
  OFPGMFC_CHAINED_GROUP: [6, 9],
  OFPGMFC_BAD_TYPE: [6, 10],
  OFPGMFC_BAD_COMMAND: [6, 11],
  OFPGMFC_BAD_BUCKET: [6, 12],
  OFPGMFC_BAD_WATCH: [6, 13],
  OFPGMFC_EPERM: [6, 14],
  OFPGMFC_UNKNOWN_BUCKET: [6, 15],
  OFPGMFC_BUCKET_EXISTS: [6, 16],
  OFPTFFC_BAD_TYPE: [13, 2],
  OFPTFFC_BAD_LEN: [13, 3],
  OFPTFFC_BAD_ARGUMENT: [13, 4],
  OFPRRFC_BAD_ROLE: [1, 513],
  OFPMOFC_MONITOR_EXISTS: [1, 517],
  OFPMOFC_BAD_FLAGS: [1, 518],
  OFPMOFC_UNKNOWN_MONITOR: [1, 519],
  NXBAC_BAD_CONJUNCTION: [2, 526],
  NXTTMFC_BAD_COMMAND: [1, 527],
  NXTTMFC_BAD_OPT_LEN: [1, 528],
  NXTTMFC_BAD_FIELD_IDX: [1, 529],
  NXTTMFC_TABLE_FULL: [1, 530],
  NXTTMFC_ALREADY_MAPPED: [1, 531],
  NXTTMFC_DUP_ENTRY: [1, 532],
  NXR_NOT_SUPPORTED: [1, 533],
  NXR_STALE: [1, 534],
  NXST_NOT_CONFIGURED: [1, 535],
  NXFMFC_INVALID_TLV_FIELD: [1, 536],
  NXTTMFC_INVALID_TLV_DEL: [1, 537],
};
/** NXBRC_UNENCODABLE_ERROR. */
const NO_NUMBER = [1, 521] as const;

/** Type, code and, for Nicira's, what goes before the quoted request. */
export function writeErrorName10(writer: Writer, error: OfpErrorName): void {
  const pair = OF10[error];
  if (pair !== undefined) {
    writer.u16(pair[0]).u16(pair[1]);
    return;
  }
  const [type, code] = NX10[error] ?? NO_NUMBER;
  writer.u16(NXET_VENDOR).u16(NXVC_VENDOR_ERROR).u32(NX_EXPERIMENTER).u16(type).u16(code);
}
