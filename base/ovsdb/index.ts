// OVSDB (RFC 7047): values, schemas, transactions and a client. The server stands in vswitch/db.
export { OvsdbClient, type OvsdbClientOptions } from "./client.js";
export {
  checkAtom,
  checkSize,
  encodeAtom,
  encodeDatum,
  isInteger64,
  type ParseOptions,
  parseAtom,
  parseDatum,
} from "./codec.js";
export {
  applyDiff,
  compareAtoms,
  defaultAtom,
  defaultDatum,
  diffDatums,
  EMPTY_MAP,
  EMPTY_SET,
  equalDatums,
  excludesAll,
  includesAll,
  indexOfKey,
  mapOf,
  pairsOf,
  pick,
  setOf,
  subtract,
  union,
} from "./datum.js";
export { describeType, formatAtom, formatDatum } from "./datum-text.js";
export { invalidUtf8, OvsdbError, type OvsdbErrorText, show, sortMembers, syntaxError } from "./errors.js";
export { isIdentifier, isUuid } from "./identifiers.js";
export { type JsonObject, objectOf } from "./json-object.js";
export { ObjectParser } from "./object-parser.js";
export {
  assertOp,
  byUuid,
  type Condition,
  type ConditionOperator,
  deleteOp,
  insertOp,
  type Mutation,
  mapValue,
  mutateOp,
  namedUuid,
  type Operation,
  type OperationResult,
  type OvsdbRowJson,
  type OvsdbValue,
  parseTransactReply,
  selectOp,
  setValue,
  updateOp,
  uuidValue,
  waitOp,
} from "./operations.js";
export { OvsdbRow } from "./row.js";
export { RowCache, type RowChange, type UpdateFormat } from "./row-cache.js";
export { encodeSchema, parseColumnType, parseSchema } from "./schema.js";
export {
  type Atom,
  type AtomicType,
  type BaseType,
  type ColumnSchema,
  type ColumnType,
  type DatabaseSchema,
  type Datum,
  isComposite,
  isMap,
  type TableSchema,
  UUID_TYPE,
  ZERO_UUID,
} from "./types.js";
