// Which tables there are, and what a controller has left of each: how many flows, which bits of metadata.
// Source: OpenFlow 1.3.5, 7.3.5.5. Thread: datapath worker. Hot: no.
import {
  type FlowMod,
  OFPFF_CHECK_OVERLAP,
  OFPFF_NO_BYT_COUNTS,
  OFPFF_NO_PKT_COUNTS,
  OFPFF_RESET_COUNTS,
  OFPFF_SEND_FLOW_REM,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import { flowError } from "./errors.js";

export interface TableSettings {
  readonly tableId: number;
  /** Flows. */
  readonly maxEntries: number;
  /** Bits of metadata that its flows may match and write. */
  readonly metadataMatch: bigint;
  readonly metadataWrite: bigint;
}

const FLAGS_KNOWN =
  OFPFF_SEND_FLOW_REM | OFPFF_CHECK_OVERLAP | OFPFF_RESET_COUNTS | OFPFF_NO_PKT_COUNTS | OFPFF_NO_BYT_COUNTS;
const ALL_ONES = 0xffffffffffffffffn; // cold

export class TableBook {
  /** By number; null where there is no table any more. */
  readonly #tables: (TableSettings | null)[];

  constructor(count: number, maxEntries: number) {
    this.#tables = Array.from({ length: count }, (_, tableId) => ({
      tableId,
      maxEntries,
      metadataMatch: ALL_ONES,
      metadataWrite: ALL_ONES,
    }));
  }

  exists(tableId: number): boolean {
    return (this.#tables[tableId] ?? null) !== null;
  }

  maxEntries(tableId: number): number {
    return this.#tables[tableId]?.maxEntries ?? 0;
  }

  /** Makes the tables exactly these; returns the numbers of those that went or changed. */
  configure(tables: readonly TableSettings[]): number[] {
    const changed: number[] = [];
    this.#tables.forEach((before, tableId) => {
      const after = tables.find((one) => one.tableId === tableId) ?? null;
      this.#tables[tableId] = after;
      const isSame =
        before?.maxEntries === after?.maxEntries &&
        before?.metadataMatch === after?.metadataMatch &&
        before?.metadataWrite === after?.metadataWrite;
      if (!isSame) changed.push(tableId);
    });
    return changed;
  }

  /** Throws when the flow-mod has flags that nobody knows, names a table that is not there, or metadata that its table leaves out. */
  check(mod: FlowMod): void {
    if ((mod.flags & ~FLAGS_KNOWN) !== 0)
      throw flowError("OFPFMFC_BAD_FLAGS", `flow-mod flags 0x${mod.flags.toString(16)}`);
    const isDelete = mod.command === "delete" || mod.command === "delete_strict";
    const mayNameAll = isDelete || (mod.openflow10 === true && mod.command !== "add");
    const isAll = mayNameAll && mod.tableId === OFPTT_ALL;
    const table = this.#tables[isAll ? 0 : mod.tableId] ?? null;
    if (table === null) throw flowError("OFPFMFC_BAD_TABLE_ID", `there is no table ${mod.tableId}`);
    if (isDelete) return;
    const matched = mod.match.find(({ field }) => field === "metadata");
    const bits = matched === undefined ? 0n : matched.mask === undefined ? ALL_ONES : toBits(matched.mask); // cold
    if ((bits & ~table.metadataMatch) !== 0n)
      throw flowError("OFPBMC_BAD_MASK", `table ${mod.tableId} does not match these bits of metadata`);
    mod.instructions.forEach((instruction) => {
      if (instruction.type === "goto_table" && !this.exists(instruction.tableId))
        throw flowError("OFPBIC_BAD_TABLE_ID", `there is no table ${instruction.tableId}`);
      if (instruction.type === "write_metadata" && (instruction.mask & ~table.metadataWrite) !== 0n)
        throw flowError("OFPBIC_UNSUP_METADATA_MASK", `table ${mod.tableId} does not write these bits`);
    });
  }
}

function toBits(mask: Uint8Array): bigint {
  return mask.reduce((bits, byte) => (bits << 8n) | BigInt(byte), 0n); // cold
}
