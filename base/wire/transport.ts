// The pseudo header that TCP, UDP and ICMPv6 checksums cover. Source: RFC 9293 3.1, RFC 768, RFC 8200 8.1.
import { addPseudoIpv4, addToSum, finishSum } from "./checksum.js";
import { addPseudoIpv6 } from "./ipv6.js";

/** Between whom a segment travels: two u32 (IPv4) or two 16-byte arrays (IPv6). */
export type AddressPair =
  | { readonly source: number; readonly destination: number }
  | { readonly source: Uint8Array; readonly destination: Uint8Array };

/** The checksum of a whole segment (header and payload, checksum field as it stands: 0 verifies). */
export function transportChecksum(segment: Uint8Array, protocol: number, pair: AddressPair): number {
  const length = segment.byteLength;
  const sum = addToSum(segment, 0, length, 0);
  return finishSum(
    typeof pair.source === "number"
      ? addPseudoIpv4(sum, pair.source, pair.destination as number, protocol, length)
      : addPseudoIpv6(sum, pair.source, pair.destination as Uint8Array, protocol, length),
  );
}
