// Protobuf records: named, numbered fields in, plain objects out. The only door to protobufjs.
// Source: protobuf encoding, proto3 rules (a field that was never written reads as its default).
// Invariant: field numbers are for ever; a record with fields unknown here parses, the unknown is dropped, so a
// format that may not be read by older programs carries its own version field. Thread: any. Hot: no.
import protobuf from "protobufjs/light.js";
import { PlinthError } from "../errors/index.js";

/** Scalar types; 64-bit numbers must be safe integers (below 2⁵³). */
export type FieldType = "uint32" | "uint64" | "bool" | "string" | "bytes";

export interface FieldSpec {
  /** 1 to 536870911, never reused. */
  readonly number: number;
  readonly type: FieldType | RecordType<object>;
  readonly repeated?: boolean;
}

/** Encodes and parses one kind of record. */
export interface RecordType<T extends object> {
  readonly name: string;
  encode(record: T): Uint8Array;
  /** Throws SCHEMA_INVALID when the bytes are no such record. Every field is present, defaults included. */
  parse(bytes: Uint8Array): T;
}

class ProtobufRecord<T extends object> implements RecordType<T> {
  readonly name: string;
  readonly type: protobuf.Type;

  constructor(name: string, fields: Readonly<Record<keyof T & string, FieldSpec>>) {
    this.name = name;
    this.type = new protobuf.Type(name);
    for (const [field, spec] of Object.entries<FieldSpec>(fields)) {
      const rule = spec.repeated === true ? "repeated" : undefined;
      if (typeof spec.type === "string") {
        this.type.add(new protobuf.Field(field, spec.number, spec.type, rule));
        continue;
      }
      const nested = (spec.type as ProtobufRecord<object>).type;
      this.type.add(new protobuf.Field(field, spec.number, nested.name, rule));
    }
    const root = new protobuf.Root();
    root.add(this.type);
    for (const spec of Object.values<FieldSpec>(fields)) {
      if (typeof spec.type === "string") continue;
      const nested = (spec.type as ProtobufRecord<object>).type;
      // A type has one parent: each using root gets a copy made of the same fields.
      if (root.get(nested.name) === null) root.add(protobuf.Type.fromJSON(nested.name, nested.toJSON()));
    }
    this.type.resolveAll();
  }

  encode(record: T): Uint8Array {
    const problem = this.type.verify(record);
    if (problem !== null) throw new PlinthError("SCHEMA_INVALID", `${this.name}: ${problem}`);
    return Uint8Array.from(this.type.encode(this.type.fromObject(record)).finish());
  }

  parse(bytes: Uint8Array): T {
    try {
      const message = this.type.decode(bytes);
      return this.type.toObject(message, { longs: Number, defaults: true, arrays: true }) as T;
    } catch (cause) {
      throw new PlinthError("SCHEMA_INVALID", `not a ${this.name} record`, { cause });
    }
  }
}

/** Describes a record; `T` has exactly the fields given. */
export function defineRecord<T extends object>(
  name: string,
  fields: Readonly<Record<keyof T & string, FieldSpec>>,
): RecordType<T> {
  return new ProtobufRecord<T>(name, fields);
}
