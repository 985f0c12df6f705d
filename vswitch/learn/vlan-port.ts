// What VLANs a port takes part in when frames are forwarded by NORMAL, and with what tags they leave by it.
// Source: ovs-vswitchd.conf.db(5), Port table, VLAN configuration; IEEE 802.1Q-2022 6.9. Thread: datapath worker.
// Hot: yes.
import {
  DOT1AD,
  DOT1Q,
  type FrameVlans,
  PCP_BITS,
  PRIORITY_BITS,
  TCI_BITS,
  VID_BITS,
} from "./frame-vlans.js";

export type VlanMode = "access" | "trunk" | "native-tagged" | "native-untagged" | "dot1q-tunnel";

/** Whether frames that leave without a VLAN may keep a tag for their priority. */
export type PriorityTags = "never" | "if-nonzero" | "always";

export interface VlanConfig {
  readonly mode: VlanMode;
  /** The access, native or service VLAN; 0 for a trunk. */
  readonly tag: number;
  /** VLANs that a trunk carries; empty for all. */
  readonly trunks: readonly number[];
  /** Customer VLANs that a dot1q-tunnel takes, 0 for frames without one; empty for all. */
  readonly cvlans?: readonly number[];
  /** EtherType of a dot1q-tunnel's service tags; absent: 802.1ad. */
  readonly qinqEtherType?: number;
  /** Absent: never. */
  readonly priorityTags?: PriorityTags;
}

/** A trunk of all VLANs: how a port behaves that nobody configured. */
export const TRUNK_ALL: VlanConfig = { mode: "trunk", tag: 0, trunks: [] };

const VLANS = 4096;

export class VlanPort {
  readonly config: VlanConfig;
  readonly #access: boolean;
  readonly #trunk: boolean;
  readonly #tunnel: boolean;
  readonly #native: boolean;
  readonly #nativeUntagged: boolean;
  readonly #tag: number;
  readonly #qinq: number;
  readonly #priorityTags: PriorityTags;
  /** Index VLAN: 1 = carried. */
  readonly #carried: Uint8Array;
  /** Index customer VLAN: 1 = allowed. */
  readonly #customers: Uint8Array;

  constructor(config: VlanConfig) {
    const { mode, tag, trunks } = config;
    this.config = config;
    this.#access = mode === "access";
    this.#trunk = mode === "trunk";
    this.#tunnel = mode === "dot1q-tunnel";
    this.#nativeUntagged = mode === "native-untagged";
    this.#tag = mode === "trunk" ? 0 : tag;
    this.#qinq = ((config.qinqEtherType ?? DOT1AD) << 16) | 0;
    this.#priorityTags = config.priorityTags ?? "never";
    this.#carried = vlanSet(this.#access || this.#tunnel ? [this.#tag] : trunks);
    this.#native = mode.startsWith("native");
    if (this.#native && this.#tag !== 0) {
      // The native VLAN is always carried. VLAN 0 would come back as the native one.
      this.#carried[this.#tag] = 1;
      this.#carried[0] = 0;
    }
    this.#customers = vlanSet(config.cvlans ?? []);
  }

  /** Puts a frame that came in here, and whose tags were read, into its VLAN; false when it may not come in. */
  ingress(frame: FrameVlans): boolean {
    const first = frame.first;
    const vid = first & VID_BITS;
    if (this.#tunnel) {
      if (this.#customers[vid]! === 0) return false;
      frame.vlan = this.#tag;
      frame.outer = this.#qinq | this.#tag;
      frame.inner = first;
      if (frame.consumed > 1) frame.consumed = 1;
      return true;
    }
    if (this.#access && vid !== 0) return false;
    const vlan = vid === 0 ? this.#tag : vid;
    // What has no VLAN of its own is always in the native one.
    if (this.#carried[vlan]! === 0 && !(this.#native && vid === 0)) return false;
    frame.vlan = vlan;
    // An untagged frame gets a tag by being put into a VLAN; on a trunk it is put into none.
    frame.outer = first !== 0 ? (first & ~VID_BITS) | vlan : this.#trunk ? 0 : (DOT1Q << 16) | vlan;
    frame.inner = frame.second;
    return true;
  }

  /** Whether the frame, as it was put into its VLAN, may leave by this port. */
  carries(frame: FrameVlans): boolean {
    if (this.#carried[frame.vlan]! === 0) return false;
    if (this.#access) return (frame.inner & VID_BITS) === 0;
    return !this.#tunnel || this.#customers[frame.inner & VID_BITS]! === 1;
  }

  /** As carries(), for a frame to a station that was seen here: in the native VLAN too, though it may not be flooded. */
  reaches(frame: FrameVlans): boolean {
    return this.carries(frame) || (this.#native && frame.vlan === this.#tag);
  }

  /** The outer tag with which the frame leaves by this port, or 0. */
  outer(frame: FrameVlans): number {
    // A service tag has no priority of its own: what counts is the one with which the frame came.
    const priority = frame.first & PRIORITY_BITS;
    if (this.#tunnel && (frame.inner & TCI_BITS) !== 0) return 0;
    if (this.#access || this.#tunnel || (this.#nativeUntagged && frame.vlan === this.#tag)) {
      return this.#priorityTags !== "never" && priority !== 0 ? (DOT1Q << 16) | priority : 0;
    }
    if (this.#priorityTags !== "never" && frame.vlan !== 0) {
      // The priority with which the frame came, also in a service tag.
      return (frame.outer & ~PCP_BITS) | (frame.first & PCP_BITS);
    }
    if (frame.vlan !== 0 || (frame.outer & PRIORITY_BITS) !== 0) return frame.outer;
    return this.#priorityTags === "always" ? frame.outer : 0;
  }

  /** The tag below it, or 0. */
  inner(frame: FrameVlans): number {
    // One that names neither a VLAN nor a priority says nothing.
    const isEmpty = (frame.inner & TCI_BITS) === 0 && this.#priorityTags !== "always";
    return this.#access || isEmpty ? 0 : frame.inner;
  }
}

/** 1 for each VLAN of the list, for all when it is empty. */
function vlanSet(vlans: readonly number[]): Uint8Array {
  const set = new Uint8Array(VLANS);
  if (vlans.length === 0) set.fill(1);
  for (let i = 0; i < vlans.length; i++) set[vlans[i]! & VID_BITS] = 1;
  return set;
}
