// Ethernet II header. Source: IEEE 802.3 clause 3. Frame check sequences never reach us.
//   0 destination 6 | 6 source 6 | 12 EtherType 2 | 14 payload
import { concatBytes } from "../bytes/index.js";
import { needBytes, viewOf } from "./errors.js";

export const ETHERNET_SIZE = 14;
export const ETHERNET_TYPE = 12;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_RARP = 0x8035;
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;

export interface EthernetFrame {
  readonly destination: Uint8Array;
  readonly source: Uint8Array;
  readonly etherType: number;
  /** A view into the parsed bytes. */
  readonly payload: Uint8Array;
}

/** Throws WireError. Tags are left in the payload: see vlan.ts. */
export function parseEthernet(frame: Uint8Array): EthernetFrame {
  needBytes("ethernet", frame, ETHERNET_SIZE);
  return {
    destination: frame.subarray(0, 6),
    source: frame.subarray(6, 12),
    etherType: viewOf(frame).getUint16(ETHERNET_TYPE),
    payload: frame.subarray(ETHERNET_SIZE),
  };
}

export function encodeEthernet(frame: EthernetFrame): Uint8Array {
  const type = Uint8Array.of(frame.etherType >>> 8, frame.etherType & 255);
  return concatBytes([frame.destination, frame.source, type, frame.payload]);
}
