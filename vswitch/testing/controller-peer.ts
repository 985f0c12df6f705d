// A controller's end of one OpenFlow connection, for tests of the agent.
import type { Socket } from "node:net";
import {
  ChannelSession,
  encodeMessage,
  type OpenFlowMessage,
  type Unsent,
} from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";

const DEADLINE_MS = 5_000;

export class ControllerPeer {
  readonly messages: OpenFlowMessage[] = [];
  readonly socket: Socket;
  readonly #session = new ChannelSession({ answerMalformed: false, probeIntervalMs: 0 });
  isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    for (const output of this.#session.start(0)) if (output.type === "send") socket.write(output.bytes);
    socket.on("data", (bytes) => {
      for (const output of this.#session.receive(bytes as Buffer, 0)) {
        if (output.type === "send") socket.write(output.bytes);
        if (output.type === "message") this.messages.push(output.message);
      }
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  send(...messages: Unsent[]): number[] {
    const numbered = messages.map(
      (message) => ({ ...message, xid: this.#session.nextXid() }) as OpenFlowMessage,
    );
    this.socket.write(
      Buffer.concat(numbered.map((message) => encodeMessage(message, this.#session.dialect))),
    );
    return numbered.map(({ xid }) => xid);
  }

  async established(): Promise<void> {
    await waitFor(() => this.#session.isEstablished, "no hello", DEADLINE_MS, 2);
  }

  async next(type: OpenFlowMessage["type"]): Promise<OpenFlowMessage> {
    await waitFor(
      () => this.messages.some((message) => message.type === type),
      () => `no ${type} among ${this.messages.map((message) => message.type).join(", ")}`,
      DEADLINE_MS,
      2,
    );
    const at = this.messages.findIndex((message) => message.type === type);
    return this.messages.splice(at, 1)[0] as OpenFlowMessage;
  }
}
