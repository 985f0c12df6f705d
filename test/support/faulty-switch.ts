// A switch in simulated time that fails as told: it reboots in the middle of a bundle, stalls, refuses, and talks nonsense.
// It speaks OpenFlow in bytes with the controller, and has no socket.
import {
  type BundleControl,
  encodeMessage,
  type FlowMod,
  type FlowStats,
  OFPMPF_REPLY_MORE,
  ONF_ERRORS,
  ONF_EXPERIMENTER,
  type OpenFlowMessage,
  parseMessage,
} from "../../base/openflow/index.js";
import type { Clock } from "../../base/time/index.js";
import { SwitchLink } from "../../sdn-controller/channel/switch-link.js";
import type { SdnController } from "../../sdn-controller/index.js";
import { flowKey } from "../../sdn-controller/pipeline/flow.js";
import type { RoleHolder, Roles } from "../../vswitch/agent/roles.js";

const REPLY_MS = 1;
/** A message has at most 64 KiB. */
const FLOWS_PER_REPLY = 200;
const BAD_REQUEST = 1;
const ROLE_REQUEST_FAILED = 11;

const CHANGES: ReadonlySet<string> = new Set(["flow_mod", "bundle_control", "bundle_add", "packet_out"]);

/** What the channels of one switch have in common. */
export interface SwitchState {
  readonly flows: Map<string, FlowStats>;
  /** Without them it knows no roles. */
  roles?: Roles;
}

export class FaultySwitch implements RoleHolder {
  readonly flows: Map<string, FlowStats>;
  role: RoleHolder["role"] = "equal";
  /** Changes that were refused to a slave. */
  refusedToSlave = 0;
  /** Bundles that were committed. */
  commits = 0;
  /** So many flow-mods are answered with an error. */
  refuseNext = 0;
  /** So many flow-mods are acknowledged and not made. */
  ignoreNext = 0;
  /** Every so many-th flow is left out of what it reports; 0 = none. */
  hidesEvery = 0;
  /** It reboots with this many more messages of bundles. */
  rebootAfterAdds = Number.POSITIVE_INFINITY;
  readonly #controller: SdnController;
  readonly #clock: Clock;
  readonly #state: SwitchState;
  readonly #bundles = new Map<number, FlowMod[]>();
  #link: SwitchLink | undefined;
  #lastXid = 0;
  /** What came while it stalls. */
  #unread: OpenFlowMessage[] | undefined;

  /** One channel of a switch; several with one state are the channels of one switch. */
  constructor(controller: SdnController, clock: Clock, state: SwitchState = { flows: new Map() }) {
    this.#controller = controller;
    this.#clock = clock;
    this.flows = state.flows;
    this.#state = state;
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  connect(): void {
    if (this.#link !== undefined) return;
    const link: SwitchLink = new SwitchLink(
      {
        datapathId: 7n,
        write: (message, xid) =>
          this.#take(link, parseMessage(encodeMessage({ ...message, xid } as OpenFlowMessage))),
        events: this.#controller.switchEvents(),
      },
      { clock: this.#clock },
    );
    this.#link = link;
    this.role = "equal";
    this.#state.roles?.join(this);
    this.#controller.connectSwitch(link);
  }

  /** The channel breaks; the flows stay. */
  disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#bundles.clear();
    this.#unread = undefined;
    this.#state.roles?.leave(this);
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
    if (this.role === "slave" && CHANGES.has(message.type)) {
      this.refusedToSlave++;
      this.#refuse(xid, BAD_REQUEST, 10);
      return;
    }
    switch (message.type) {
      case "role_request": {
        const { roles } = this.#state;
        if (roles === undefined) this.#refuse(xid, BAD_REQUEST, 1);
        else if (!roles.request(this, message.role, message.generationId))
          this.#refuse(xid, ROLE_REQUEST_FAILED, 0);
        else this.#reply({ type: "role_reply", xid, role: this.role, generationId: roles.generationId });
        break;
      }
      case "barrier_request":
        this.#reply({ type: "barrier_reply", xid });
        break;
      case "multipart_request": {
        const flows = this.#reported().filter(inSliceOf(message.body));
        if (message.body.kind === "aggregate") {
          const counts = { packetCount: 0n, byteCount: 0n, flowCount: flows.length };
          this.#reply({ type: "multipart_reply", xid, flags: 0, body: { kind: "aggregate", ...counts } });
          break;
        }
        let start = 0;
        do {
          const part = flows.slice(start, start + FLOWS_PER_REPLY);
          start += FLOWS_PER_REPLY;
          const more = start < flows.length ? OFPMPF_REPLY_MORE : 0;
          this.#reply({ type: "multipart_reply", xid, flags: more, body: { kind: "flow", flows: part } });
        } while (start < flows.length);
        break;
      }
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
    this.#refuse(xid, 5, 1);
    return true;
  }

  #refuse(xid: number, errorType: number, code: number): void {
    this.#reply({ type: "error", xid, errorType, code, data: new Uint8Array(64) });
  }

  #reported(): FlowStats[] {
    const all = [...this.flows.values()];
    return this.hidesEvery === 0 ? all : all.filter((_, i) => i % this.hidesEvery !== 0);
  }

  #apply({ command, tableId, priority, match, instructions, cookie, flags }: FlowMod): void {
    if (this.ignoreNext > 0) {
      this.ignoreNext--;
      return;
    }
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

/** Whether a flow is among those that a request asks for. */
function inSliceOf(body: Extract<OpenFlowMessage, { type: "multipart_request" }>["body"]) {
  const { cookie, cookieMask } =
    body.kind === "flow" || body.kind === "aggregate" ? body : { cookie: 0n, cookieMask: 0n };
  return (flow: FlowStats): boolean => (flow.cookie & cookieMask) === (cookie & cookieMask);
}
