// An OpenFlow 1.3 client that changes flows as fast as a switch acknowledges them: blocks of adds and strict deletions,
// each behind it a barrier, a few blocks under way at once. What is told to the caller was answered by a barrier.
import { connect, type Socket } from "node:net";
import { encodeMessage, OFP13_VERSION, OFPT, parseMessage } from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import { apply, field, flowMod, match, output } from "../../vswitch/testing/rig.js";

/** Flow-mods of a block. */
const BLOCK = 200;
const WINDOW = 8;
/** Flows that are in the table at once, beside others; and the different ones there are. */
const FLOWS_KEPT = 10_000;
const FLOWS = 20_000;
const HEADER_SIZE = 8;
/** Everything has one processor beside the generator. */
const DEADLINE_MS = 120_000;
const PRIORITY = 200;

export class FlowModClient {
  /** Flow-mods that were answered for. */
  acknowledged = 0;
  readonly #socket: Socket;
  readonly #blocks: readonly Buffer[];
  #next = 0;
  #outstanding = 0;
  #isRunning = false;
  #isReady = false;
  #failure: Error | undefined;
  #pending: Buffer = Buffer.alloc(0);

  private constructor(path: string) {
    this.#blocks = blocks();
    this.#socket = connect(path);
    this.#socket.on("data", (bytes) => this.#receive(bytes));
    this.#socket.on("error", (error) => {
      this.#failure = error;
    });
    this.#write({ type: "hello", xid: 0, version: OFP13_VERSION, versions: [OFP13_VERSION] });
  }

  /** Resolves when the switch has said hello and the first flows are in its table. */
  static async open(path: string): Promise<FlowModClient> {
    const client = new FlowModClient(path);
    await waitFor(() => client.#checked() && client.#isReady, "the switch to say hello", DEADLINE_MS, 5);
    client.begin();
    const isFull = () => client.#checked() && client.acknowledged >= FLOWS_KEPT;
    await waitFor(isFull, "the first flows", DEADLINE_MS, 5);
    return client;
  }

  begin(): void {
    this.#isRunning = true;
    while (this.#outstanding < WINDOW) this.#sendBlock();
  }

  /** Throws what went wrong since it was opened: an error of the switch, or of the connection. */
  end(): void {
    this.#isRunning = false;
    this.#socket.destroy();
    this.#checked();
  }

  #checked(): boolean {
    if (this.#failure !== undefined) throw this.#failure;
    return true;
  }

  #sendBlock(): void {
    this.#outstanding++;
    this.#socket.write(this.#blocks[this.#next] as Buffer);
    this.#next = this.#next + 1 === this.#blocks.length ? FLOWS_KEPT / BLOCK : this.#next + 1;
  }

  #receive(bytes: Buffer): void {
    let buffer = this.#pending.byteLength === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (buffer.byteLength >= HEADER_SIZE) {
      const length = buffer.readUInt16BE(2);
      if (buffer.byteLength < length) break;
      this.#message(buffer.subarray(0, length));
      buffer = buffer.subarray(length);
    }
    this.#pending = buffer;
  }

  #message(bytes: Buffer): void {
    const type = bytes[1];
    if (type === OFPT.hello) this.#isReady = true;
    else if (type === OFPT.barrier_reply) {
      this.#outstanding--;
      this.acknowledged += BLOCK;
      if (this.#isRunning) this.#sendBlock();
    } else if (type === OFPT.error)
      this.#failure = new Error(`the switch refused a flow-mod: ${JSON.stringify(parseMessage(bytes))}`);
    else if (type === OFPT.echo_request) {
      const reply = Buffer.from(bytes);
      reply[1] = OFPT.echo_reply;
      this.#socket.write(reply);
    }
  }

  #write(message: Parameters<typeof encodeMessage>[0]): void {
    this.#socket.write(encodeMessage(message));
  }
}

/** First only additions, then in a circle: for each flow that comes, the one goes that has been there longest. */
function blocks(): Buffer[] {
  const mods: Uint8Array[] = [];
  const of = (n: number, command: "add" | "delete_strict"): Uint8Array =>
    encodeMessage(
      flowMod({
        command,
        priority: PRIORITY,
        // Addresses that no traffic has.
        match: match(field("eth_type", 0x800), field("ipv4_src", 0x0b000000 + n)),
        instructions: command === "add" ? [apply(output(2))] : [],
      }),
    );
  for (let n = 0; n < FLOWS_KEPT; n++) mods.push(of(n, "add"));
  for (let n = 0; n < FLOWS; n++) {
    mods.push(of((n + FLOWS_KEPT) % FLOWS, "add"), of(n, "delete_strict"));
  }
  const barrier = encodeMessage({ type: "barrier_request", xid: 1 });
  return Array.from({ length: mods.length / BLOCK }, (_, b) =>
    Buffer.concat([...mods.slice(b * BLOCK, (b + 1) * BLOCK), barrier]),
  );
}
