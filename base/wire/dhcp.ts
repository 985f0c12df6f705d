// DHCPv4 messages. Source: RFC 2131 figure 1, RFC 2132 options, RFC 3396 (a repeated option is one long option).
//   0 op | 1 htype | 2 hlen | 3 hops | 4 xid 4 | 8 secs 2 | 10 flags 2 | 12 ciaddr 4 | 16 yiaddr 4 | 20 siaddr 4
//   24 giaddr 4 | 28 chaddr 16 | 44 sname 64 | 108 file 128 | 236 cookie 4 | 240 options
import { concatBytes } from "../bytes/index.js";
import { ipv4Bytes } from "./address.js";
import { needBytes, viewOf, WireError } from "./errors.js";

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;
export const BOOTREQUEST = 1;
export const BOOTREPLY = 2;
const OPTIONS = 240;
const COOKIE = 0x63825363;
const SIZE_MIN = 300;

export const DHCP_OPTION = {
  subnetMask: 1,
  router: 3,
  dnsServers: 6,
  hostName: 12,
  domainName: 15,
  interfaceMtu: 26,
  broadcastAddress: 28,
  requestedAddress: 50,
  leaseSeconds: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  renewalSeconds: 58,
  rebindingSeconds: 59,
  clientIdentifier: 61,
  classlessRoutes: 121,
} as const;

export const DHCP_MESSAGE_TYPES = [
  "discover",
  "offer",
  "request",
  "decline",
  "ack",
  "nak",
  "release",
  "inform",
] as const;
export type DhcpMessageType = (typeof DHCP_MESSAGE_TYPES)[number];

export interface DhcpMessage {
  readonly operation: number;
  /** Option 53. */
  readonly messageType: DhcpMessageType;
  readonly transactionId: number;
  readonly seconds: number;
  /** The client cannot receive unicast yet. */
  readonly broadcast: boolean;
  /** Addresses are u32; 0 = none. */
  readonly clientAddress: number;
  readonly yourAddress: number;
  readonly serverAddress: number;
  readonly relayAddress: number;
  readonly clientMac: Uint8Array;
  /** All options but 53 by number, repeated ones joined. */
  readonly options: ReadonlyMap<number, Uint8Array>;
}

/** Throws WireError: not DHCP over Ethernet, or broken options. */
export function parseDhcp(bytes: Uint8Array): DhcpMessage {
  needBytes("dhcp", bytes, OPTIONS);
  const view = viewOf(bytes);
  const operation = view.getUint8(0);
  if (operation !== BOOTREQUEST && operation !== BOOTREPLY)
    throw new WireError("dhcp", "op", 0, `${operation} is neither request nor reply`);
  if (view.getUint16(1) !== 0x0106) throw new WireError("dhcp", "htype, hlen", 1, "not Ethernet");
  if (view.getUint32(236) !== COOKIE) throw new WireError("dhcp", "cookie", 236, "BOOTP without DHCP");
  const options = parseOptions(bytes);
  const type = options.get(DHCP_OPTION.messageType);
  const messageType = type?.byteLength === 1 ? DHCP_MESSAGE_TYPES[(type[0] as number) - 1] : undefined;
  if (messageType === undefined) throw new WireError("dhcp", "message type", OPTIONS, "missing or unknown");
  options.delete(DHCP_OPTION.messageType);
  return {
    operation,
    messageType,
    transactionId: view.getUint32(4),
    seconds: view.getUint16(8),
    broadcast: (view.getUint16(10) & 0x8000) !== 0,
    clientAddress: view.getUint32(12),
    yourAddress: view.getUint32(16),
    serverAddress: view.getUint32(20),
    relayAddress: view.getUint32(24),
    clientMac: bytes.slice(28, 34),
    options,
  };
}

function parseOptions(bytes: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  readOptions(bytes, OPTIONS, bytes.byteLength, options);
  const overload = options.get(DHCP_OPTION.overload)?.[0] ?? 0;
  if ((overload & 1) !== 0) readOptions(bytes, 108, 236, options);
  if ((overload & 2) !== 0) readOptions(bytes, 44, 108, options);
  return options;
}

function readOptions(bytes: Uint8Array, start: number, end: number, into: Map<number, Uint8Array>): void {
  let at = start;
  while (at < end) {
    const code = bytes[at] as number;
    if (code === 255) return;
    if (code === 0) {
      at += 1;
      continue;
    }
    const length = at + 1 < end ? (bytes[at + 1] as number) : end;
    if (at + 2 + length > end) throw new WireError("dhcp", `option ${code}`, at, "longer than the message");
    const value = bytes.slice(at + 2, at + 2 + length);
    const before = into.get(code);
    into.set(code, before === undefined ? value : concatBytes([before, value]));
    at += 2 + length;
  }
}

/** At least 300 bytes (some clients want that). Options over 255 bytes are split. */
export function encodeDhcp(message: DhcpMessage): Uint8Array {
  const head = new Uint8Array(OPTIONS);
  const view = viewOf(head);
  view.setUint8(0, message.operation);
  view.setUint16(1, 0x0106);
  view.setUint32(4, message.transactionId);
  view.setUint16(8, message.seconds);
  view.setUint16(10, message.broadcast ? 0x8000 : 0);
  view.setUint32(12, message.clientAddress);
  view.setUint32(16, message.yourAddress);
  view.setUint32(20, message.serverAddress);
  view.setUint32(24, message.relayAddress);
  head.set(message.clientMac, 28);
  view.setUint32(236, COOKIE);
  const parts = [head, Uint8Array.of(53, 1, DHCP_MESSAGE_TYPES.indexOf(message.messageType) + 1)];
  for (const [code, value] of message.options) {
    for (let at = 0; at === 0 || at < value.byteLength; at += 255) {
      const piece = value.slice(at, at + 255);
      parts.push(Uint8Array.of(code, piece.byteLength), piece);
    }
  }
  parts.push(Uint8Array.of(255));
  const size = parts.reduce((sum, part) => sum + part.byteLength, 0);
  if (size < SIZE_MIN) parts.push(new Uint8Array(SIZE_MIN - size));
  return concatBytes(parts);
}

/** Value of an option that is a list of addresses. */
export function dhcpAddresses(...addresses: readonly number[]): Uint8Array {
  return concatBytes(addresses.map(ipv4Bytes));
}
export function dhcpUint16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 255);
}
export function dhcpUint32(value: number): Uint8Array {
  return ipv4Bytes(value);
}
export function dhcpText(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
