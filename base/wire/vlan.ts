// VLAN tag: what follows an EtherType of 0x8100 or 0x88a8. Source: IEEE 802.1Q-2022 9.6.
//   0 PCP 3 bits, DEI 1 bit, VID 12 bits | 2 EtherType of what follows | 4 payload
import { concatBytes } from "../bytes/index.js";
import { needBytes, viewOf } from "./errors.js";

export const VLAN_TAG_SIZE = 4;

export interface VlanTag {
  /** 0 = priority tag without a VLAN. */
  readonly vid: number;
  readonly priority: number;
  readonly dropEligible: boolean;
  readonly etherType: number;
  readonly payload: Uint8Array;
}

/** Parses the payload of a frame whose EtherType announced a tag. Throws WireError. */
export function parseVlan(bytes: Uint8Array): VlanTag {
  needBytes("vlan", bytes, VLAN_TAG_SIZE);
  const view = viewOf(bytes);
  const tci = view.getUint16(0);
  return {
    vid: tci & 0xfff,
    priority: tci >>> 13,
    dropEligible: (tci & 0x1000) !== 0,
    etherType: view.getUint16(2),
    payload: bytes.subarray(VLAN_TAG_SIZE),
  };
}

export function encodeVlan(tag: VlanTag): Uint8Array {
  const tci = (tag.priority << 13) | (tag.dropEligible ? 0x1000 : 0) | (tag.vid & 0xfff);
  return concatBytes([
    Uint8Array.of(tci >>> 8, tci & 255, tag.etherType >>> 8, tag.etherType & 255),
    tag.payload,
  ]);
}
