// Numbers of OpenFlow 1.0, and how its 16-bit port numbers map to our 32-bit ones.
// Source: OpenFlow Switch Specification 1.0.0, clause 5; Nicira numbers as Open vSwitch documents them.

import { nameOf } from "../wire.js";

export const OFP10_VERSION = 0x01;

/** Message types by name; the names are those of OpenFlow 1.3 for the same meaning. */
export const OFPT10 = {
  hello: 0,
  error: 1,
  echo_request: 2,
  echo_reply: 3,
  experimenter: 4,
  features_request: 5,
  features_reply: 6,
  get_config_request: 7,
  get_config_reply: 8,
  set_config: 9,
  packet_in: 10,
  flow_removed: 11,
  port_status: 12,
  packet_out: 13,
  flow_mod: 14,
  port_mod: 15,
  multipart_request: 16,
  multipart_reply: 17,
  barrier_request: 18,
  barrier_reply: 19,
  queue_get_config_request: 20,
  queue_get_config_reply: 21,
} as const;

export type WireType10 = keyof typeof OFPT10;

export function typeOf10(code: number): WireType10 | undefined {
  return nameOf(OFPT10, code);
}

/** Statistics types by the multipart kind of the same meaning; port_desc is Open vSwitch's. */
export const OFPST10 = {
  desc: 0,
  flow: 1,
  aggregate: 2,
  table: 3,
  port_stats: 4,
  queue: 5,
  port_desc: 13,
  experimenter: 0xffff,
} as const;

const OFPP10_MAX = 0xff00;

/** The reserved ports of 1.0 are the last 16 bits of ours. */
export function widenPort(port: number): number {
  return port >= OFPP10_MAX && port <= 0xffff ? (0xffff0000 | port) >>> 0 : port;
}

export function narrowPort(port: number): number {
  return port & 0xffff;
}

/** `value` big-endian in `size` bytes. */
export function bigEndian(value: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * (size - 1 - i))) % 256);
}

/** The number in at most 6 big-endian bytes. */
export function numberOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}
