// ARP for IPv4 over Ethernet, and RARP, which looks the same. Source: RFC 826, RFC 903.
//   0 htype 2 | 2 ptype 2 | 4 hlen | 5 plen | 6 operation 2 | 8 sha 6 | 14 spa 4 | 18 tha 6 | 24 tpa 4
import { needBytes, viewOf, WireError } from "./errors.js";

export const ARP_SIZE = 28;
export const ARP_OPERATION = 6;
export const ARP_SHA = 8;
export const ARP_SPA = 14;
export const ARP_THA = 18;
export const ARP_TPA = 24;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;
/** In a frame of type ETHERTYPE_RARP. */
export const RARP_REQUEST = 3;

export interface ArpPacket {
  readonly operation: number;
  readonly senderMac: Uint8Array;
  /** u32. */
  readonly senderAddress: number;
  readonly targetMac: Uint8Array;
  readonly targetAddress: number;
}

/** Throws WireError. Trailing padding is ignored. */
export function parseArp(bytes: Uint8Array): ArpPacket {
  needBytes("arp", bytes, ARP_SIZE);
  const view = viewOf(bytes);
  if (view.getUint16(0) !== 1) throw new WireError("arp", "hardware type", 0, "not Ethernet");
  if (view.getUint16(2) !== 0x0800) throw new WireError("arp", "protocol type", 2, "not IPv4");
  if (view.getUint16(4) !== 0x0604) throw new WireError("arp", "address lengths", 4, "not 6 and 4");
  return {
    operation: view.getUint16(ARP_OPERATION),
    senderMac: bytes.slice(ARP_SHA, ARP_SHA + 6),
    senderAddress: view.getUint32(ARP_SPA),
    targetMac: bytes.slice(ARP_THA, ARP_THA + 6),
    targetAddress: view.getUint32(ARP_TPA),
  };
}

export function encodeArp(packet: ArpPacket): Uint8Array {
  const bytes = new Uint8Array(ARP_SIZE);
  const view = viewOf(bytes);
  view.setUint16(0, 1);
  view.setUint16(2, 0x0800);
  view.setUint16(4, 0x0604);
  view.setUint16(ARP_OPERATION, packet.operation);
  bytes.set(packet.senderMac, ARP_SHA);
  view.setUint32(ARP_SPA, packet.senderAddress);
  bytes.set(packet.targetMac, ARP_THA);
  view.setUint32(ARP_TPA, packet.targetAddress);
  return bytes;
}
