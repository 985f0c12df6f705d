// What switches of every OpenFlow version tell of their tables, at random, as bytes: few different values, so that tables
// often repeat each other, in part or wholly.
// Source: OpenFlow Switch Specification 1.0.0 5.3.5, 1.1.0 and 1.2 A.3.5.4, 1.3.5 7.3.5.5.
import fc from "fast-check";
import { concatBytes } from "../../base/bytes/index.js";

const OFPST_TABLE = 3;
const OFPMP_TABLE_FEATURES = 12;
const NAME_SIZE = 32;
/** Properties that a table has to have, and those about table-miss flows, which it may leave out. */
const REQUIRED = [0, 2, 4, 6, 8, 10, 12, 14] as const;
const OF_MISS = [1, 3, 5, 7, 13, 15] as const;
/** Of the fields whose values have no four bytes: VLAN, protocol. */
const FIELD_SIZES: Readonly<Record<number, number>> = { 6: 2, 10: 1 };
const FIRST_OXM_PROPERTY = 8;
const FIRST_ACTION_PROPERTY = 4;

type Bytes = Uint8Array;

const name = fc.constantFrom("", "", "", "0", "table1", "x", "b0-b0a").map((text) => {
  const bytes = new Uint8Array(NAME_SIZE);
  bytes.set(Buffer.from(text));
  return bytes;
});
const tableId = fc.integer({ min: 0, max: 6 });
const bits32 = fc.constantFrom(0, 0, 1, 3, 0x1fc0, 0xffffffff);

function words(count: number, one: fc.Arbitrary<number> = bits32): fc.Arbitrary<Bytes> {
  return fc.array(one, { minLength: count, maxLength: count }).map((values) => {
    const buffer = Buffer.alloc(4 * count);
    for (const [i, value] of values.entries()) buffer.writeUInt32BE(value, 4 * i);
    return buffer;
  });
}

const joined = (...parts: readonly fc.Arbitrary<Bytes>[]): fc.Arbitrary<Bytes> =>
  fc.tuple(...parts).map(concatBytes);
const byte = (value: fc.Arbitrary<number>, pad: number): fc.Arbitrary<Bytes> =>
  value.map((number) => Uint8Array.of(number, ...new Uint8Array(pad)));
/** Counters, and what else is mostly the same in all tables. */
const steady = (count: number): fc.Arbitrary<Bytes> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array(4 * count)) }, words(count));

const table10 = joined(byte(tableId, 3), name, words(1), steady(6));
const table11 = joined(byte(tableId, 7), name, words(5), steady(7));
const table12 = joined(byte(tableId, 7), name, words(10), steady(4), words(1), steady(7));

function property(type: number): fc.Arbitrary<Bytes> {
  return body(type).map((value) => {
    const size = 4 + value.byteLength;
    const buffer = Buffer.alloc(Math.ceil(size / 8) * 8);
    buffer.writeUInt16BE(type, 0);
    buffer.writeUInt16BE(size, 2);
    buffer.set(value, 4);
    return buffer;
  });
}

function body(type: number): fc.Arbitrary<Bytes> {
  const some = (values: readonly (readonly number[])[]): fc.Arbitrary<Bytes> =>
    fc
      .tuple(fc.boolean(), fc.subarray([...values]))
      .map(([isEmpty, chosen]) => Uint8Array.from(isEmpty ? [] : chosen.flat()));
  if (type >= FIRST_OXM_PROPERTY)
    return some([
      ...[0, 6, 10, 22].map((field) => [0x80, 0, field << 1, FIELD_SIZES[field] ?? 4]),
      ...[
        [0x80, 0, (22 << 1) | 1, 8],
        [0x80, 0, (24 << 1) | 1, 4],
        [0x80, 0, 3 << 1, 1],
      ],
    ]);
  if (type >= FIRST_ACTION_PROPERTY) return some([0, 17, 22, 25].map((action) => [0, action, 0, 4]));
  return type >= 2 ? some([[1], [2], [3], [5], [6]]) : some([1, 3, 4, 5].map((kind) => [0, kind, 0, 4]));
}

function features(version: number): fc.Arbitrary<Bytes> {
  const whole = (types: readonly number[]): fc.Arbitrary<Bytes> => joined(...types.map(property));
  const missed = fc
    .subarray([...OF_MISS])
    .chain((types) => (types.length === 0 ? fc.constant(new Uint8Array()) : whole(types)));
  const properties = joined(whole(REQUIRED), missed);
  return fc
    .tuple(
      joined(
        byte(tableId, 5),
        name,
        steady(4),
        version < 5 ? words(1, fc.constant(0)) : steady(1),
        steady(1),
      ),
      properties,
    )
    .map(([head, rest]) => {
      const size = Buffer.alloc(2);
      size.writeUInt16BE(2 + head.byteLength + rest.byteLength);
      return concatBytes([size, head, rest]);
    });
}

/** A reply of a random version from 1.0 to 1.5 about one to eight tables, many of which repeat the one before. */
export const tablesArbitrary: fc.Arbitrary<Bytes> = fc.integer({ min: 1, max: 6 }).chain((version) => {
  const table = [table10, table11, table12, features(4), features(5), features(6)][
    version - 1
  ] as typeof table10;
  return fc
    .array(fc.tuple(table, fc.integer({ min: 0, max: 2 }), tableId), { minLength: 1, maxLength: 8 })
    .map((made) => {
      const tables: Bytes[] = [];
      const idAt = version < 4 ? 0 : 2;
      for (const [bytes, fresh, id] of made) {
        const before = tables.at(-1);
        const one = (fresh === 0 || before === undefined ? bytes : before).slice();
        one[idAt] = id;
        tables.push(one);
      }
      const head = Buffer.alloc(version === 1 ? 12 : 16);
      const rest = concatBytes(tables);
      head.set([version, version === 1 ? 17 : 19]);
      head.writeUInt16BE(head.byteLength + rest.byteLength, 2);
      head.writeUInt16BE(version < 4 ? OFPST_TABLE : OFPMP_TABLE_FEATURES, 8);
      return concatBytes([head, rest]);
    });
});
