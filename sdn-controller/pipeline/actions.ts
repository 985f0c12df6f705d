// The few actions that the pipeline uses, as constructors. Pure.
import {
  type Action,
  type CtAction,
  OFPCML_NO_BUFFER,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OXM_FIELDS,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { sharedBytes } from "./flow.js";
import { TABLES, type TableName } from "./tables.js";

/** Puts `value` into the whole field. */
export function load(field: OxmFieldName, value: number): Action {
  return loadBits(field, 0, OXM_FIELDS[field].bits, value);
}

export function loadBits(field: OxmFieldName, offset: number, bits: number, value: number): Action {
  return { type: "load", destination: { field, offset, bits }, value: BigInt(value) };
}

export function setField(field: OxmFieldName, value: number | bigint): Action {
  return { type: "set_field", field, value: sharedBytes(value, OXM_FIELDS[field].size) };
}

/** Copies a whole field into another of the same width. */
export function move(source: OxmFieldName, destination: OxmFieldName): Action {
  const { bits } = OXM_FIELDS[source];
  return {
    type: "move",
    source: { field: source, offset: 0, bits },
    destination: { field: destination, offset: 0, bits },
  };
}

export function output(port: number): Action {
  return { type: "output", port, maxLength: 0 };
}

export function outputToIngress(): Action {
  return { type: "output", port: OFPP_IN_PORT, maxLength: 0 };
}

export function toController(): Action {
  return { type: "output", port: OFPP_CONTROLLER, maxLength: OFPCML_NO_BUFFER };
}

/** Looks the connection up in `zone`; the packet goes on in `table`. */
export function track(zone: number, table: TableName): Action {
  return { type: "ct", commit: false, force: false, zone, tableId: TABLES[table].id, alg: 0, actions: [] };
}

/** Commits the connection in `zone`, then runs `actions` on its mark. The packet just goes on. */
export function commit(zone: number, actions: readonly Action[] = []): Action {
  const action: CtAction = { type: "ct", commit: true, force: false, zone, alg: 0, actions };
  return action;
}
