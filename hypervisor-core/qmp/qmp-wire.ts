// QMP messages as bytes: a stream of JSON objects (docs/interop/qmp-spec.txt), cut without waiting for line ends.
// Invariant: at most QMP_MESSAGE_SIZE_BYTES_MAX bytes of one unfinished message are kept; anything else is refused.
// Pure: no I/O, no clock.
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import { JsonStream } from "../../base/jsonrpc/index.js";
import { hypervisorError } from "../errors.js";
import { QMP_DEPTH_MAX, QMP_MESSAGE_SIZE_BYTES_MAX } from "../limits.js";

export type JsonObject = { readonly [name: string]: unknown };

/** Cuts what a monitor sends into messages. */
export class QmpParser {
  readonly #stream = new JsonStream({ sizeBytesMax: QMP_MESSAGE_SIZE_BYTES_MAX, depthMax: QMP_DEPTH_MAX });

  /**
   * The messages completed by `bytes`, in order. `bytes` may be reused by the caller afterwards.
   * Throws QMP_MALFORMED or QMP_TOO_LONG; after that the parser must not be used again.
   */
  push(bytes: Uint8Array): JsonObject[] {
    try {
      return this.#stream.push(bytes).map(messageOf);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      const code = thrown.code === "JSON_TOO_LARGE" ? "QMP_TOO_LONG" : "QMP_MALFORMED";
      throw hypervisorError(code, `QMP: ${thrown.message}`, { cause: thrown });
    }
  }
}

function messageOf(value: unknown): JsonObject {
  const message = asObject(value);
  if (message === undefined) throw hypervisorError("QMP_MALFORMED", "a message is no object");
  return message;
}

/** One command on the wire, ended by a line feed as QEMU's own tools do. */
export function encodeQmpCommand(id: number, command: string, args: JsonObject | undefined): Uint8Array {
  const message = args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
  return Buffer.from(`${JSON.stringify(message)}\n`);
}

/** The value as an object, or undefined: monitors send what they like. */
export function asObject(value: unknown): JsonObject | undefined {
  return isObject(value) ? value : undefined;
}
