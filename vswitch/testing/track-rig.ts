// A bridge that tracks every packet and tells what tracking found: port 1 commits what is new, the others do not.
import { CT_STATE_NEW, type CtAction, type Match } from "../../base/openflow/index.js";
import { udpFrame } from "./frames.js";
import { apply, field, match, Rig } from "./rig.js";

export const trackAction = (more: Partial<CtAction>): CtAction => ({
  type: "ct",
  commit: false,
  force: false,
  zone: 5,
  alg: 0,
  actions: [],
  ...more,
});

const TELL = { type: "controller", maxLength: 0xffff, controllerId: 0, reason: "action" } as const;
/** Longer than any grace after a start. */
const LATER_MS = 1_000_000;

export class TrackRig extends Rig {
  /** `track` and `commit` are what the two ct() say beside zone 5. */
  constructor(track: Partial<CtAction> = {}, commit: Partial<CtAction> = {}) {
    super(2);
    for (const etherType of [0x0800, 0x86dd]) {
      const ip = field("eth_type", etherType);
      this.flow({ match: match(ip), instructions: [apply(trackAction({ tableId: 1, ...track }))] });
      this.flow({
        tableId: 1,
        priority: 200,
        match: match(ip, field("in_port", 1), field("ct_state", CT_STATE_NEW, CT_STATE_NEW)),
        instructions: [apply(TELL, trackAction({ commit: true, ...commit }))],
      });
    }
    this.flow({ tableId: 1, instructions: [apply(TELL)] });
    this.send(2, udpFrame({ source: "192.0.2.99", destination: "192.0.2.98" }));
    this.nowMs += LATER_MS;
  }

  /** What tracking tells of the packet: the packet-in's match. Throws when there is not exactly one. */
  found(port: number, frame: Uint8Array): Match {
    this.events = [];
    this.send(port, frame);
    const told = this.events.filter((event) => event.type === "packet_in");
    const [event] = told;
    if (told.length !== 1 || event?.type !== "packet_in") throw new Error(`${told.length} packet-ins`);
    return event.match;
  }

  /** The ct_state of the packet. */
  state(port: number, frame: Uint8Array): number {
    return Number(this.value(this.found(port, frame), "ct_state"));
  }

  /** A field of a match as a number, 0 when it is not there. */
  value(found: Match, name: string): bigint {
    const entry = found.find((one) => one.field === name);
    return (entry?.value ?? new Uint8Array(0)).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  }
}
