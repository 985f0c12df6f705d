// The host's side of the exec protocol as a state machine: requests out, replies in, several at once.
// Invariant: whatever a guest sends, at most EXEC_OUTPUT_BYTES_MAX per stream and request is kept, and nothing of
// requests that are not ours. Pure: no I/O, no clock, no randomness.
import { concatBytes } from "../../base/bytes/index.js";
import { hypervisorError } from "../errors.js";
import { EXEC_IN_FLIGHT_MAX, EXEC_OUTPUT_BYTES_MAX } from "../limits.js";
import { type ExecMessage, ExecParser, type ExecRequest, encodeExecRequest } from "./exec-wire.js";

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** The command was killed at its time limit. */
  readonly timedOut: boolean;
  /** One of the outputs reached its limit; the rest was thrown away. */
  readonly truncated: boolean;
}

interface Collected {
  readonly output: Uint8Array[];
  readonly error: Uint8Array[];
  outputBytes: number;
  errorBytes: number;
  status: { readonly exitCode: number; readonly timedOut: boolean } | undefined;
}

export class ExecSession {
  readonly #pending = new Map<string, Collected>();
  #parser = new ExecParser();

  get inFlight(): number {
    return this.#pending.size;
  }

  /** The bytes of a new request. Throws GUEST_COMMAND_INVALID; MACHINE_STATE when too many run at once. */
  begin(id: string, request: ExecRequest): Uint8Array {
    const bytes = encodeExecRequest(id, request);
    if (this.#pending.size >= EXEC_IN_FLIGHT_MAX) {
      throw hypervisorError("MACHINE_STATE", `${EXEC_IN_FLIGHT_MAX} commands already run in this guest`);
    }
    this.#pending.set(id, { output: [], error: [], outputBytes: 0, errorBytes: 0, status: undefined });
    return bytes;
  }

  /** Forgets a request; its late reply is skipped. */
  abandon(id: string): void {
    this.#pending.delete(id);
  }

  /** The connection was made anew: half a line of the old one means nothing. */
  restart(): void {
    this.#parser = new ExecParser();
  }

  /** Takes bytes of the guest; the replies they complete. Never throws: the guest is free to send anything. */
  receive(bytes: Uint8Array): { readonly id: string; readonly result: ExecResult }[] {
    const results: { readonly id: string; readonly result: ExecResult }[] = [];
    for (const message of this.#parser.push(bytes)) {
      if (message.kind === "hello") continue;
      const collected = this.#pending.get(message.id);
      if (collected === undefined) continue;
      if (message.kind !== "end") collect(collected, message);
      else if (collected.status !== undefined) {
        this.#pending.delete(message.id);
        results.push({ id: message.id, result: finish(collected, collected.status) });
      }
    }
    return results;
  }
}

function collect(collected: Collected, message: Exclude<ExecMessage, { kind: "hello" | "end" }>): void {
  if (message.kind === "status") {
    collected.status = { exitCode: message.exitCode, timedOut: message.timedOut };
  } else if (message.kind === "output") {
    const bytes = message.bytes.subarray(0, EXEC_OUTPUT_BYTES_MAX - collected.outputBytes);
    collected.outputBytes += bytes.length;
    if (bytes.length > 0) collected.output.push(bytes);
  } else {
    const bytes = message.bytes.subarray(0, EXEC_OUTPUT_BYTES_MAX - collected.errorBytes);
    collected.errorBytes += bytes.length;
    if (bytes.length > 0) collected.error.push(bytes);
  }
}

function finish(collected: Collected, status: { exitCode: number; timedOut: boolean }): ExecResult {
  return {
    ...status,
    stdout: concatBytes(collected.output),
    stderr: concatBytes(collected.error),
    truncated: Math.max(collected.outputBytes, collected.errorBytes) >= EXEC_OUTPUT_BYTES_MAX,
  };
}
