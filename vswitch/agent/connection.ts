// One OpenFlow connection of the agent: a socket, its session, its role and filters, and its requests in order.
// Invariant: answers leave in the order of their requests, so a barrier reply follows everything asked before it;
// changes of one read are handed to the switch as one batch, before any later request. Thread: main.

import type { Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import {
  type BundleAdd,
  type BundleControl,
  type ChannelOutput,
  ChannelSession,
  type Dialect,
  encodeError,
  encodeMessage,
  isErrorName,
  type MessageHeader,
  OFP_DEFAULT_MISS_SEND_LEN,
  OFP10_VERSION,
  OFPMPF_REPLY_MORE,
  OFPPC_NO_FLOOD,
  type OfpErrorName,
  type OpenFlowMessage,
  splitMultipartBody,
  type Unsent,
  type WireError,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { CONTROLLER_MASKS, SILENT_MASKS, wants } from "./async-config.js";
import { Bundles, type PendingChange } from "./bundles.js";
import type { FlowWatch } from "./flow-watch.js";
import {
  BUNDLE_IDLE_MS,
  PACKET_IN_QUEUE_BYTES_MAX,
  REQUESTS_OUTSTANDING_MAX,
  SEND_QUEUE_BYTES_MAX,
  UNREAD_BYTES_MAX,
} from "./limits.js";
import { MonitorChannel } from "./monitor-channel.js";
import { type Answer, answer, type ConnectionState, isChange } from "./requests.js";
import type { Roles } from "./roles.js";
import type { SwitchEvent, SwitchModel } from "./switch-model.js";

export interface ConnectionOptions {
  /** For logs: the target, or "management". */
  readonly name: string;
  /** A controller takes part in roles and gets unasked messages; management (ovs-ofctl) only when it asks. */
  readonly kind: "controller" | "management";
  readonly probeIntervalMs: number;
  readonly onEstablished?: () => void;
  /** Called once; the socket is destroyed by then. */
  readonly onClosed: (reason: string) => void;
}

export interface ConnectionModules {
  readonly model: SwitchModel;
  readonly roles: Roles;
  readonly flowWatch: FlowWatch;
  /** OpenFlow versions that are spoken. */
  readonly versions: () => readonly Dialect["version"][];
  readonly clock: Clock;
  readonly log: Logger;
}

/** Of one message. */
const MESSAGE_SIZE_MAX = 0xffff;
/** How long a peer may take to read what was written before the close. */
const LINGER_MS = 1_000;

export class Connection implements ConnectionState {
  role: ConnectionState["role"] = "equal";
  missSendLength: number;
  masks: ConnectionState["masks"];
  packetInFormat: ConnectionState["packetInFormat"] = "standard";
  flowFormat: ConnectionState["flowFormat"] = "openflow10";
  controllerId = 0;
  /** Packet-ins that the peer was too slow to take. */
  droppedPacketIns = 0;

  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #modules: ConnectionModules;
  readonly #session: ChannelSession;
  readonly #bundles = new Bundles();
  readonly #monitors: MonitorChannel;
  readonly #origin: number;
  #bundleTimer: Timer | undefined;
  #batch: PendingChange[] = [];
  #answers: Promise<void> = Promise.resolve();
  #outstanding = 0;
  /** Requests in hand whose answers may be long. */
  #longAnswers = 0;
  /** What was read and is not yet carried out: at most what one read brought. */
  #inbox: ChannelOutput[] = [];
  #timer: Timer | undefined;
  #isClosed = false;

  /** Takes over `socket`, which is connected. */
  constructor(socket: Socket, options: ConnectionOptions, modules: ConnectionModules) {
    this.#socket = socket;
    this.#options = options;
    this.#modules = modules;
    this.#origin = modules.flowWatch.nextOrigin();
    this.#monitors = new MonitorChannel({
      model: modules.model,
      origin: this.#origin,
      send: (message) => this.#send(withXid(message, 0)),
      bytesWaiting: () => socket.writableLength,
      close: (reason) => this.close(reason),
      onWatch: (isWatching) => modules.flowWatch.change(isWatching),
    });
    const isController = options.kind === "controller";
    this.missSendLength = isController ? OFP_DEFAULT_MISS_SEND_LEN : 0;
    this.masks = isController ? CONTROLLER_MASKS : SILENT_MASKS;
    this.#session = new ChannelSession({
      probeIntervalMs: options.probeIntervalMs,
      answerMalformed: false,
      versions: modules.versions(),
    });
    if (isController) modules.roles.join(this);
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    socket.on("drain", () => {
      this.#monitors.onDrain();
      this.#work();
    });
    socket.on("error", (error) => this.close(error.message));
    socket.on("close", () => this.close("the peer closed the connection"));
    this.#perform(this.#session.start(modules.clock.nowMs()));
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
    this.#bundleTimer?.cancel();
    this.#monitors.close();
    this.#modules.roles.leave(this);
    this.#socket.destroySoon();
    this.#modules.clock.after(LINGER_MS, () => this.#socket.destroy());
    this.#options.onClosed(reason);
  }

  /** Sends the event if this connection wants it. A packet-in to a slow peer is dropped and counted. */
  offer(event: SwitchEvent): void {
    if (event.type === "flow_change") {
      if (!this.#isClosed) this.#monitors.offer(event);
      return;
    }
    if (!this.isEstablished || this.#isClosed || !wants(this.masks, this.role, event)) return;
    if (this.#socket.writableLength > UNREAD_BYTES_MAX) {
      this.close("it does not read what it asked to be told");
      return;
    }
    if (event.type === "flow_removed") {
      const isNxm = this.version === OFP10_VERSION && this.flowFormat === "nxm";
      this.#send({ ...event, ...(isNxm ? { encoding: "nxm" as const } : {}), xid: 0 });
      return;
    }
    if (event.type !== "packet_in") {
      this.#send({ ...event, xid: 0 });
      return;
    }
    if (event.controllerId !== this.controllerId) return;
    if (this.#socket.writableLength > PACKET_IN_QUEUE_BYTES_MAX) {
      this.droppedPacketIns++;
      return;
    }
    const { maxLength: _maxLength, controllerId: _controllerId, ...message } = event;
    const { packetInFormat } = this;
    if (packetInFormat === "standard") this.#send({ ...message, xid: 0 });
    else this.#send({ ...message, encoding: packetInFormat, xid: 0 });
  }

  // --- Bytes in

  #onData(bytes: Buffer): void {
    if (this.#isClosed) return;
    this.#perform(this.#session.receive(bytes, this.#modules.clock.nowMs()));
  }

  /** Whether the peer is to wait: for answers, or until it has read them. A long answer is never made beside another. */
  #isBusy(): boolean {
    return (
      this.#outstanding > REQUESTS_OUTSTANDING_MAX ||
      this.#socket.writableLength > SEND_QUEUE_BYTES_MAX ||
      this.#longAnswers > 0
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
    this.#flushChanges();
    if (this.#isClosed) return;
    if (this.#inbox.length > 0 || this.#isBusy()) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  #performOne(output: ChannelOutput): void {
    switch (output.type) {
      case "send":
        this.#write(output.bytes);
        break;
      case "established":
        this.#options.onEstablished?.();
        break;
      case "message":
        this.#onMessage(output.message, output.request);
        break;
      case "malformed":
        this.#onMalformed(output.error, output.header, output.request);
        break;
      case "close":
        this.close(output.reason);
    }
  }

  #onMessage(message: OpenFlowMessage, request: Uint8Array): void {
    if (
      message.type === "port_mod" &&
      this.version !== OFP10_VERSION &&
      (message.mask & OFPPC_NO_FLOOD) !== 0
    ) {
      this.#flushChanges();
      this.#enqueue(Promise.resolve("OFPPMFC_BAD_CONFIG"), message.xid, request);
      return;
    }
    if (isChange(message)) {
      if (this.role === "slave") this.#enqueue(Promise.resolve("OFPBRC_IS_SLAVE"), message.xid, request);
      else this.#batch.push({ change: message, request });
      return;
    }
    if (message.type === "bundle_add") {
      this.#onBundleAdd(message, request);
      return;
    }
    this.#flushChanges();
    if (message.type === "bundle_control") {
      this.#onBundleControl(message, request);
      return;
    }
    if (message.type === "flow_monitor_cancel") {
      this.#enqueue(Promise.resolve(this.#monitors.cancel(message.monitorId)), message.xid, request);
      return;
    }
    if (message.type === "multipart_request" && message.body.kind === "flow_monitor") {
      const pending = this.#monitors.request(message.body.monitors).catch(refusalOf);
      this.#longAnswers++;
      this.#enqueue(pending, message.xid, request, () => {
        this.#longAnswers--;
        this.#monitors.begin();
      });
      return;
    }
    if (message.type === "set_config") this.#onSetConfig(message.missSendLength);
    const { model, roles } = this.#modules;
    const isLong = message.type === "multipart_request";
    if (isLong) this.#longAnswers++;
    this.#enqueue(answer(model, roles, this, message).catch(refusalOf), message.xid, request, () => {
      if (isLong) this.#longAnswers--;
    });
  }

  /** A management connection that sets a length wants to monitor: from then on it gets what controllers get. */
  #onSetConfig(missSendLength: number): void {
    if (this.#options.kind === "management" && this.masks === SILENT_MASKS && missSendLength > 0) {
      this.masks = CONTROLLER_MASKS;
    }
  }

  /** Its error takes its place among the answers. */
  #onMalformed(error: WireError, header: MessageHeader, request: Uint8Array): void {
    this.#modules.log.warn({ connection: this.#options.name, type: header.typeCode }, error.message);
    this.#flushChanges();
    this.#enqueue(Promise.resolve(error.error), header.xid, request);
  }

  #flushChanges(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    const done = this.#modules.model.change(
      batch.map(({ change }) => change),
      this.#origin,
    );
    this.#afterOthers(
      batch.length,
      async () => {
        const results = await done;
        for (const [i, refusal] of results.entries()) {
          const entry = batch[i];
          if (refusal === undefined || entry === undefined) continue;
          this.#modules.log.debug({ connection: this.#options.name, error: refusal.error }, refusal.message);
          this.#write(this.#encodeError(refusal.error, entry.change.xid, entry.request));
        }
      },
      done,
    );
  }

  // --- Bundles

  /** Only an error is answered: behind the answers to what came before. */
  #onBundleAdd(message: BundleAdd, request: Uint8Array): void {
    const error =
      this.role === "slave"
        ? "OFPBRC_IS_SLAVE"
        : this.#bundles.add(message, request, this.#modules.clock.nowMs());
    this.#armBundles();
    if (error === undefined) return;
    this.#flushChanges();
    this.#enqueue(Promise.resolve(error), message.xid, request);
  }

  #onBundleControl(message: BundleControl, request: Uint8Array): void {
    const outcome =
      this.role === "slave"
        ? { error: "OFPBRC_IS_SLAVE" as const }
        : this.#bundles.control(message, request, this.#modules.clock.nowMs());
    this.#armBundles();
    if ("error" in outcome) {
      this.#enqueue(Promise.resolve(outcome.error), message.xid, request);
      return;
    }
    const { bundleId, flags, xid } = message;
    const reply: OpenFlowMessage = { type: "bundle_control", xid, bundleId, control: outcome.reply, flags };
    if (outcome.changes === undefined) this.#enqueue(Promise.resolve([reply]), xid, request);
    else this.#commit(outcome.changes, reply, request);
  }

  /** The refused message's own error comes first, then the commit's. */
  #commit(changes: readonly PendingChange[], reply: OpenFlowMessage, request: Uint8Array): void {
    const done = this.#modules.model.changeAtomically(
      changes.map(({ change }) => change),
      this.#origin,
    );
    this.#afterOthers(
      1,
      async () => {
        const refusal = await done;
        if (refusal === undefined) {
          this.#send(reply);
          return;
        }
        this.#modules.log.debug({ connection: this.#options.name, error: refusal.error }, refusal.message);
        const failed = changes[refusal.index];
        if (failed !== undefined)
          this.#write(this.#encodeError(refusal.error, failed.change.xid, failed.request));
        this.#write(this.#encodeError("OFPBFC_MSG_FAILED", reply.xid, request));
      },
      done,
    );
  }

  #armBundles(): void {
    if (this.#bundleTimer !== undefined || this.#bundles.count === 0) return;
    this.#bundleTimer = this.#modules.clock.after(BUNDLE_IDLE_MS, () => {
      this.#bundleTimer = undefined;
      if (this.#isClosed) return;
      for (const { xid, request } of this.#bundles.expire(this.#modules.clock.nowMs())) {
        this.#enqueue(Promise.resolve("OFPBFC_TIMEOUT"), xid, request);
      }
      this.#armBundles();
    });
  }

  // --- Answers out, in order

  /** `then` is called when the answer is written. */
  #enqueue(
    pending: Promise<Answer>,
    xid: number,
    request: Uint8Array,
    then: () => void = () => undefined,
  ): void {
    this.#afterOthers(
      1,
      async () => {
        const result = await pending;
        if (typeof result === "string") this.#write(this.#encodeError(result, xid, request));
        else for (const message of result) this.#sendParts(withXid(message, xid));
        then();
      },
      pending,
    );
  }

  /** Runs `deliver` when all earlier answers have been written. `pending` rejects only when the switch is gone. */
  #afterOthers(requests: number, deliver: () => Promise<void>, pending: Promise<unknown>): void {
    pending.catch(() => {}); // handled in its turn below
    this.#outstanding += requests;
    this.#answers = this.#answers
      .then(deliver)
      .catch((error: Error) => this.close(`the switch does not answer: ${error.message}`))
      .finally(() => {
        this.#outstanding -= requests;
        this.#work();
      });
  }

  /** In several messages when it is a reply too long for one. */
  #sendParts(message: OpenFlowMessage): void {
    if (message.type !== "multipart_reply") {
      this.#send(message);
      return;
    }
    const parts = splitMultipartBody(message.body, MESSAGE_SIZE_MAX, this.version);
    for (const [i, body] of parts.entries()) {
      this.#send({ ...message, flags: i < parts.length - 1 ? OFPMPF_REPLY_MORE : 0, body });
    }
  }

  #send(message: OpenFlowMessage): void {
    this.#write(encodeMessage(message, this.#session.dialect));
  }

  #encodeError(error: OfpErrorName, xid: number, request: Uint8Array): Uint8Array {
    return encodeError(error, xid, request, this.#session.dialect);
  }

  #write(bytes: Uint8Array): void {
    if (!this.#isClosed && this.#socket.writable) this.#socket.write(bytes);
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

/** The OpenFlow error in a rejection; rethrows every other. */
function refusalOf(thrown: unknown): OfpErrorName {
  if (thrown instanceof PlinthError && isErrorName(thrown.code)) return thrown.code;
  throw thrown;
}

function withXid(message: Unsent, xid: number): OpenFlowMessage {
  return { ...message, xid } as OpenFlowMessage;
}
