// A switch in simulated time that fails as told: it reboots in the middle of a bundle, stalls, refuses, and talks nonsense.
// It speaks OpenFlow in bytes with the controller, and has no socket.
import {
  type BundleControl,
  encodeMessage,
  type FlowMod,
  type FlowStats,
  ONF_ERRORS,
  ONF_EXPERIMENTER,
  type OpenFlowMessage,
  parseMessage,
} from "../../base/openflow/index.js";
import type { Clock } from "../../base/time/index.js";
import { SwitchLink } from "../../sdn-controller/channel/switch-link.js";
import type { SdnController } from "../../sdn-controller/index.js";
import { flowKey } from "../../sdn-controller/pipeline/flow.js";

const REPLY_MS = 1;

export class FaultySwitch {
  readonly flows = new Map<string, FlowStats>();
  /** Bundles that were committed. */
  commits = 0;
  /** So many flow-mods are answered with an error. */
  refuseNext = 0;
  /** It reboots with this many more messages of bundles. */
  rebootAfterAdds = Number.POSITIVE_INFINITY;
  readonly #controller: SdnController;
  readonly #clock: Clock;
  readonly #bundles = new Map<number, FlowMod[]>();
  #link: SwitchLink | undefined;
  #lastXid = 0;
  /** What came while it stalls. */
  #unread: OpenFlowMessage[] | undefined;

  constructor(controller: SdnController, clock: Clock) {
    this.#controller = controller;
    this.#clock = clock;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  connect(): void {
    if (this.#link !== undefined) return;
    const link: SwitchLink = new SwitchLink(
      {
        datapathId: 7n,
        write: (message) => this.#take(link, parseMessage(encodeMessage(message))),
        events: this.#controller.switchEvents(),
      },
      { clock: this.#clock },
    );
    this.#link = link;
    this.#controller.connectSwitch(link);
  }

  /** The channel breaks; the flows stay. */
  disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#bundles.clear();
    this.#unread = undefined;
    if (link === undefined) return;
    link.close();
    this.#controller.disconnectSwitch(link);
  }

  /** The flows are gone, too. */
  reboot(): void {
    this.rebootAfterAdds = Number.POSITIVE_INFINITY;
    this.disconnect();
    this.flows.clear();
  }

  stall(): void {
    this.#unread ??= [];
  }

  /** Does what it was told meanwhile, late. */
  goOn(): void {
    const unread = this.#unread ?? [];
    this.#unread = undefined;
    for (const message of unread) this.#handle(message);
  }

  /** Says something that nobody asked for, or, with `answers`, as the answer to the latest request. */
  say(message: OpenFlowMessage, answers: boolean): void {
    const said = answers ? { ...message, xid: this.#lastXid } : message;
    this.#link?.receive(parseMessage(encodeMessage(said)));
  }

  #take(link: SwitchLink, message: OpenFlowMessage): void {
    if (link !== this.#link) return;
    if (this.#unread !== undefined) this.#unread.push(message);
    else this.#handle(message);
  }

  #handle(message: OpenFlowMessage): void {
    const { xid } = message;
    this.#lastXid = xid;
    switch (message.type) {
      case "barrier_request":
        this.#reply({ type: "barrier_reply", xid });
        break;
      case "multipart_request":
        this.#reply({
          type: "multipart_reply",
          xid,
          flags: 0,
          body: { kind: "flow", flows: [...this.flows.values()] },
        });
        break;
      case "flow_mod":
        if (!this.#refuses(message)) this.#apply(message);
        break;
      case "bundle_control":
        this.#control(message);
        break;
      case "bundle_add":
        this.#bundles.get(message.bundleId)?.push(parseMessage(message.message) as FlowMod);
        if (--this.rebootAfterAdds <= 0) this.reboot();
        break;
      default:
    }
  }

  #control({ xid, bundleId, flags, control }: BundleControl): void {
    if (control === "open_request") {
      this.#bundles.set(bundleId, []);
      this.#reply({ type: "bundle_control", xid, bundleId, control: "open_reply", flags });
      return;
    }
    const messages = this.#bundles.get(bundleId) ?? [];
    this.#bundles.delete(bundleId);
    if (messages.some((message) => this.#refuses(message))) {
      const failed = { experimenter: ONF_EXPERIMENTER, expType: ONF_ERRORS.OFPBFC_MSG_FAILED };
      this.#reply({ type: "experimenter_error", xid, ...failed, data: new Uint8Array(64) });
      return;
    }
    for (const message of messages) this.#apply(message);
    this.commits++;
    this.#reply({ type: "bundle_control", xid, bundleId, control: "commit_reply", flags });
  }

  #refuses({ xid }: FlowMod): boolean {
    if (this.refuseNext <= 0) return false;
    this.refuseNext--;
    this.#reply({ type: "error", xid, errorType: 5, code: 1, data: new Uint8Array(64) });
    return true;
  }

  #apply({ command, tableId, priority, match, instructions, cookie, flags }: FlowMod): void {
    const key = flowKey(tableId, priority, match);
    if (command === "delete_strict") this.flows.delete(key);
    else
      this.flows.set(key, {
        tableId,
        priority,
        match,
        instructions,
        cookie,
        flags,
        durationSeconds: 0,
        durationNanoseconds: 0,
        idleTimeoutSeconds: 0,
        hardTimeoutSeconds: 0,
        packetCount: 0n,
        byteCount: 0n,
      });
  }

  #reply(message: OpenFlowMessage): void {
    const link = this.#link;
    const bytes = encodeMessage(message);
    this.#clock.after(REPLY_MS, () => {
      if (link !== undefined && link === this.#link) link.receive(parseMessage(bytes));
    });
  }
}
