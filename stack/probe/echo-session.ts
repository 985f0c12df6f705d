// ICMP echo as an asker sees it: makes requests, and finds in what a raw socket delivers the replies and refusals that
// belong to them. Pure: no I/O, no clock. Source: RFC 792; RFC 1122, 3.2.2.6. Packets come from anybody: all are checked.
import {
  encodeIcmp,
  formatIpv4Address,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_SIZE,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  type IcmpMessage,
  IPPROTO_ICMP,
  IPV4_SIZE_MIN,
  type Ipv4Packet,
  parseIcmp,
  parseIpv4,
  parseIpv4Address,
  WireError,
} from "../../base/wire/index.js";

export interface EchoOptions {
  /** Dotted IPv4. */
  readonly address: string;
  /** 16 bits that no other asker on this machine uses. */
  readonly identifier: number;
  /** What requests carry; replies must bring it back. */
  readonly payload: Uint8Array;
}

export interface EchoAnswer {
  /** Of the request that it answers, 16 bits. */
  readonly sequence: number;
  /** Why there will be no reply, in words; undefined when this is the reply. */
  readonly refusal: string | undefined;
}

/** RFC 792 and RFC 1812, 5.2.7.1. */
const UNREACHABLE: Readonly<Record<number, string>> = {
  0: "network unreachable",
  1: "host unreachable",
  2: "protocol unreachable",
  3: "port unreachable",
  9: "network administratively prohibited",
  10: "host administratively prohibited",
  13: "administratively prohibited",
};

export class EchoSession {
  readonly #options: EchoOptions;
  readonly #address: number;

  /** Throws WireError when the address is none. */
  constructor(options: EchoOptions) {
    this.#options = options;
    this.#address = parseIpv4Address(options.address);
  }

  /** An ICMP message, without IP header. `sequence` is cut to 16 bits. */
  request(sequence: number): Uint8Array {
    const rest = ((this.#options.identifier << 16) | (sequence & 0xffff)) >>> 0;
    return encodeIcmp({ type: ICMP_ECHO_REQUEST, code: 0, rest, payload: this.#options.payload });
  }

  /** What `packet` (with its IPv4 header) answers; undefined when it is not for us. Never throws. */
  receive(packet: Uint8Array): EchoAnswer | undefined {
    try {
      // Some kernels deliver the header's length or checksum as they like; ICMP has its own checksum.
      const ip = parseIpv4(packet, false);
      if (ip.protocol !== IPPROTO_ICMP) return undefined;
      const message = parseIcmp(ip.payload);
      return message.type === ICMP_ECHO_REPLY ? this.#reply(ip, message) : this.#refusal(ip, message);
    } catch (thrown) {
      if (thrown instanceof WireError) return undefined;
      throw thrown;
    }
  }

  #reply(ip: Ipv4Packet, { code, rest, payload }: IcmpMessage): EchoAnswer | undefined {
    if (code !== 0 || ip.source !== this.#address || rest >>> 16 !== this.#options.identifier)
      return undefined;
    if (Buffer.compare(payload, this.#options.payload) !== 0) return undefined;
    return { sequence: rest & 0xffff, refusal: undefined };
  }

  /** A router's or the machine's own refusal quotes the request's IP header and at least 8 bytes. */
  #refusal(ip: Ipv4Packet, { type, code, payload }: IcmpMessage): EchoAnswer | undefined {
    if (type !== ICMP_UNREACHABLE && type !== ICMP_TIME_EXCEEDED) return undefined;
    const quoted = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    if (quoted.byteLength < IPV4_SIZE_MIN) return undefined;
    const headerSize = (quoted.getUint8(0) & 15) * 4;
    if (headerSize < IPV4_SIZE_MIN || quoted.byteLength < headerSize + ICMP_SIZE) return undefined;
    const ours =
      quoted.getUint8(9) === IPPROTO_ICMP &&
      quoted.getUint32(16) === this.#address &&
      quoted.getUint8(headerSize) === ICMP_ECHO_REQUEST &&
      quoted.getUint16(headerSize + 4) === this.#options.identifier;
    if (!ours) return undefined;
    const why = type === ICMP_TIME_EXCEEDED ? "time to live exceeded" : (UNREACHABLE[code] ?? "unreachable");
    return {
      sequence: quoted.getUint16(headerSize + 6),
      refusal: `${formatIpv4Address(ip.source)} says: ${why}`,
    };
  }
}
