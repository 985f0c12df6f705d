// Table features and their properties as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.5. Fields that the registry does not know are skipped in
// replies: another switch may well support more than we can name.

import { writeOxmHeader } from "./match-wire.js";
import type { SupportedField, SupportedType, TableFeatureProperty, TableFeatures } from "./multipart.js";
import { fieldByHeader, OFPXMC_EXPERIMENTER, OXM_FIELDS } from "./oxm-fields.js";
import type { Reader, Writer } from "./wire.js";

/** Property types of the variant for ordinary flows; the variant for table-miss is one higher. */
const OFPTFPT = {
  instructions: 0,
  next_tables: 2,
  write_actions: 4,
  apply_actions: 6,
  match: 8,
  wildcards: 10,
  write_setfield: 12,
  apply_setfield: 14,
  experimenter: 0xfffe,
} as const;

const TABLE_NAME_SIZE = 32;
const FEATURES_SIZE = 64;

/** As a request names them: every field has to be one that we know. */
export function readWantedTableFeatures(reader: Reader): TableFeatures {
  return readTableFeatures(reader, true);
}

export function readTableFeatures(reader: Reader, mustKnow = false): TableFeatures {
  const at = reader.offset;
  const length = reader.u16("table_features.length");
  if (length < FEATURES_SIZE || length - 2 > reader.left) {
    throw reader.fail(
      "OFPTFFC_BAD_LEN",
      "table_features.length",
      `${length} of ${reader.left + 2} bytes`,
      at,
    );
  }
  const body = reader.within(length - 2, "table_features", "OFPTFFC_BAD_LEN");
  const tableId = body.u8("table_features.table_id");
  body.skip(5);
  return {
    tableId,
    name: body.text(TABLE_NAME_SIZE, "table_features.name"),
    metadataMatch: body.u64("table_features.metadata_match"),
    metadataWrite: body.u64("table_features.metadata_write"),
    config: body.u32("table_features.config"),
    maxEntries: body.u32("table_features.max_entries"),
    properties: readProperties(body, mustKnow),
  };
}

function readProperties(reader: Reader, mustKnow: boolean): readonly TableFeatureProperty[] {
  const properties: TableFeatureProperty[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const code = reader.u16("table_features.property.type");
    const length = reader.u16("table_features.property.length");
    if (length < 4 || length - 4 > reader.left) {
      throw reader.fail("OFPTFFC_BAD_LEN", "table_features.property.length", `${length}`, at);
    }
    const body = reader.within(length - 4, "table_features.property");
    reader.skip((8 - (length % 8)) % 8);
    properties.push(readProperty(code, body, at, mustKnow));
  }
  return properties;
}

function readProperty(code: number, body: Reader, at: number, mustKnow: boolean): TableFeatureProperty {
  const miss = (code & 1) !== 0;
  switch (code & 0xfffe) {
    case OFPTFPT.instructions:
      return { type: "instructions", miss, instructions: readTypes(body) };
    case OFPTFPT.next_tables:
      return { type: "next_tables", miss, tables: [...body.rest()] };
    case OFPTFPT.write_actions:
      return { type: "write_actions", miss, actions: readTypes(body) };
    case OFPTFPT.apply_actions:
      return { type: "apply_actions", miss, actions: readTypes(body) };
    case OFPTFPT.write_setfield:
      return { type: "write_setfield", miss, fields: readFields(body, mustKnow) };
    case OFPTFPT.apply_setfield:
      return { type: "apply_setfield", miss, fields: readFields(body, mustKnow) };
    case OFPTFPT.experimenter: {
      const experimenter = body.u32("property.experimenter");
      return {
        type: "experimenter",
        miss,
        experimenter,
        expType: body.u32("property.exp_type"),
        data: body.rest(),
      };
    }
  }
  if (code === OFPTFPT.match) return { type: "match", miss: false, fields: readFields(body, mustKnow) };
  if (code === OFPTFPT.wildcards)
    return { type: "wildcards", miss: false, fields: readFields(body, mustKnow) };
  throw body.fail("OFPTFFC_BAD_TYPE", "table_features.property.type", `unknown type ${code}`, at);
}

function readTypes(body: Reader): readonly SupportedType[] {
  const types: SupportedType[] = [];
  while (body.left > 0) {
    const type = body.u16("supported.type");
    const length = body.u16("supported.length");
    if (length < 4 || length - 4 > body.left)
      throw body.fail("OFPTFFC_BAD_LEN", "supported.length", `${length}`);
    const rest = body.within(length - 4, "supported");
    if (type === 0xffff && rest.left >= 4) {
      types.push({ type, experimenter: rest.u32("supported.experimenter"), data: rest.rest() });
    } else types.push({ type });
  }
  return types;
}

/** One whose header tells another length than its value has is none that we know. */
function readFields(body: Reader, mustKnow: boolean): readonly SupportedField[] {
  const fields: SupportedField[] = [];
  while (body.left > 0) {
    const at = body.offset;
    const header = body.u32("oxm_id");
    const oxmClass = header >>> 16;
    const experimenter = oxmClass === OFPXMC_EXPERIMENTER ? body.u32("oxm_id.experimenter") : 0;
    const field = fieldByHeader(oxmClass, (header >>> 9) & 0x7f, experimenter);
    const maskable = (header & 0x100) !== 0;
    const size = field === undefined ? 0 : field.size * (maskable ? 2 : 1) + (experimenter === 0 ? 0 : 4);
    if (field !== undefined && (header & 0xff) === size) fields.push({ field: field.name, maskable });
    else if (mustKnow) throw body.fail("OFPTFFC_BAD_ARGUMENT", "oxm_id", `unknown field ${header}`, at);
  }
  return fields;
}

export function writeTableFeatures(writer: Writer, table: TableFeatures): void {
  const start = writer.size;
  writer.u16(0).u8(table.tableId).zero(5).text(table.name, TABLE_NAME_SIZE);
  writer.u64(table.metadataMatch).u64(table.metadataWrite).u32(table.config).u32(table.maxEntries);
  for (const property of table.properties) writeProperty(writer, property);
  writer.setLength(start, start);
}

function writeProperty(writer: Writer, property: TableFeatureProperty): void {
  const start = writer.size;
  writer.u16(OFPTFPT[property.type] + (property.miss ? 1 : 0)).u16(0);
  switch (property.type) {
    case "instructions":
      writeTypes(writer, property.instructions);
      break;
    case "write_actions":
    case "apply_actions":
      writeTypes(writer, property.actions);
      break;
    case "next_tables":
      for (const table of property.tables) writer.u8(table);
      break;
    case "experimenter":
      writer.u32(property.experimenter).u32(property.expType).put(property.data);
      break;
    default:
      writeFields(writer, property.fields);
  }
  writer.setLength(start + 2, start);
  writer.align8(start);
}

function writeTypes(writer: Writer, types: readonly SupportedType[]): void {
  for (const supported of types) {
    const start = writer.size;
    writer.u16(supported.type).u16(0);
    if (supported.experimenter !== undefined) {
      writer.u32(supported.experimenter);
      if (supported.data !== undefined) writer.put(supported.data);
    }
    writer.setLength(start + 2, start);
  }
}

function writeFields(writer: Writer, fields: readonly SupportedField[]): void {
  for (const { field, maskable } of fields) writeOxmHeader(writer, OXM_FIELDS[field], maskable);
}
