// The exec protocol between host and guest agent: lines of ASCII over a virtio-serial port, ids and base64 between
// blanks. Lines, because the agent is a shell loop, and because a line feed is where either side finds its place
// again after the other vanished in the middle of a message.
//
//   host → guest                                   guest → host
//   X id seconds blocks   begin; limits             H                     the agent listens
//   C id base64           more of the command       S id code expired     the command ended
//   I id base64           more of its input         O id base64           more of its output
//   G id                  run it                    E id base64           more of its error output
//                                                  Z id                  the reply is complete
//
// An id is 16 hexadecimal digits, random: what a guest still sends to a caller long gone matches nobody. Pure.
import { concatBytes } from "../../base/bytes/index.js";
import { hypervisorError } from "../errors.js";
import {
  EXEC_COMMAND_BYTES_MAX,
  EXEC_INPUT_BYTES_MAX,
  EXEC_LINE_BYTES_MAX,
  EXEC_OUTPUT_BYTES_MAX,
  EXEC_TIMEOUT_MS_MAX,
} from "../limits.js";

export interface ExecRequest {
  /** Program and arguments; no shell interprets them. */
  readonly command: readonly string[];
  readonly input?: Uint8Array | undefined;
  /** The guest kills the command and all it started after this time. */
  readonly timeoutMs: number;
}

export type ExecMessage =
  | { readonly kind: "hello" }
  | { readonly kind: "status"; readonly id: string; readonly exitCode: number; readonly timedOut: boolean }
  | { readonly kind: "output" | "error"; readonly id: string; readonly bytes: Uint8Array }
  | { readonly kind: "end"; readonly id: string };

/** Characters of base64 in one line towards the guest: its shell reads byte by byte, so short lines cost nothing. */
const CHUNK_CHARACTERS = 1024;
const ULIMIT_BLOCK_BYTES = 512;

/** The whole request. Throws GUEST_COMMAND_INVALID when it is empty, holds a NUL or exceeds a limit. */
export function encodeExecRequest(id: string, request: ExecRequest): Uint8Array {
  const command = Buffer.from(quoteCommand(request.command));
  const input = request.input ?? new Uint8Array(0);
  const inRange = request.timeoutMs > 0 && request.timeoutMs <= EXEC_TIMEOUT_MS_MAX;
  if (!inRange) throw invalid("timeoutMs", `must be between 1 and ${EXEC_TIMEOUT_MS_MAX}`);
  if (command.length > EXEC_COMMAND_BYTES_MAX)
    throw invalid("command", `exceeds ${EXEC_COMMAND_BYTES_MAX} bytes`);
  if (input.length > EXEC_INPUT_BYTES_MAX) throw invalid("stdin", `exceeds ${EXEC_INPUT_BYTES_MAX} bytes`);
  const seconds = (request.timeoutMs / 1000).toFixed(3);
  return Buffer.from(
    // The first line feed ends whatever a caller before us left unfinished.
    `\nX ${id} ${seconds} ${EXEC_OUTPUT_BYTES_MAX / ULIMIT_BLOCK_BYTES}\n${chunks("C", id, command)}${chunks("I", id, input)}G ${id}\n`,
  );
}

/** A shell line that runs exactly these words. Throws GUEST_COMMAND_INVALID. */
export function quoteCommand(words: readonly string[]): string {
  if (words.length === 0 || words[0] === "") throw invalid("command", "is empty");
  if (words.some((word) => word.includes("\0"))) throw invalid("command", "holds a NUL character");
  return `exec ${words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")}\n`;
}

function invalid(field: string, message: string) {
  return hypervisorError("GUEST_COMMAND_INVALID", `${field} ${message}`, { field });
}

function chunks(kind: string, id: string, bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  let lines = "";
  for (let at = 0; at < text.length; at += CHUNK_CHARACTERS) {
    lines += `${kind} ${id} ${text.slice(at, at + CHUNK_CHARACTERS)}\n`;
  }
  return lines;
}

const LINE_FEED = 0x0a;

/** Cuts the guest's bytes into messages. What is not one, or is too long, is skipped to the next line feed. */
export class ExecParser {
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;
  #skipping = false;

  push(bytes: Uint8Array): ExecMessage[] {
    const messages: ExecMessage[] = [];
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      this.#keep(bytes.subarray(start, end));
      const message = this.#skipping
        ? undefined
        : parseLine(Buffer.from(concatBytes(this.#parts)).toString("latin1"));
      if (message !== undefined) messages.push(message);
      this.#parts = [];
      this.#sizeBytes = 0;
      this.#skipping = false;
      start = end + 1;
    }
    this.#keep(bytes.slice(start));
    return messages;
  }

  #keep(part: Uint8Array): void {
    if (this.#skipping || part.length === 0) return;
    this.#sizeBytes += part.length;
    if (this.#sizeBytes <= EXEC_LINE_BYTES_MAX) {
      this.#parts.push(part);
    } else {
      this.#skipping = true;
      this.#parts = [];
    }
  }
}

function parseLine(line: string): ExecMessage | undefined {
  if (line === "H") return { kind: "hello" };
  const data = /^([OE]) ([0-9a-f]{16}) ([A-Za-z0-9+/]*={0,2})$/.exec(line);
  if (data !== null) {
    const bytes = Buffer.from(data[3] as string, "base64");
    return { kind: data[1] === "O" ? "output" : "error", id: data[2] as string, bytes };
  }
  const status = /^S ([0-9a-f]{16}) ([0-9]{1,3}) ([01])$/.exec(line);
  if (status !== null) {
    const exitCode = Number(status[2]);
    return { kind: "status", id: status[1] as string, exitCode, timedOut: status[3] === "1" };
  }
  const end = /^Z ([0-9a-f]{16})$/.exec(line);
  return end === null ? undefined : { kind: "end", id: end[1] as string };
}
