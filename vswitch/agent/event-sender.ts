// Tells one connection of what happens in the switch, if it wants to hear of it and takes it.
// Source: OpenFlow Switch Specification 1.3.5, 7.4. Thread: main.

import { OFP10_VERSION } from "../../base/openflow/index.js";
import { wants } from "./async-config.js";
import { PACKET_IN_QUEUE_BYTES_MAX, UNREAD_BYTES_MAX } from "./limits.js";
import type { MessageSender } from "./message-sender.js";
import type { ConnectionState } from "./requests.js";
import type { FlowChangeEvent, SwitchEvent } from "./switch-model.js";

export class EventSender {
  /** Packet-ins that the peer was too slow to take. */
  droppedPacketIns = 0;
  readonly #state: ConnectionState;
  readonly #sender: MessageSender;
  readonly #close: (reason: string) => void;

  constructor(state: ConnectionState, sender: MessageSender, close: (reason: string) => void) {
    this.#state = state;
    this.#sender = sender;
    this.#close = close;
  }

  /** A packet-in to a slow peer is dropped and counted; who takes nothing at all is hung up on. */
  offer(happened: Exclude<SwitchEvent, FlowChangeEvent>): void {
    const state = this.#state;
    const event = asVersion(happened, state.version);
    if (event === undefined || !wants(state.masks, state.role, event, state.version)) return;
    if (this.#sender.bytesWaiting > UNREAD_BYTES_MAX) {
      this.#close("it does not read what it asked to be told");
      return;
    }
    if (event.type === "packet_in") {
      this.#packetIn(event);
      return;
    }
    const isNxm =
      event.type === "flow_removed" && state.version === OFP10_VERSION && state.flowFormat === "nxm";
    this.#sender.send(isNxm ? { ...event, encoding: "nxm" } : event, 0);
  }

  #packetIn(event: SwitchEvent & { type: "packet_in" }): void {
    const { controllerId, packetInFormat } = this.#state;
    if (event.controllerId !== controllerId) return;
    if (this.#sender.bytesWaiting > PACKET_IN_QUEUE_BYTES_MAX) {
      this.droppedPacketIns++;
      return;
    }
    const { maxLength: _maxLength, controllerId: _controllerId, miss: _miss, ...message } = event;
    this.#sender.send(packetInFormat === "standard" ? message : { ...message, encoding: packetInFormat }, 0);
  }
}

/** OpenFlow 1.0 knows no table-miss flow, and is told of packets that no flow matches; 1.3 is not. */
function asVersion<Event extends SwitchEvent>(event: Event, version: number): Event | undefined {
  if (event.type !== "packet_in" || event.miss === undefined) return event;
  if (version !== OFP10_VERSION) return event.miss === "flow" ? event : undefined;
  return event.miss === "flow" ? { ...event, reason: "action" } : event;
}
