// The actions that Open vSwitch adds to OpenFlow, as values. Source: ovs-actions(7).
// All values are plain, immutable data: they may be shared, compared structurally and posted between threads.
import type { Action, BitRange, PacketInReason } from "./actions.js";
import type { OxmFieldName } from "./oxm-fields.js";

/** NXAST_REG_LOAD: puts the low bits of `value` into the range. */
export interface LoadAction {
  readonly type: "load";
  readonly destination: BitRange;
  readonly value: bigint;
}
/** NXAST_REG_MOVE: both ranges have the same number of bits. */
export interface MoveAction {
  readonly type: "move";
  readonly source: BitRange;
  readonly destination: BitRange;
}
/** NXAST_RESUBMIT_TABLE(_CT): looks the packet up again, then goes on with the next action. */
export interface ResubmitAction {
  readonly type: "resubmit";
  /** OFPP_IN_PORT = the packet's own ingress port. */
  readonly port: number;
  /** OFPTT_ALL = the current table. */
  readonly tableId: number;
  /** Swap source and destination for connection tracking fields (resubmit(…,ct)). */
  readonly withCt: boolean;
  /** How it is written: as the older action, which names no table. */
  readonly form?: "short";
}
/** NXAST_CT: sends the packet through connection tracking. */
export interface CtAction {
  readonly type: "ct";
  readonly commit: boolean;
  /** Only with commit: replaces a connection that runs in the other direction. */
  readonly force: boolean;
  /** A fixed zone, or 16 bits of a field. */
  readonly zone: number | BitRange;
  /** The table in which a copy of the packet goes on with its ct fields set; absent = the packet just goes on. */
  readonly tableId?: number;
  /** 0 = none, 21 = FTP, 69 = TFTP. */
  readonly alg: number;
  /** Run when the connection is committed: nat, and load/set_field/move of ct_mark and ct_label. */
  readonly actions: readonly Action[];
}
/** NXAST_NAT: only inside ct. Without `source` and `destination` it translates by the existing connection. */
export interface NatAction {
  readonly type: "nat";
  readonly direction: "source" | "destination" | "existing";
  readonly persistent: boolean;
  readonly selection: "auto" | "hash" | "random";
  /** Addresses, 4 or 16 bytes each; both ends inclusive. */
  readonly addressMin?: Uint8Array;
  readonly addressMax?: Uint8Array;
  readonly portMin?: number;
  readonly portMax?: number;
}
/** NXAST_CT_CLEAR forgets the packet's ct fields, NXAST_EXIT ends the run, NXAST_POP_QUEUE undoes set_queue. */
export interface BareNiciraAction {
  readonly type: "ct_clear" | "exit" | "pop_queue";
}
/** NXAST_DEC_NSH_TTL. */
export interface DecNshTtlAction {
  readonly type: "dec_nsh_ttl";
}
/** One property of the header that encap puts in front: of NSH its type of metadata, and options of the second type. */
export type EncapProperty =
  | { readonly type: "md_type"; readonly mdType: number }
  | { readonly type: "tlv"; readonly tlvClass: number; readonly tlvType: number; readonly data: Uint8Array };
/** NXAST_ENCAP: puts a header in front. */
export interface EncapAction {
  readonly type: "encap";
  /** What the packet is then: namespace and type in 16 bits each. */
  readonly packetType: number;
  readonly properties: readonly EncapProperty[];
}
/** NXAST_DECAP: takes the outermost header off. */
export interface DecapAction {
  readonly type: "decap";
  /** What the packet is then; 0x0000fffe = what its header says. */
  readonly packetType: number;
}
/** NXAST_DELETE_FIELD: takes an option of the tunnel away. */
export interface DeleteFieldAction {
  readonly type: "delete_field";
  readonly field: OxmFieldName;
}
/** NXAST_SAMPLE and its longer forms: exports one of 65535 / `probability` packets. */
export interface SampleAction {
  readonly type: "sample";
  readonly probability: number;
  readonly collectorSetId: number;
  readonly observationDomainId: number;
  readonly observationPointId: number;
  /** A 16-bit port number. */
  readonly samplingPort?: number;
  readonly direction?: "ingress" | "egress";
}
/** NXAST_CONTROLLER, NXAST_CONTROLLER2: packet-in with a chosen length, reason and controller id. */
export interface ControllerAction {
  readonly type: "controller";
  readonly maxLength: number;
  readonly controllerId: number;
  readonly reason: PacketInReason;
  /** Goes along in a packet-in of the second form. */
  readonly userdata?: Uint8Array;
  /** The packet waits until the controller lets it go on. */
  readonly pause?: true;
  /** A meter that limits these packet-ins. */
  readonly meterId?: number;
}
/** NXAST_OUTPUT_REG: the port is what the range holds, as OpenFlow 1.0 numbers ports. */
export interface OutputRegAction {
  readonly type: "output_reg";
  readonly source: BitRange;
  /** As in OutputAction. */
  readonly maxLength: number;
}
/** NXAST_OUTPUT_TRUNC: outputs at most `maxLength` bytes (at least 14) of the frame. */
export interface OutputTruncAction {
  readonly type: "output_trunc";
  readonly port: number;
  readonly maxLength: number;
}
/** NXAST_NOTE: does nothing; 6 bytes of data, or 8 more any number of times. */
export interface NoteAction {
  readonly type: "note";
  readonly data: Uint8Array;
}
/** NXAST_STACK_PUSH and NXAST_STACK_POP. */
export interface StackAction {
  readonly type: "push" | "pop";
  readonly range: BitRange;
}
/** NXAST_DEC_TTL_CNT_IDS: dec_ttl that tells these controllers when the TTL is over. */
export interface DecTtlIdsAction {
  readonly type: "dec_ttl_ids";
  readonly controllerIds: readonly number[];
}
/** What of a packet is hashed. */
export type HashFields =
  | "eth_src"
  | "symmetric_l4"
  | "symmetric_l3l4"
  | "symmetric_l3l4+udp"
  | "nw_src"
  | "nw_dst"
  | "symmetric_l3";
/** NXAST_MULTIPATH: a hash picks a link from 0 to `linkMax`, whose number goes into the range. */
export interface MultipathAction {
  readonly type: "multipath";
  readonly fields: HashFields;
  readonly basis: number;
  readonly algorithm: "modulo_n" | "hash_threshold" | "hrw" | "iter_hash";
  readonly linkMax: number;
  readonly argument: number;
  readonly destination: BitRange;
}
/** NXAST_BUNDLE, NXAST_BUNDLE_LOAD: outputs to a live member, or puts its port number into the range. */
export interface BundleAction {
  readonly type: "bundle";
  readonly fields: HashFields;
  readonly basis: number;
  readonly algorithm: "active_backup" | "hrw";
  /** 16-bit port numbers. */
  readonly members: readonly number[];
  readonly destination?: BitRange;
}
/** One part of what learn makes: a field to match, a field to load, or where to output. */
export type LearnSpec =
  | { readonly kind: "match" | "load"; readonly source: BitRange | bigint; readonly destination: BitRange }
  | { readonly kind: "output"; readonly source: BitRange };
/** NXAST_LEARN, NXAST_LEARN2: adds or renews a flow made of the packet in hand. */
export interface LearnAction {
  readonly type: "learn";
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly priority: number;
  readonly cookie: bigint;
  readonly tableId: number;
  readonly finIdleTimeoutSeconds: number;
  readonly finHardTimeoutSeconds: number;
  readonly sendFlowRemoved: boolean;
  /** What was learned goes when the last flow that learns with this table and cookie goes. */
  readonly deleteLearned: boolean;
  /** Flows with this table and cookie, at most; 0 = no limit. */
  readonly limit: number;
  /** One bit that says whether there is room. */
  readonly result?: BitRange;
  readonly specs: readonly LearnSpec[];
}
/** NXAST_FIN_TIMEOUT: after a TCP FIN or RST the flow's own time-outs are no longer than these; 0 = as they are. */
export interface FinTimeoutAction {
  readonly type: "fin_timeout";
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
}
/** NXAST_CONJUNCTION: the flow is clause `clause` (from 0) of `clauseCount` of the match that conj_id names. */
export interface ConjunctionAction {
  readonly type: "conjunction";
  readonly id: number;
  readonly clause: number;
  readonly clauseCount: number;
}
/** NXAST_CLONE: runs the actions on a copy of the packet. */
export interface CloneAction {
  readonly type: "clone";
  readonly actions: readonly Action[];
}
/** NXAST_CHECK_PKT_LARGER: one bit that says whether the frame is larger than `sizeBytes`. */
export interface CheckPacketLargerAction {
  readonly type: "check_pkt_larger";
  readonly sizeBytes: number;
  readonly destination: BitRange;
}

export type NiciraAction =
  | LoadAction
  | MoveAction
  | ResubmitAction
  | CtAction
  | NatAction
  | BareNiciraAction
  | ControllerAction
  | OutputRegAction
  | OutputTruncAction
  | NoteAction
  | StackAction
  | DecTtlIdsAction
  | MultipathAction
  | BundleAction
  | LearnAction
  | FinTimeoutAction
  | ConjunctionAction
  | CloneAction
  | CheckPacketLargerAction
  | EncapAction
  | DecapAction
  | DeleteFieldAction
  | SampleAction
  | DecNshTtlAction;
