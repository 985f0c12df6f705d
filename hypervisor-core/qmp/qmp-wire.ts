// QMP messages as bytes: a stream of JSON objects (docs/interop/qmp-spec.txt), cut without waiting for line ends.
// Invariant: at most QMP_MESSAGE_SIZE_BYTES_MAX bytes of one unfinished message are kept; anything else is refused.
// Pure: no I/O, no clock.
import { concatBytes } from "../../base/bytes/index.js";
import { hypervisorError } from "../errors.js";
import { QMP_DEPTH_MAX, QMP_MESSAGE_SIZE_BYTES_MAX } from "../limits.js";

export type JsonObject = { readonly [name: string]: unknown };

const BACKSLASH = 0x5c;
const QUOTE = 0x22;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Finds where each top-level JSON object ends by counting brackets outside strings, then lets JSON.parse judge it. */
export class QmpParser {
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  /**
   * The messages completed by `bytes`, in order. `bytes` may be reused by the caller afterwards.
   * Throws QMP_MALFORMED or QMP_TOO_LONG; after that the parser must not be used again.
   */
  push(bytes: Uint8Array): JsonObject[] {
    const messages: JsonObject[] = [];
    let start = 0;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (this.#depth === 0) {
        if (isSpace(byte)) {
          start = i + 1;
          continue;
        }
        if (byte !== OPEN_BRACE) {
          throw hypervisorError("QMP_MALFORMED", `QMP: a message starts with byte ${byte}, expected "{"`);
        }
      }
      this.#step(byte);
      if (this.#sizeBytes + (i + 1 - start) > QMP_MESSAGE_SIZE_BYTES_MAX) {
        throw hypervisorError("QMP_TOO_LONG", `QMP: a message exceeds ${QMP_MESSAGE_SIZE_BYTES_MAX} bytes`);
      }
      if (this.#depth === 0) {
        this.#parts.push(bytes.subarray(start, i + 1));
        messages.push(this.#finish());
        start = i + 1;
      }
    }
    if (this.#depth > 0) {
      this.#parts.push(bytes.slice(start));
      this.#sizeBytes += bytes.length - start;
    }
    return messages;
  }

  #step(byte: number): void {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
    } else if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++this.#depth > QMP_DEPTH_MAX) {
        throw hypervisorError("QMP_MALFORMED", `QMP: a message is nested deeper than ${QMP_DEPTH_MAX}`);
      }
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#depth--;
  }

  #finish(): JsonObject {
    const text = Buffer.from(concatBytes(this.#parts)).toString("utf8");
    this.#parts = [];
    this.#sizeBytes = 0;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw hypervisorError("QMP_MALFORMED", `QMP: not JSON: ${text.slice(0, 80)}`, { cause });
    }
    return value as JsonObject;
  }
}

/** One command on the wire, ended by a line feed as QEMU's own tools do. */
export function encodeQmpCommand(id: number, command: string, args: JsonObject | undefined): Uint8Array {
  const message = args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
  return Buffer.from(`${JSON.stringify(message)}\n`);
}

/** The value as an object, or undefined: monitors send what they like. */
export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
