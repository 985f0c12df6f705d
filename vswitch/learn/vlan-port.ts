// What VLANs a port takes part in when frames are forwarded by NORMAL.
// Source: ovs-vswitchd.conf.db(5), Port table, VLAN configuration. Thread: datapath worker. Hot: yes.

export type VlanMode = "access" | "trunk" | "native-tagged" | "native-untagged";

export interface VlanConfig {
  readonly mode: VlanMode;
  /** The access or native VLAN; 0 for a trunk. */
  readonly tag: number;
  /** VLANs that a trunk carries; empty for all. */
  readonly trunks: readonly number[];
}

/** A trunk of all VLANs: how a port behaves that nobody configured. */
export const TRUNK_ALL: VlanConfig = { mode: "trunk", tag: 0, trunks: [] };

export class VlanPort {
  readonly #access: boolean;
  readonly #nativeUntagged: boolean;
  readonly #tag: number;
  /** Index VLAN: 1 = carried. */
  readonly #carried: Uint8Array;

  constructor(config: VlanConfig) {
    this.#access = config.mode === "access";
    this.#nativeUntagged = config.mode === "native-untagged";
    this.#tag = config.mode === "trunk" ? 0 : config.tag;
    this.#carried = new Uint8Array(4096);
    if (!this.#access) {
      if (config.trunks.length === 0) this.#carried.fill(1);
      for (let i = 0; i < config.trunks.length; i++) this.#carried[config.trunks[i]! & 0xfff] = 1;
    }
    if (config.mode !== "trunk") this.#carried[this.#tag & 0xfff] = 1;
  }

  /** The VLAN of a frame that came in with this VID (0: untagged or priority-tagged), or −1 when it may not. */
  ingress(vid: number): number {
    if (this.#access) return vid === 0 ? this.#tag : -1;
    const vlan = vid === 0 ? this.#tag : vid;
    return this.#carried[vlan]! === 1 ? vlan : -1;
  }

  carries(vlan: number): boolean {
    return this.#carried[vlan]! === 1;
  }

  /** Whether frames of `vlan` leave with a tag. */
  egressTagged(vlan: number): boolean {
    if (this.#access || vlan === 0) return false;
    return !(this.#nativeUntagged && vlan === this.#tag);
  }
}
