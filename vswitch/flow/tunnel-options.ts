// The options (TLVs) of tunnels that a bridge knows: which is called tun_metadataN, how long it is, and where the flow key
// has it. As a controller says by NXT_TLV_TABLE_MOD.
//
//   mod    command u16 · padding 6 ║ mapping: class u16 · type u8 · bytes u8 · N u16 · padding 2 ║ …
//   reply  option space in bytes u32 · fields u16 · padding 10 ║ mapping ║ …
//
// Invariants: a mapping does not move, so what was compiled with it stays right for as long as it is there, and no
// mapping goes that a flow names.
// Source: ovs-ofctl(8), add-tlv-map; ovs-fields(7), tunnel options; layouts as ovs-ofctl sends them. Thread: any.
import {
  type Match,
  type OfpErrorName,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
  Reader,
  WireError,
} from "../../base/openflow/index.js";
import type { KeyField, OptionMap } from "./fields.js";
import * as K from "./key.js";
import { optionNumber } from "./option-number.js";
import { hasOptions } from "./saved-options.js";

export const NXT_TLV_TABLE_MOD = 24;
const NXTTMC_ADD = 0;
const NXTTMC_CLEAR = 2;
const FIELDS_MAX = 64;
const OPTION_SIZE_MAX = 124;
const SPACE_MAX = 256;
const REPLY_HEAD_SIZE = 16;
const MAPPING_SIZE = 8;
const NOTHING = new Uint8Array(0);

interface Mapping {
  /** N of tun_metadataN. */
  readonly number: number;
  readonly optionClass: number;
  readonly optionType: number;
  readonly sizeBytes: number;
}

/** A mapping that is in force, and the first word of the key that has it. */
interface Placed extends Mapping {
  readonly word: number;
}

interface TableMod {
  readonly command: number;
  readonly mappings: readonly Mapping[];
}

export class TunnelOptions implements OptionMap {
  #placed: readonly Placed[] = [];
  readonly #byName = new Map<string, KeyField>();

  get size(): number {
    return this.#placed.length;
  }

  get names(): readonly OxmFieldName[] {
    return [...this.#byName.values()].map(({ name }) => name);
  }

  /** Where the key has the option's value, if it is mapped. */
  find(name: OxmFieldName): KeyField | undefined {
    return this.#byName.get(name);
  }

  /**
   * Carries out the body of a NXT_TLV_TABLE_MOD, or returns the error that it deserves and changes nothing. `isUsed`
   * tells whether a flow names one of the fields.
   */
  change(body: Uint8Array, isUsed: (numbers: ReadonlySet<number>) => boolean): OfpErrorName | undefined {
    const mod = parseTableMod(body);
    if (typeof mod === "string") return mod;
    const { command, mappings } = mod;
    if (command === NXTTMC_ADD) return this.#add(mappings);
    const all = command === NXTTMC_CLEAR ? this.#placed : mappings;
    const gone = new Set(all.map(({ number }) => number).filter((n) => this.#mapped(n)));
    if (gone.size > 0 && isUsed(gone)) return "NXTTMFC_INVALID_TLV_DEL";
    this.#set(this.#placed.filter(({ number }) => !gone.has(number)));
    return undefined;
  }

  #add(mappings: readonly Mapping[]): OfpErrorName | undefined {
    const placed = [...this.#placed];
    for (const one of mappings) {
      if (placed.some(({ number }) => number === one.number)) return "NXTTMFC_ALREADY_MAPPED";
      const isSame = (other: Mapping): boolean =>
        other.optionClass === one.optionClass && other.optionType === one.optionType;
      if (placed.some(isSame)) return "NXTTMFC_DUP_ENTRY";
      if (placed.reduce((sum, { sizeBytes }) => sum + sizeBytes, one.sizeBytes) > SPACE_MAX)
        return "NXTTMFC_TABLE_FULL";
      const word = firstGap(placed, one.sizeBytes >>> 2);
      if (word < 0) return "NXTTMFC_TABLE_FULL";
      placed.push({ ...one, word });
    }
    this.#set(placed);
    return undefined;
  }

  #mapped(wanted: number): boolean {
    return this.#placed.some(({ number }) => number === wanted);
  }

  #set(placed: readonly Placed[]): void {
    this.#placed = [...placed].sort((a, b) => a.number - b.number);
    this.#byName.clear();
    for (const { number, sizeBytes, word } of this.#placed) {
      const name = `tun_metadata${number}` as OxmFieldName;
      this.#byName.set(name, { name, start: 32 * word, bits: 8 * sizeBytes });
    }
  }

  /** The body of a NXT_TLV_TABLE_REPLY. */
  describe(): Uint8Array {
    const body = new Uint8Array(REPLY_HEAD_SIZE + MAPPING_SIZE * this.#placed.length);
    const view = new DataView(body.buffer);
    view.setUint32(0, SPACE_MAX);
    view.setUint16(4, FIELDS_MAX);
    this.#write(view, REPLY_HEAD_SIZE);
    return body;
  }

  /** The body of a NXT_TLV_TABLE_MOD that makes an empty table this one. */
  whole(): Uint8Array {
    const body = new Uint8Array(MAPPING_SIZE * (1 + this.#placed.length));
    this.#write(new DataView(body.buffer), MAPPING_SIZE);
    return body;
  }

  #write(view: DataView, from: number): void {
    this.#placed.forEach(({ optionClass, optionType, sizeBytes, number }, i) => {
      const at = from + MAPPING_SIZE * i;
      view.setUint16(at, optionClass);
      view.setUint8(at + 2, optionType);
      view.setUint8(at + 3, sizeBytes);
      view.setUint16(at + 4, number);
    });
  }

  // --- What the packet with a key has

  /** The options that are there, by value, in order. */
  read(key: Int32Array): Match {
    if (!hasOptions(key)) return [];
    return this.#placed.flatMap(({ number, sizeBytes, word }): OxmEntry[] =>
      isThere(key, number)
        ? [{ field: `tun_metadata${number}` as OxmFieldName, value: bytesAt(key, word, sizeBytes) }]
        : [],
    );
  }

  /** The value as long as the mapping says: zeros are put in front of it, or what is too much is cut off its end. */
  fit<T extends OxmEntry>(entry: T): T {
    const place = this.find(entry.field);
    if (place === undefined) return entry;
    const { value, mask } = entry;
    const size = place.bits >>> 3;
    // Of a value without bits nothing but that it is there can be asked for.
    if (size === 0) return { ...entry, value: NOTHING, mask: NOTHING };
    if (mask === undefined)
      return value.byteLength === size ? entry : { ...entry, value: fitted(value, size) };
    return { ...entry, value: fitted(value, size), mask: fitted(mask, size) };
  }
}

/** The same action, where all bits of a mapped option are all that there can be: as people write it, "tun_metadata0[]". */
export function widened<T>(value: T, options: TunnelOptions): T {
  if (options.size === 0 || typeof value !== "object" || value === null || ArrayBuffer.isView(value))
    return value;
  if (Array.isArray(value)) return value.map((one: unknown) => widened(one, options)) as T;
  const parts = Object.fromEntries(
    Object.entries(value).map(([name, part]) => [name, widened<unknown>(part, options)]),
  );
  const place = "field" in value && "bits" in value ? options.find(value.field as OxmFieldName) : undefined;
  const isWhole = place !== undefined && parts["offset"] === 0 && parts["bits"] === place.bits;
  return (isWhole ? { ...parts, bits: 8 * OPTION_SIZE_MAX } : parts) as T;
}

/** For matches that are compared with each other, whatever is mapped: each option as large as it can be. */
export const EVERY_OPTION: OptionMap = {
  find: (name) => {
    const number = optionNumber(name);
    const words = OPTION_SIZE_MAX >>> 2;
    return number < 0
      ? undefined
      : { name, start: 32 * (K.K_OPTIONS + number * words), bits: 8 * OPTION_SIZE_MAX };
  },
};

function isThere(key: Int32Array, number: number): boolean {
  return ((key[K.K_OPTIONS_THERE + (number >>> 5)]! >>> (31 - (number & 31))) & 1) !== 0;
}

function bytesAt(key: Int32Array, word: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; 4 * i < size; i++) view.setInt32(4 * i, key[word + i]!);
  return bytes;
}

function fitted(bytes: Uint8Array, size: number): Uint8Array {
  const result = new Uint8Array(size);
  const kept = bytes.subarray(0, size);
  result.set(kept, size - kept.byteLength);
  return result;
}

/** The first of `words` free words in a row, or −1. */
function firstGap(placed: readonly Placed[], words: number): number {
  let at = K.K_OPTIONS;
  for (const { word, sizeBytes } of [...placed].sort((a, b) => a.word - b.word)) {
    if (word - at >= words) break;
    at = Math.max(at, word + (sizeBytes >>> 2));
  }
  return at + words <= K.KEY_WORDS_MAX ? at : -1;
}

function parseTableMod(body: Uint8Array): TableMod | OfpErrorName {
  try {
    return readTableMod(new Reader(body, 0, body.byteLength, "OFPBRC_BAD_LEN"));
  } catch (thrown) {
    if (thrown instanceof WireError) return thrown.error;
    throw thrown;
  }
}

function readTableMod(reader: Reader): TableMod | OfpErrorName {
  const command = reader.u16("tlv_table_mod.command");
  if (command > NXTTMC_CLEAR) return "NXTTMFC_BAD_COMMAND";
  reader.skip(6);
  const mappings: Mapping[] = [];
  while (reader.left > 0) {
    const optionClass = reader.u16("tlv_map.class");
    const optionType = reader.u8("tlv_map.type");
    const sizeBytes = reader.u8("tlv_map.length");
    const number = reader.u16("tlv_map.index");
    reader.skip(2);
    if (sizeBytes % 4 !== 0 || sizeBytes > OPTION_SIZE_MAX) return "NXTTMFC_BAD_OPT_LEN";
    if (number >= FIELDS_MAX) return "NXTTMFC_BAD_FIELD_IDX";
    mappings.push({ number, optionClass, optionType, sizeBytes });
  }
  return { command, mappings };
}

/** The numbers of all options that `value`, a match, an action or any list of them, names. */
export function optionsIn(value: unknown, into = new Set<number>()): Set<number> {
  if (typeof value === "string") {
    if (value in OXM_FIELDS && optionNumber(value) >= 0) into.add(optionNumber(value));
  } else if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value))
    for (const part of Object.values(value)) optionsIn(part, into);
  return into;
}
