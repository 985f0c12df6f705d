// Reader and writer of OpenFlow bytes: every length is checked, every complaint names a field and an offset.
// Invariant: a Reader never looks outside its bytes; what it lacks is a WireError with the error the family asks for.

import type { Action, OxmEntry } from "./actions.js";
import { OFP13_VERSION, OFPP_MAX } from "./constants.js";
import type { OfpErrorName } from "./error-codes.js";

/** One past the largest ordinary port number. */
const PORT_MAX = 0xff00;

/** The peer's bytes are wrong. `error` is what the switch must answer; `offset` counts from the message's start. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly error: OfpErrorName;
  readonly field: string;
  readonly offset: number;

  constructor(error: OfpErrorName, field: string, offset: number, detail: string) {
    super(`${field} at byte ${offset}: ${detail} (${error})`);
    this.error = error;
    this.field = field;
    this.offset = offset;
  }
}

/** What a reader refuses beyond what the codec does, as soon as it has read it: the error, or undefined. */
export interface ReaderChecks {
  /** A field of a match. */
  readonly matchEntry: (entry: OxmEntry) => OfpErrorName | undefined;
  /** What one action on the wire means. */
  readonly actions: (actions: readonly Action[], version: number) => OfpErrorName | undefined;
}

/** Reads big-endian values in order. All numbers are unsigned. */
export class Reader {
  readonly bytes: Uint8Array;
  /** Where the next value is, from the start of the message. */
  offset: number;
  /** One past the last byte that may be read. */
  readonly end: number;
  /** What is wrong when bytes are missing. */
  readonly lengthError: OfpErrorName;
  /** Of the message around, as numbered on the wire. */
  readonly version: number;
  readonly checks: ReaderChecks | undefined;
  readonly #view: DataView;

  /** Without `view`, one is made over `bytes`. */
  constructor(
    bytes: Uint8Array,
    offset: number,
    end: number,
    lengthError: OfpErrorName,
    version: number = OFP13_VERSION,
    { view, checks }: { readonly view?: DataView; readonly checks?: ReaderChecks | undefined } = {},
  ) {
    this.version = version;
    this.checks = checks;
    this.offset = offset;
    this.end = end;
    this.lengthError = lengthError;
    // A Buffer's slice shares memory; ours must copy.
    this.bytes =
      bytes.constructor === Uint8Array
        ? bytes
        : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.end - this.offset;
  }

  /** Moves over `size` bytes and returns where they began. */
  take(size: number, field: string): number {
    const at = this.offset;
    if (size > this.end - at) {
      throw new WireError(this.lengthError, field, at, `needs ${size} bytes, ${this.end - at} are left`);
    }
    this.offset = at + size;
    return at;
  }

  u8(field: string): number {
    return this.#view.getUint8(this.take(1, field));
  }

  u16(field: string): number {
    return this.#view.getUint16(this.take(2, field));
  }

  u32(field: string): number {
    return this.#view.getUint32(this.take(4, field));
  }

  /**
   * A port number, of which there are as many as 16 bits can tell, as in Open vSwitch: ordinary ones and the reserved
   * ones at the end of the 32-bit numbers.
   */
  port(field: string): number {
    const at = this.offset;
    const port = this.u32(field);
    if (port >= PORT_MAX && port < OFPP_MAX)
      throw this.fail("OFPBAC_BAD_OUT_PORT", field, `0x${port.toString(16)} is no port`, at);
    return port;
  }

  u64(field: string): bigint {
    return this.#view.getBigUint64(this.take(8, field));
  }

  /** A copy of `size` bytes, owned by the caller. */
  copy(size: number, field: string): Uint8Array {
    const at = this.take(size, field);
    return this.bytes.slice(at, at + size);
  }

  /** A copy of all that is left. */
  rest(): Uint8Array {
    return this.copy(this.left, "data");
  }

  skip(size: number, field = "padding"): void {
    this.take(size, field);
  }

  /** A NUL-padded ASCII string in `size` bytes; bytes that are not printable become "?". */
  text(size: number, field: string): string {
    const at = this.take(size, field);
    let out = "";
    for (let i = at; i < at + size; i++) {
      const byte = this.bytes[i] as number;
      if (byte === 0) break;
      out += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?";
    }
    return out;
  }

  /** As text(), but a name ends where a byte is not printable. */
  name(size: number, field: string): string {
    const text = this.text(size, field);
    const at = this.offset - size;
    for (let i = 0; i < text.length; i++) {
      const byte = this.bytes[at + i] as number;
      if (byte < 0x20 || byte >= 0x7f) return text.slice(0, i);
    }
    return text;
  }

  /** Moves over `size` bytes and returns a reader of just these. */
  within(size: number, field: string, lengthError: OfpErrorName = this.lengthError): Reader {
    const at = this.take(size, field);
    return new Reader(this.bytes, at, at + size, lengthError, this.version, {
      view: this.#view,
      checks: this.checks,
    });
  }

  /** A WireError about what was read last or comes next. */
  fail(error: OfpErrorName, field: string, detail: string, offset = this.offset): WireError {
    return new WireError(error, field, offset, detail);
  }

  /** Asserts that nothing is left over. */
  finish(field: string): void {
    if (this.left > 0) throw this.fail(this.lengthError, field, `${this.left} bytes too many`);
  }
}

/** Moves over the rest, which is padding that must be zero. */
export function zerosToEnd(reader: Reader, field: string, error: OfpErrorName = "NXBRC_MUST_BE_ZERO"): void {
  const at = reader.offset;
  if (reader.bytes.subarray(at, reader.end).some((byte) => byte !== 0))
    throw reader.fail(error, field, "is not padded with zeros", at);
  reader.skip(reader.left);
}

/** A buffer that nobody writes into now: to make one is most of what a small message costs. */
let spare: Uint8Array | undefined;
const SPARE_SIZE = 2048;
/** As many bytes are written faster one by one than by a call. */
const FEW = 16;
const NOTHING = new Uint8Array(0);

/** Writes big-endian values in order into a buffer that grows. */
export class Writer {
  /** Of the message around, as numbered on the wire. */
  readonly version: number;
  #bytes: Uint8Array;
  #view: DataView;
  #size = 0;

  /** `bytes`, where given, are the writer's from now on. */
  constructor(version: number = OFP13_VERSION, bytes?: Uint8Array) {
    this.version = version;
    if (bytes === undefined) {
      this.#bytes = spare ?? new Uint8Array(SPARE_SIZE);
      spare = undefined;
    } else this.#bytes = bytes;
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far = the offset of the next. */
  get size(): number {
    return this.#size;
  }

  #grow(size: number): number {
    const at = this.#size;
    const needed = at + size;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#size = needed;
    return at;
  }

  u8(value: number): this {
    const at = this.#grow(1); // may replace the view
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2); // may replace the view
    this.#view.setUint16(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4); // may replace the view
    this.#view.setUint32(at, value);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#grow(8); // may replace the view
    this.#view.setBigUint64(at, value);
    return this;
  }

  put(bytes: Uint8Array): this {
    const size = bytes.byteLength;
    const at = this.#grow(size);
    const target = this.#bytes;
    if (size > FEW) target.set(bytes, at);
    else for (let i = 0; i < size; i++) target[at + i] = bytes[i] as number;
    return this;
  }

  zero(size: number): this {
    const at = this.#grow(size);
    const target = this.#bytes;
    if (size > FEW) target.fill(0, at, at + size);
    else for (let i = 0; i < size; i++) target[at + i] = 0;
    return this;
  }

  /** Zeros until the bytes since `start` are a multiple of 8. */
  align8(start: number): this {
    return this.zero((8 - ((this.#size - start) % 8)) % 8);
  }

  /** ASCII in `size` bytes with at least one NUL at the end; longer text is cut. */
  text(value: string, size: number): this {
    const bytes = Buffer.from(value, "latin1").subarray(0, size - 1);
    return this.put(bytes).zero(size - bytes.byteLength);
  }

  /** The 16-bit length that was written at `at`. */
  lengthAt(at: number): number {
    return this.#view.getUint16(at);
  }

  setU16(at: number, value: number): void {
    this.#view.setUint16(at, value);
  }

  /** Writes a 16-bit length at `lengthAt` that counts from `start` to here. */
  setLength(lengthAt: number, start: number): void {
    const length = this.#size - start;
    if (length > 0xffff)
      throw new RangeError(`an OpenFlow structure of ${length} bytes does not fit 16 bits`);
    this.setU16(lengthAt, length);
  }

  /** Forgets what was written from `size` on. */
  cutTo(size: number): void {
    this.#size = size;
  }

  /** What was written from `start` on: the writer's own memory, in which these bytes stay unless it is cut below. */
  viewFrom(start: number): Buffer {
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, this.#size - start);
  }

  /** A copy of what was written. Nothing can be written afterwards. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#size);
    if (this.#bytes.length === SPARE_SIZE) spare = this.#bytes;
    this.#bytes = NOTHING;
    this.#view = new DataView(NOTHING.buffer);
    this.#size = 0;
    return taken;
  }
}

/** The name of `code` in a name → number table, or undefined. */
export function nameOf<T extends string>(table: Readonly<Record<T, number>>, code: number): T | undefined {
  let names = NAMES.get(table);
  if (names === undefined) {
    names = new Map();
    // Of two names the first counts.
    for (const name in table) if (!names.has(table[name])) names.set(table[name], name);
    NAMES.set(table, names);
  }
  return names.get(code) as T | undefined;
}

/** Of tables that were asked: they are constants. */
const NAMES = new WeakMap<object, Map<number, string>>();
