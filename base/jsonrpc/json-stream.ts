// Cuts a byte stream into the concatenated JSON objects (or arrays) it carries. Pure.
// Framing works on bytes, so a chunk may end anywhere, also inside a UTF-8 sequence.
// Invariant: after an error the stream is dead; it never yields a value that began before a bad byte.
import { PlinthError } from "../errors/index.js";
import { JSON_DEPTH_MAX, JSON_SIZE_BYTES_MAX } from "./limits.js";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** From a bracket to the one that closes it: "{" is 0x7b and "}" 0x7d, "[" is 0x5b and "]" 0x5d. */
const TO_CLOSE = 2;

export interface JsonStreamOptions {
  readonly sizeBytesMax?: number;
  readonly depthMax?: number;
  /** What makes text of a value's bytes; when absent, they must be UTF-8. */
  readonly decode?: (bytes: Uint8Array) => string;
  /** What reads the text of a value; JSON.parse when absent. Throws SyntaxError. */
  readonly parse?: (text: string) => unknown;
}

/** Yields each complete top-level object or array of the bytes pushed so far, once, in order. */
export class JsonStream {
  readonly #sizeBytesMax: number;
  readonly #depthMax: number;
  readonly #parse: (text: string) => unknown;
  readonly #decode: (bytes: Uint8Array) => string;
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;
  #depth = 0;
  /** The bracket that was opened at each depth, from 1. */
  readonly #opened: Uint8Array;
  #inString = false;
  #escaped = false;
  #dead = false;

  constructor(options: JsonStreamOptions = {}) {
    this.#sizeBytesMax = options.sizeBytesMax ?? JSON_SIZE_BYTES_MAX;
    this.#depthMax = options.depthMax ?? JSON_DEPTH_MAX;
    this.#opened = new Uint8Array(this.#depthMax + 1);
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    this.#decode = options.decode ?? ((bytes) => decoder.decode(bytes));
    this.#parse = options.parse ?? JSON.parse;
  }

  /** True while a value has begun and not ended. */
  get inValue(): boolean {
    return this.#depth > 0;
  }

  /**
   * Takes the next bytes (copied where they must be kept) and returns the values that they complete.
   * Throws JSON_MALFORMED, JSON_TOO_LARGE or JSON_TOO_DEEP; the stream is unusable afterwards.
   */
  push(chunk: Uint8Array): unknown[] {
    if (this.#dead) throw new PlinthError("JSON_MALFORMED", "the stream ended with an earlier error");
    try {
      return this.#scan(chunk);
    } catch (thrown) {
      this.#dead = true;
      this.#parts = [];
      throw thrown;
    }
  }

  #scan(chunk: Uint8Array): unknown[] {
    const values: unknown[] = [];
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number;
      if (this.#depth === 0) {
        if (isSpace(byte)) continue;
        if (byte !== 0x7b && byte !== 0x5b) throw malformed(`byte 0x${byte.toString(16)} between values`);
        this.#depth = 1;
        this.#opened[1] = byte;
        start = i;
      } else if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === 0x7b || byte === 0x5b) {
        if (++this.#depth > this.#depthMax) {
          throw new PlinthError("JSON_TOO_DEEP", `a value nests deeper than ${this.#depthMax}`);
        }
        this.#opened[this.#depth] = byte;
      } else if (byte === 0x7d || byte === 0x5d) {
        const opened = this.#opened[this.#depth] as number;
        // At once: one that waits for the right bracket would wait for ever.
        if (byte !== opened + TO_CLOSE)
          throw malformed(`${String.fromCharCode(byte)} where ${String.fromCharCode(opened)} is open`);
        if (--this.#depth > 0) continue;
        this.#keep(chunk.subarray(start, i + 1));
        values.push(this.#finish());
      }
    }
    // Copied: the caller may reuse its buffer.
    if (this.#depth > 0) this.#keep(chunk.slice(start));
    return values;
  }

  #keep(part: Uint8Array): void {
    this.#sizeBytes += part.byteLength;
    if (this.#sizeBytes > this.#sizeBytesMax) {
      throw new PlinthError("JSON_TOO_LARGE", `a value has more than ${this.#sizeBytesMax} bytes`);
    }
    this.#parts.push(part);
  }

  #finish(): unknown {
    const bytes = this.#parts.length === 1 ? (this.#parts[0] as Uint8Array) : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#sizeBytes = 0;
    try {
      return this.#parse(this.#decode(bytes));
    } catch (cause) {
      throw malformed((cause as Error).message.slice(0, 120), cause);
    }
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function malformed(why: string, cause?: unknown): PlinthError {
  return new PlinthError("JSON_MALFORMED", `not JSON: ${why}`, { cause });
}
