// The frames that probers send. Pure. Source: RFC 9293 (ports and sequence numbers), RFC 6335 (dynamic ports).
import {
  ETHERTYPE_IPV4,
  encodeEthernet,
  encodeIpv4,
  encodeTcp,
  IPPROTO_TCP,
  type TcpFields,
} from "../../base/wire/index.js";
import type { ProbeSource, ProbeTarget } from "./prober.js";

/** Local ports go round this range, so that a late answer does not meet the next probe. */
const PORT_FIRST = 49_152;
const PORT_COUNT = 16_384;
const WINDOW = 1024;

/** The local port of the probe with this number. */
export function localPortOf(turn: number): number {
  return PORT_FIRST + (turn % PORT_COUNT);
}

/** A number that differs from probe to probe. Nothing secret: a guest could only spoil the health of its own endpoint. */
export function numberOf(turn: number, nowMs: number): number {
  return (Math.imul(turn + 1, 0x9e3779b1) ^ Math.round(nowMs)) >>> 0;
}

export function tcpFrame(
  source: ProbeSource,
  target: ProbeTarget,
  fields: Omit<TcpFields, "destinationPort">,
): Uint8Array {
  const pair = { source: source.address, destination: target.address };
  const payload = encodeTcp({ window: WINDOW, ...fields, destinationPort: target.port }, pair);
  return ipFrame(source, target, IPPROTO_TCP, payload);
}

export function ipFrame(
  source: ProbeSource,
  target: ProbeTarget,
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  return encodeEthernet({
    destination: target.mac,
    source: source.mac,
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({
      source: source.address,
      destination: target.address,
      protocol,
      payload,
      dontFragment: true,
    }),
  });
}
