// What a trace says, as plain data: runs of steps, each with the steps inside it. Posted between threads; printed by
// vswitch/cli. Thread: any.
import type { Action, BitRange, FlowMod, Instruction, Match } from "../../base/openflow/index.js";
import type { DropReason } from "./drop-reasons.js";
import type { PacketView } from "./exact-match.js";
import type { MegaflowView } from "./megaflow.js";

/** One step, with the steps that happened inside it. Plain data: posted between threads. */
export type TraceNode =
  | {
      readonly kind: "table";
      readonly tableId: number;
      readonly flow: TraceFlow | null;
      readonly nodes: TraceNode[];
    }
  | { readonly kind: "bucket"; readonly index: number; readonly nodes: TraceNode[] }
  | { readonly kind: "set"; readonly nodes: TraceNode[] }
  /** Another bridge, behind a patch port. */
  | { readonly kind: "bridge"; readonly name: string; readonly nodes: TraceNode[] }
  | { readonly kind: "thaw"; readonly tableId: number }
  /** `moved`: what the moves inside a ct() have written, by their place. */
  | { readonly kind: "action"; readonly action: Action; readonly moved?: readonly (bigint | undefined)[] }
  | { readonly kind: "instruction"; readonly instruction: Instruction }
  /** What the action set holds now; `was`: before it was cleared. */
  | { readonly kind: "set-is"; readonly actions: readonly Action[]; readonly was: boolean }
  /** What an action has written into a field. */
  | { readonly kind: "assigned"; readonly range: BitRange; readonly value: bigint }
  /** The flow that a learn action has made. */
  | { readonly kind: "learned"; readonly flow: FlowMod }
  /** Something worth knowing, something dubious, or something that ended the packet, in words. */
  | { readonly kind: "detail" | "warning" | "error"; readonly text: string }
  /** A flow without actions, or none at all. */
  | { readonly kind: "nothing" }
  | { readonly kind: "drop"; readonly reason: DropReason };

export interface TraceFlow {
  readonly priority: number;
  readonly cookie: bigint;
  readonly match: Match;
  readonly isEmpty: boolean;
}

/** Addresses, 4 or 16 bytes each, and ports of a packet; for ICMP, its type and code stand for them. */
export interface TraceEnds {
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
}

/** What nat() of a new connection has made of a packet; without ends, when it names no address for it. */
export interface TraceTranslation {
  readonly ends?: { readonly before: TraceEnds; readonly after: TraceEnds };
}

/** From where the packet came in, or went on after connection tracking, to where it ended. */
export interface TraceRun {
  /** The bridge on which the packet came in first. */
  readonly bridge: string;
  /** 0 for the packet as it came in. */
  readonly recirculation: number;
  /** How the connection tracking state of this run came about. */
  readonly state: "none" | "default" | "chosen" | "actual";
  /** How the packet was translated before this run, if it was for the trace only. */
  readonly translation?: TraceTranslation;
  readonly start: PacketView;
  readonly end: PacketView;
  readonly nodes: readonly TraceNode[];
  /** What of the packet decided all this. */
  readonly megaflow: MegaflowView;
  /** In the syntax of Open vSwitch's datapath. */
  readonly actions: readonly string[];
}

export interface TraceRequest {
  readonly frame: Uint8Array;
  readonly inPort: number;
  /** What the packet has besides its bytes, e.g. registers; other fields are left out. */
  readonly given?: Match;
  /** ct_state of the packet each time it comes back from connection tracking, in order. */
  readonly ctStates?: readonly number[];
  /** "actual": what the connection table says; else new and tracked. */
  readonly ctDefault?: "actual" | "new";
  /** Instead of the tables: what a packet-out says. */
  readonly actions?: readonly Action[];
  /** NORMAL is told as such, and not where it sends the packet. */
  readonly keepsNormal?: boolean;
  /** Stations and flows are learned, as if the packet had come in. */
  readonly teaches?: boolean;
}
