// One OpenFlow connection of the agent: a socket and its session, what the connection keeps for itself, and how fast it
// is read.
// Invariant: answers leave in the order of their requests, so a barrier reply follows everything asked before it.
// Thread: main.

import type { Socket } from "node:net";
import { systemReason } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import {
  type ChannelOutput,
  ChannelSession,
  type Dialect,
  type MessageHeader,
  OFP_DEFAULT_MISS_SEND_LEN,
  OFP10_VERSION,
  OFP13_VERSION,
  type OpenFlowMessage,
  type WireError,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { AnswerQueue } from "./answer-queue.js";
import { CONTROLLER_MASKS, SILENT_MASKS, wantsMisses } from "./async-config.js";
import { ChangeQueue } from "./change-queue.js";
import { EventSender } from "./event-sender.js";
import { REQUESTS_OUTSTANDING_MAX, SEND_QUEUE_BYTES_MAX } from "./limits.js";
import { MessageSender } from "./message-sender.js";
import { MonitorChannel } from "./monitor-channel.js";
import { RequestDispatcher } from "./request-dispatcher.js";
import type { ConnectionState } from "./requests.js";
import { demotion } from "./role-status.js";
import type { Roles } from "./roles.js";
import type { SwitchEvent, SwitchModel } from "./switch-model.js";
import type { Watches } from "./watches.js";

export interface ConnectionOptions {
  /** For logs: the target, or "management". */
  readonly name: string;
  /** A controller takes part in roles and gets unasked messages; management (ovs-ofctl) only when it asks. */
  readonly kind: "controller" | "management";
  readonly probeIntervalMs: number;
  readonly onEstablished?: () => void;
  /** Hears of every whole message in either direction, once versions are agreed. It is not changed later. */
  readonly onExchanged?: (message: Uint8Array) => void;
  /** Called once; the socket is destroyed by then. */
  readonly onClosed: (reason: string) => void;
}

export interface ConnectionModules {
  readonly model: SwitchModel;
  readonly roles: Roles;
  readonly watches: Watches;
  /** OpenFlow versions that are spoken. */
  readonly versions: () => readonly Dialect["version"][];
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long a peer may take to read what was written before the close. */
const LINGER_MS = 1_000;

export class Connection implements ConnectionState {
  role: ConnectionState["role"] = "equal";
  missSendLength: number;
  masks: ConnectionState["masks"];
  packetInFormat: ConnectionState["packetInFormat"] = "standard";
  flowFormat: ConnectionState["flowFormat"] = "openflow10";
  controllerId = 0;

  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #modules: ConnectionModules;
  readonly #session: ChannelSession;
  readonly #sender: MessageSender;
  readonly #answers: AnswerQueue;
  readonly #changes: ChangeQueue;
  readonly #monitors: MonitorChannel;
  readonly #dispatcher: RequestDispatcher;
  readonly #events: EventSender;
  /** What was read and is not yet carried out: at most what one read brought. */
  #inbox: ChannelOutput[] = [];
  #timer: Timer | undefined;
  #watchesMisses = false;
  #isClosed = false;

  /** Takes over `socket`, which is connected. */
  constructor(socket: Socket, options: ConnectionOptions, modules: ConnectionModules) {
    this.#socket = socket;
    this.#options = options;
    this.#modules = modules;
    const isController = options.kind === "controller";
    this.missSendLength = isController ? OFP_DEFAULT_MISS_SEND_LEN : 0;
    this.masks = isController ? CONTROLLER_MASKS : SILENT_MASKS;
    const { onExchanged } = options;
    this.#session = new ChannelSession({
      probeIntervalMs: options.probeIntervalMs,
      answerMalformed: false,
      // Node gives each read memory of its own.
      isInputStable: true,
      leavesFlowMods: true,
      versions: modules.versions(),
      ...(onExchanged === undefined ? {} : { onReceived: onExchanged }),
    });
    const { model, roles, watches, clock, log } = modules;
    const origin = watches.nextOrigin();
    const close = (reason: string): void => this.close(reason);
    const onWritten = (message: Uint8Array): void => {
      if (this.isEstablished) onExchanged?.(message);
    };
    const sender = new MessageSender(socket, () => this.#session.dialect, onWritten);
    const answers = new AnswerQueue({
      sender,
      onFailed: (error) => this.close(`the switch does not answer: ${error.message}`),
      onProgress: () => this.#work(),
    });
    const changes = new ChangeQueue({ model, origin, answers, sender, clock, log, connection: options.name });
    const monitors = new MonitorChannel({
      model,
      origin,
      send: (message) => sender.send(message, 0),
      bytesWaiting: () => sender.bytesWaiting,
      close,
      onWatch: (isWatching) => watches.change("flows", isWatching),
    });
    this.#sender = sender;
    this.#answers = answers;
    this.#changes = changes;
    this.#monitors = monitors;
    this.#dispatcher = new RequestDispatcher({ model, roles, state: this, answers, changes, monitors });
    this.#events = new EventSender(this, sender, close);
    if (isController) roles.join(this);
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    socket.on("drain", () => {
      this.#monitors.onDrain();
      this.#work();
    });
    socket.on("error", (error) => this.close(systemReason(error)));
    socket.on("close", () => this.close("End of file"));
    this.#perform(this.#session.start(clock.nowMs()));
    this.#arm();
  }

  get version(): Dialect["version"] {
    return this.#session.dialect.version;
  }

  get isEstablished(): boolean {
    return this.#session.isEstablished;
  }

  /** Closes at once; what was written before is still sent. */
  close(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#sender.close();
    this.#changes.close();
    this.#monitors.close();
    this.#modules.roles.leave(this);
    this.#watchMisses(false);
    this.#socket.destroySoon();
    this.#modules.clock.after(LINGER_MS, () => this.#socket.destroy());
    this.#options.onClosed(reason);
  }

  /** The controller is silent, and has been asked whether it is there. */
  get isProbing(): boolean {
    return this.#session.isProbing;
  }

  onDemoted(): void {
    if (this.isEstablished && this.version === OFP13_VERSION)
      this.#sender.send(demotion(this.#modules.roles.generationId), 0);
  }

  /** Sends the event if this connection wants it. */
  offer(event: SwitchEvent): void {
    if (this.#isClosed) return;
    if (event.type === "flow_change") this.#monitors.offer(event);
    else if (this.isEstablished) this.#events.offer(event);
  }

  // --- Bytes in

  #onData(bytes: Buffer): void {
    if (this.#isClosed) return;
    this.#perform(this.#session.receive(bytes, this.#modules.clock.nowMs()));
  }

  /** Whether the peer is to wait: for answers, or until it has read them. A long answer is never made beside another. */
  #isBusy(): boolean {
    return (
      this.#answers.outstanding > REQUESTS_OUTSTANDING_MAX ||
      this.#sender.bytesWaiting > SEND_QUEUE_BYTES_MAX ||
      this.#answers.hasLong
    );
  }

  #perform(outputs: readonly ChannelOutput[]): void {
    this.#inbox.push(...outputs);
    this.#work();
  }

  /** Goes on with what came in while that is bearable; what is left waits, and no more is read. */
  #work(): void {
    let done = 0;
    while (done < this.#inbox.length && !this.#isClosed && !this.#isBusy()) {
      this.#performOne(this.#inbox[done] as ChannelOutput);
      done++;
    }
    this.#inbox.splice(0, done);
    if (!this.#isClosed) this.#watchMisses(this.isEstablished && wantsMisses(this.masks, this.version));
    this.#changes.flush();
    if (this.#isClosed) return;
    if (this.#inbox.length > 0 || this.#isBusy()) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Asked anew whenever something was read: what is wanted may have changed. */
  #watchMisses(isWatching: boolean): void {
    if (isWatching === this.#watchesMisses) return;
    this.#watchesMisses = isWatching;
    this.#modules.watches.change("misses", isWatching);
  }

  #performOne(output: ChannelOutput): void {
    switch (output.type) {
      case "send":
        this.#sender.write(output.bytes);
        break;
      case "established":
        // Until now it was the hello that was waited for.
        this.#timer?.cancel();
        this.#arm();
        this.#options.onEstablished?.();
        break;
      case "message":
        this.#onMessage(output.message, output.request);
        break;
      case "unread_flow_mod":
        this.#dispatcher.dispatchFlowMod(output.header.xid, this.#session.dialect, output.request);
        break;
      case "malformed":
        this.#onMalformed(output.error, output.header, output.request);
        break;
      case "close":
        this.close(output.reason);
    }
  }

  #onMessage(message: OpenFlowMessage, request: Uint8Array): void {
    // A management connection that sets a length wants to monitor: from then on it gets what controllers get.
    const isMonitor = message.type === "set_config" && message.missSendLength > 0;
    if (isMonitor && this.#options.kind === "management" && this.masks === SILENT_MASKS)
      this.masks = CONTROLLER_MASKS;
    this.#dispatcher.dispatch(message, request);
  }

  /** Its error takes its place among the answers. */
  #onMalformed(error: WireError, header: MessageHeader, request: Uint8Array): void {
    this.#modules.log.warn({ connection: this.#options.name, type: header.typeCode }, error.message);
    // A slave may change nothing, whatever is wrong with how it asks (6.3.5).
    const refusal = this.role === "slave" && isForMasters(header) ? "OFPBRC_IS_SLAVE" : error.error;
    const code = isForControllers(header) ? "OFPBRC_BAD_TYPE" : refusal;
    this.#changes.refuse(code, header.xid, request);
  }

  // --- Time

  #arm(): void {
    const deadlineMs = this.#session.nextDeadlineMs();
    if (deadlineMs === undefined && this.isEstablished) return;
    const { clock } = this.#modules;
    const delayMs = Math.max(1, (deadlineMs ?? clock.nowMs() + 1000) - clock.nowMs());
    this.#timer = clock.after(delayMs, () => {
      if (this.#isClosed) return;
      // Not behind what waits: a peer that is silent for too long is left, whatever it sent before.
      for (const output of this.#session.tick(clock.nowMs())) this.#performOne(output);
      if (!this.#isClosed) this.#arm();
    });
  }
}

/** Messages that only a switch sends, of which it does not matter what is wrong with them. */
const FOR_CONTROLLERS: Readonly<Record<number, readonly number[]>> = {
  [OFP10_VERSION]: [6, 8, 10, 11, 12, 17, 19, 21],
  [OFP13_VERSION]: [6, 8, 10, 11, 12, 19, 21, 23, 25, 27],
};

function isForControllers({ version, typeCode }: MessageHeader): boolean {
  return FOR_CONTROLLERS[version]?.includes(typeCode) === true;
}

/** Packet-out, changes of flows, groups, ports, tables and meters. */
const FOR_MASTERS: Readonly<Record<number, readonly number[]>> = {
  [OFP10_VERSION]: [13, 14, 15],
  [OFP13_VERSION]: [13, 14, 15, 16, 17, 29],
};

function isForMasters({ version, typeCode }: MessageHeader): boolean {
  return FOR_MASTERS[version]?.includes(typeCode) === true;
}
