// The RARP request that tells switches where a machine is now. Source: RFC 903; VIRTIO 1.2, 5.1.6.5.4 names the
// alternative, where the guest announces itself. Pure.
import { concatBytes } from "../../base/bytes/index.js";
import { ETHERTYPE_RARP, encodeArp, encodeEthernet, RARP_REQUEST } from "../../base/wire/index.js";

const BROADCAST = new Uint8Array(6).fill(0xff);
/** The smallest Ethernet frame, without its check sequence. */
const PADDING = new Uint8Array(60 - 14 - 28);

/** A broadcast RARP request of `mac` for itself, padded to 60 bytes. */
export function rarpFrame(mac: Uint8Array): Uint8Array {
  const request = encodeArp({
    operation: RARP_REQUEST,
    senderMac: mac,
    senderAddress: 0,
    targetMac: mac,
    targetAddress: 0,
  });
  const payload = concatBytes([request, PADDING]);
  return encodeEthernet({ destination: BROADCAST, source: mac, etherType: ETHERTYPE_RARP, payload });
}
