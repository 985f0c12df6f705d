// What a port gives to its successor in another process, so that its peer does not notice: descriptors, and numbers
// about them. Neither is this process's to use any more, but the descriptors stay its to close.
// Pure: types and checks.
import { PlinthError } from "../errors/index.js";

export interface HandedPort {
  /** JSON, of the port's own making. */
  readonly state: Readonly<Record<string, unknown>>;
  readonly fds: readonly number[];
}

/** Takes what was handed over apart. Throws HANDED_PORT_INVALID naming the field. */
export class HandedReader {
  readonly #handed: HandedPort;
  #next = 0;

  constructor(handed: HandedPort) {
    this.#handed = handed;
  }

  has(field: string): boolean {
    return this.#handed.state[field] !== undefined;
  }

  boolean(field: string): boolean {
    const value = this.#handed.state[field];
    if (typeof value === "boolean") return value;
    throw handedInvalid(field, "a boolean");
  }

  /** A whole number from 0 to `max`. */
  number(field: string, max: number): number {
    const value = this.#handed.state[field];
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max) return value as number;
    throw handedInvalid(field, `a number from 0 to ${max}`);
  }

  bytes(field: string, sizeMax: number): Uint8Array {
    return bytesOf(this.#handed.state[field], field, sizeMax);
  }

  array(field: string): readonly unknown[] {
    const value = this.#handed.state[field];
    if (Array.isArray(value)) return value;
    throw handedInvalid(field, "a list");
  }

  /** The next descriptor. */
  fd(): number {
    const fd = this.#handed.fds[this.#next++];
    if (fd === undefined) throw handedInvalid("fds", "more descriptors");
    return fd;
  }

  /** To be called last. */
  end(): void {
    if (this.#next !== this.#handed.fds.length) throw handedInvalid("fds", `${this.#next} descriptors`);
  }
}

/** Bytes that textOf() made text of. */
export function bytesOf(value: unknown, field: string, sizeMax: number): Uint8Array {
  const bytes = typeof value === "string" ? Uint8Array.from(Buffer.from(value, "base64")) : undefined;
  if (bytes !== undefined && bytes.byteLength <= sizeMax) return bytes;
  throw handedInvalid(field, `at most ${sizeMax} bytes in base64`);
}

/** The bytes from `start` up to `end`. */
export function textOf(bytes: Uint8Array, start = 0, end = bytes.byteLength): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("base64");
}

export function handedInvalid(field: string, expected: string): PlinthError {
  return new PlinthError(
    "HANDED_PORT_INVALID",
    `what was handed over of a port: ${field} is not ${expected}`,
    {
      field,
    },
  );
}
