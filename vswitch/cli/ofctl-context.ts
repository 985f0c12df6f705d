// What every verb of `plinth ofctl` works with: its arguments, options and the connection to the switch.
import {
  type FlowMod,
  type GroupMod,
  type MultipartReplyBody,
  type MultipartRequestBody,
  OFP13_VERSION,
  type OpenFlowMessage,
  type PacketInFormat,
  type PacketOut,
  type PortDescription,
  type Unsent,
} from "../../base/openflow/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import type { CommandIo } from "./command-io.js";
import { createCommandLog, type LogLevel } from "./command-log.js";
import { commandError } from "./errors.js";
import { portsOfFeatures } from "./features-ports.js";
import { parsePort } from "./field-text.js";
import type { FlowText } from "./flow-text.js";
import type { PortNumbers } from "./match-reader.js";
import type { PortNames } from "./match-text.js";
import { printMessage } from "./message-print.js";
import { type Allowed, settleForChange, settleForDump } from "./ofctl-protocol.js";
import {
  bodiesOf,
  type OpenFlowClient,
  OpenFlowRefusal,
  type Reply,
  type Request,
} from "./openflow-client.js";
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
  /** Asked for by -P; undefined = the best that the switch knows. */
  readonly packetInFormat: PacketInFormat | undefined;
  /** Nothing may be changed. */
  readonly readOnly: boolean;
  readonly timeoutMs: number | undefined;
  /** monitor and snoop go on in the background. */
  readonly detach: boolean;
  /** They keep the current directory there. */
  readonly noChdir: boolean;
  /** File for the process number, "" = the usual one; undefined = none. */
  readonly pidfile: string | undefined;
  readonly overwritesPidfile: boolean;
  /** Path of their control socket, "none" = without; undefined = the usual one. */
  readonly unixctl: string | undefined;
  /** Those allowed, as numbered on the wire; undefined = the usual one. */
  readonly versions: readonly number[] | undefined;
  /** Who we are to switches that are reached over TLS. */
  readonly tls: TlsFiles;
  /** What may carry flows; undefined = anything. */
  readonly protocols: ProtocolSet | undefined;
}

interface Given {
  readonly flags: OfctlFlags;
  readonly allowed: Allowed;
  readonly warn: (module: string, line: string) => void;
}

export class OfctlContext {
  readonly client: OpenFlowClient;
  readonly flags: OfctlFlags;
  readonly allowed: Allowed;
  readonly io: CommandIo;
  /** As the user named it. */
  readonly target: string;
  /** A line for the log. */
  readonly warn: (module: string, line: string) => void;
  #ports: readonly PortDescription[] | undefined;

  constructor(client: OpenFlowClient, target: string, given: Given, io: CommandIo) {
    this.client = client;
    this.target = target;
    this.flags = given.flags;
    this.allowed = given.allowed;
    this.warn = given.warn;
    this.io = io;
  }

  /** Has the switch carry `changes` out: one by one, or with --bundle all or none. Rejects with OpenFlowRefusal. */
  change(changes: readonly Unsent<FlowMod | GroupMod | PacketOut>[]): Promise<void> {
    return this.flags.bundle ? this.client.sendAtomically(changes) : this.client.send(changes);
  }

  /** What `usable` can carry is written in a protocol that is allowed and that the switch speaks; in which version. */
  settleForChange(usable: ProtocolSet): Promise<number> {
    return settleForChange(this.client, this.allowed, usable);
  }

  /** The same for requests about flows; whether they have Nicira's matches. */
  settleForDump(usable: ProtocolSet): Promise<boolean> {
    return settleForDump(this.client, this.allowed, usable);
  }

  async ports(): Promise<readonly PortDescription[]> {
    this.#ports ??= await this.#askPorts();
    return this.#ports;
  }

  async #askPorts(): Promise<readonly PortDescription[]> {
    if (this.client.version < OFP13_VERSION) {
      const [features] = await this.client.ask({ type: "features_request" });
      const ports = portsOfFeatures(features, this.client.version);
      if (ports !== undefined) return ports;
    }
    const replies = await this.client.request({ kind: "port_desc" });
    return bodiesOf(replies).flatMap((body) => (body.kind === "port_desc" ? body.ports : []));
  }

  /** Names to show; undefined when numbers are asked for. */
  async names(): Promise<PortNames | undefined> {
    if (this.flags.names !== true) return undefined;
    return new Map((await this.ports()).map(({ port, name }) => [port, name]));
  }

  /** For parsers of flows and groups. The ports are asked for only when the text may name one. */
  async numbers(texts: readonly string[]): Promise<PortNumbers> {
    // The original opens two connections to ask for the names of ports and tables: four numbers.
    const asks = this.#ports === undefined;
    const skipped = (count: number): void => {
      for (let n = 0; asks && n < count; n++) this.client.skipXid();
    };
    if (
      !texts.some((text) =>
        /(in_port|out_port|watch_port|output|enqueue|resubmit|port|actions|bucket)\s*[=:(,]\s*"?[A-Za-z]/.test(
          text,
        ),
      )
    ) {
      skipped(4);
      return () => undefined;
    }
    const ports = new Map((await this.ports()).map(({ port, name }) => [name, port]));
    skipped(3);
    return (name) => ports.get(name);
  }

  /** The number of a port by number or name. Throws COMMAND_FAILED. */
  async portNumber(text: string): Promise<number> {
    try {
      return parsePort(text);
    } catch {
      const named = (await this.portsApart()).find(({ name }) => name === text);
      if (named === undefined) throw commandError(`${this.target}: unknown port \`${text}'`);
      return named.port;
    }
  }

  /** As ports(); the original opens a connection for it, whose hello and request have numbers of their own. */
  async portsApart(): Promise<readonly PortDescription[]> {
    if (this.#ports === undefined) this.client.skipXid();
    return this.ports();
  }

  /** What the switch answers, also when it refuses: that is printed like any other answer. */
  async answers(request: Request): Promise<readonly Reply[]> {
    try {
      return await this.client.ask(request);
    } catch (thrown) {
      if (thrown instanceof OpenFlowRefusal) return [{ bytes: thrown.bytes, message: undefined }];
      throw thrown;
    }
  }

  /** Asks and prints. */
  async dump(request: Request): Promise<void> {
    await this.print(await this.answers(request));
  }

  dumpStatistics(body: MultipartRequestBody): Promise<void> {
    return this.dump({ type: "multipart_request", flags: 0, body });
  }

  /** Prints replies as they are, or as JSON. */
  async print(replies: readonly Reply[]): Promise<void> {
    if (this.flags.json) {
      const bodies = bodiesOf(replies);
      if (bodies.length > 0) this.printJson(merged(bodies));
      else for (const reply of replies) this.printJson(plainOf(reply));
      return;
    }
    const names = await this.names();
    for (const reply of replies) this.io.out(this.textOf(reply, names));
  }

  /** A message as the original prints it; what comes unasked it prints at `verbosity` 2. */
  textOf({ bytes }: Reply, names: PortNames | undefined, verbosity = 1): string {
    return printMessage(bytes, { verbosity: verbosity + this.flags.more, names });
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
  const log = warner(io);
  for (const line of flows.flatMap(({ notes }) => notes)) log("ofp_match", line, "info");
}

/** Writes lines of the log as the original does. */
export function warner(io: CommandIo): (module: string, line: string, level?: LogLevel) => void {
  const log = io.log ?? createCommandLog(io, []);
  return (module, line, level = "warn") => log.line(module, level, line);
}

/** For JSON: the message, or where it has no value here what is printed of it. */
export function plainOf({ bytes, message }: Reply): OpenFlowMessage | { readonly text: string } {
  const isTold = message !== undefined && message.type !== "experimenter";
  return isTold ? message : { text: printMessage(bytes, { verbosity: 1 }) };
}

/** The parts of a split reply as one list, or the one part where it is none. */
function merged(bodies: readonly MultipartReplyBody[]): unknown {
  const lists = bodies.map(listOf);
  return lists.some((list) => list === undefined) ? bodies[0] : lists.flat();
}

/** What a reply has besides its kind, if that is one list. */
function listOf({ kind: _, ...rest }: MultipartReplyBody): readonly unknown[] | undefined {
  const [only, ...others] = Object.values(rest);
  return others.length === 0 && Array.isArray(only) ? only : undefined;
}
