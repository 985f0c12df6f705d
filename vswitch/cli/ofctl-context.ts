// What every verb of `plinth ofctl` works with: its arguments, options and the connection to the switch.
import type {
  FlowMod,
  GroupMod,
  MultipartReplyBody,
  PortDescription,
  Unsent,
} from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { commandError } from "./errors.js";
import { parsePort } from "./field-text.js";
import type { FlowText } from "./flow-text.js";
import type { PortNumbers } from "./match-reader.js";
import type { PortNames } from "./match-text.js";
import { formatMessage } from "./message-print.js";
import type { MultipartReply, OpenFlowClient } from "./openflow-client.js";
import { toPlain } from "./plain-value.js";
import type { ProtocolSet } from "./protocol-set.js";

export interface OfctlFlags {
  readonly strict: boolean;
  /** true = names, false = numbers, undefined = names on a terminal. */
  readonly names: boolean | undefined;
  readonly stats: boolean;
  /** Fields to sort by, in order. */
  readonly sort: readonly { readonly field: string; readonly descending: boolean }[];
  readonly mayCreate: boolean;
  readonly readd: boolean;
  readonly bundle: boolean;
  readonly json: boolean;
  /** How often -m was said. */
  readonly more: number;
  /** Tell when each message was recorded. */
  readonly timestamp: boolean;
  readonly timeoutMs: number | undefined;
  /** Those allowed, as numbered on the wire; undefined = the usual one. */
  readonly versions: readonly number[] | undefined;
  /** What may carry flows; undefined = anything. */
  readonly protocols: ProtocolSet | undefined;
}

export class OfctlContext {
  readonly client: OpenFlowClient;
  readonly flags: OfctlFlags;
  readonly io: CommandIo;
  /** As the user named it. */
  readonly target: string;
  #ports: readonly PortDescription[] | undefined;

  constructor(client: OpenFlowClient, target: string, flags: OfctlFlags, io: CommandIo) {
    this.client = client;
    this.target = target;
    this.flags = flags;
    this.io = io;
  }

  /** Has the switch carry `changes` out: one by one, or with --bundle all or none. Rejects with OpenFlowRefusal. */
  change(changes: readonly Unsent<FlowMod | GroupMod>[]): Promise<void> {
    return this.flags.bundle ? this.client.sendAtomically(changes) : this.client.send(changes);
  }

  async ports(): Promise<readonly PortDescription[]> {
    if (this.#ports === undefined) {
      const replies = await this.client.request({ kind: "port_desc" });
      this.#ports = replies.flatMap(({ body }) => (body.kind === "port_desc" ? body.ports : []));
    }
    return this.#ports;
  }

  /** Names to show; undefined when numbers are asked for. */
  async names(): Promise<PortNames | undefined> {
    if (this.flags.names !== true) return undefined;
    return new Map((await this.ports()).map(({ port, name }) => [port, name]));
  }

  /** For parsers of flows and groups. The ports are asked for only when the text may name one. */
  async numbers(texts: readonly string[]): Promise<PortNumbers> {
    if (
      !texts.some((text) =>
        /(in_port|out_port|watch_port|output|enqueue|actions)\s*[=:(]\s*"?[A-Za-z]/.test(text),
      )
    )
      return () => undefined;
    const ports = new Map((await this.ports()).map(({ port, name }) => [name, port]));
    return (name) => ports.get(name);
  }

  /** The number of a port by name or number. Throws COMMAND_FAILED. */
  async portNumber(text: string): Promise<number> {
    const named = (await this.ports()).find(({ name }) => name === text);
    if (named !== undefined) return named.port;
    try {
      return parsePort(text);
    } catch {
      throw commandError(`${this.target}: unknown port \`${text}'`);
    }
  }

  /** Prints replies as they are, or as JSON. */
  async print(replies: readonly MultipartReply[]): Promise<void> {
    if (this.flags.json) {
      this.printJson(merged(replies.map(({ body }) => body)));
      return;
    }
    const names = await this.names();
    for (const reply of replies) this.io.out(formatMessage({ type: "multipart_reply", ...reply }, names));
  }

  printJson(value: unknown): void {
    this.io.out(`${JSON.stringify(toPlain(value), null, 2)}\n`);
  }

  /** What had to be left out of matches, told as the original tells it. */
  note(flows: readonly FlowText[]): void {
    tellNotes(this.io, flows);
  }
}

export function tellNotes(io: CommandIo, flows: readonly FlowText[]): void {
  let n = 0;
  for (const line of flows.flatMap(({ notes }) => notes)) {
    const stamp = new Date().toISOString().replace(/\.\d+Z$/, "Z"); // cold
    io.err(`${stamp}|${String(++n).padStart(5, "0")}|ofp_match|INFO|${line}\n`);
  }
}

/** The parts of a split reply as one list, or the one part. */
function merged(bodies: readonly MultipartReplyBody[]): unknown {
  const lists = bodies.flatMap((body) => Object.values(body).filter((value) => Array.isArray(value)));
  return lists.length === 0 ? bodies[0] : lists.flat();
}
