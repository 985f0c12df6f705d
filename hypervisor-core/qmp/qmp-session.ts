// The client side of QMP as a state machine (docs/interop/qmp-spec.txt, sections 2.2 to 2.6).
//
//   greeting ──{"QMP":…}──▶ negotiating ──return of qmp_capabilities──▶ ready ──fail()──▶ closed
//
// Invariant: every command is answered exactly once: by QEMU, by its deadline, or by the end of the session.
// Pure: no I/O; time comes in as a parameter.
import type { PlinthError } from "../../base/errors/index.js";
import { hypervisorError } from "../errors.js";
import { QMP_COMMANDS_IN_FLIGHT_MAX } from "../limits.js";
import { asObject, encodeQmpCommand, type JsonObject, QmpParser } from "./qmp-wire.js";

export interface QmpEvent {
  /** QEMU's name of the event, e.g. "SHUTDOWN". */
  readonly name: string;
  readonly data: JsonObject;
}

export type QmpOutput =
  | { readonly kind: "send"; readonly bytes: Uint8Array }
  | { readonly kind: "ready" }
  | { readonly kind: "return"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: PlinthError }
  | { readonly kind: "event"; readonly event: QmpEvent };

type QmpState = "greeting" | "negotiating" | "ready" | "closed";

interface PendingCommand {
  readonly command: string;
  readonly deadlineMs: number;
}

const NEGOTIATION_ID = 0;

export class QmpSession {
  readonly #parser = new QmpParser();
  readonly #pending = new Map<number, PendingCommand>();
  #state: QmpState = "greeting";
  #nextId = 1;

  get state(): QmpState {
    return this.#state;
  }

  /** Takes bytes of the monitor. Throws QMP_MALFORMED or QMP_TOO_LONG; the caller then calls fail() and closes. */
  receive(bytes: Uint8Array): QmpOutput[] {
    const outputs: QmpOutput[] = [];
    for (const message of this.#parser.push(bytes)) this.#take(message, outputs);
    return outputs;
  }

  /** Queues one command; `deadlineMs` is absolute. Throws MACHINE_STATE before the session is ready or when full. */
  execute(
    command: string,
    args: JsonObject | undefined,
    deadlineMs: number,
  ): { readonly id: number; readonly bytes: Uint8Array } {
    if (this.#state !== "ready") {
      throw hypervisorError("MACHINE_STATE", `QMP: ${command} while the monitor is ${this.#state}`);
    }
    if (this.#pending.size >= QMP_COMMANDS_IN_FLIGHT_MAX) {
      throw hypervisorError(
        "MACHINE_STATE",
        `QMP: ${QMP_COMMANDS_IN_FLIGHT_MAX} commands wait for an answer`,
      );
    }
    const id = this.#nextId++;
    this.#pending.set(id, { command, deadlineMs });
    return { id, bytes: encodeQmpCommand(id, command, args) };
  }

  /** The commands whose deadline has passed at `nowMs`; their late answers are ignored. */
  expire(nowMs: number): QmpOutput[] {
    const outputs: QmpOutput[] = [];
    for (const [id, { command, deadlineMs }] of this.#pending) {
      if (deadlineMs > nowMs) continue;
      this.#pending.delete(id);
      outputs.push({
        kind: "failed",
        id,
        error: hypervisorError("QMP_TIMEOUT", `QMP: no answer to ${command} before its deadline`),
      });
    }
    return outputs;
  }

  /** The earliest deadline of what is in flight, or undefined. */
  nextDeadlineMs(): number | undefined {
    let earliest: number | undefined;
    for (const { deadlineMs } of this.#pending.values()) {
      if (earliest === undefined || deadlineMs < earliest) earliest = deadlineMs;
    }
    return earliest;
  }

  /** Ends the session: everything in flight fails with `reason`. Calling it again does nothing. */
  fail(reason: PlinthError): QmpOutput[] {
    this.#state = "closed";
    const outputs = [...this.#pending.keys()].map((id): QmpOutput => ({ kind: "failed", id, error: reason }));
    this.#pending.clear();
    return outputs;
  }

  #take(message: JsonObject, outputs: QmpOutput[]): void {
    if (this.#state === "closed") return;
    if (this.#state === "greeting") {
      if (asObject(message["QMP"]) === undefined) {
        throw hypervisorError("QMP_MALFORMED", "QMP: the monitor did not greet");
      }
      this.#state = "negotiating";
      outputs.push({ kind: "send", bytes: encodeQmpCommand(NEGOTIATION_ID, "qmp_capabilities", undefined) });
      return;
    }
    if (typeof message["event"] === "string") {
      const event = { name: message["event"], data: asObject(message["data"]) ?? {} };
      outputs.push({ kind: "event", event });
      return;
    }
    this.#takeAnswer(message, outputs);
  }

  #takeAnswer(message: JsonObject, outputs: QmpOutput[]): void {
    const id = message["id"];
    const error = asObject(message["error"]);
    if (error === undefined && !("return" in message)) {
      throw hypervisorError("QMP_MALFORMED", "QMP: a message is neither event, return nor error");
    }
    if (this.#state === "negotiating") {
      if (id !== NEGOTIATION_ID || error !== undefined) {
        throw hypervisorError("QMP_MALFORMED", "QMP: the monitor refused the capabilities negotiation");
      }
      this.#state = "ready";
      outputs.push({ kind: "ready" });
      return;
    }
    const pending = typeof id === "number" ? this.#pending.get(id) : undefined;
    // An answer that came after its deadline, or to a command of somebody before us.
    if (typeof id !== "number" || pending === undefined) return;
    this.#pending.delete(id);
    if (error === undefined) outputs.push({ kind: "return", id, value: message["return"] });
    else outputs.push({ kind: "failed", id, error: refusal(pending.command, error) });
  }
}

function refusal(command: string, error: JsonObject): PlinthError {
  const description = typeof error["desc"] === "string" ? error["desc"] : "no description";
  return hypervisorError("QMP_COMMAND_FAILED", `QEMU refused ${command}: ${description}`, {
    context: { command, class: error["class"] },
  });
}
