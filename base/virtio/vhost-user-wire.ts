// vhost-user messages: bytes ⇄ values.
// Source: QEMU docs/interop/vhost-user.rst. Layout, little-endian (the machine's own order on the wire; Plinth
// runs on little-endian machines only):  u32 request │ u32 flags │ u32 payload size │ payload
// Invariant: parse never trusts a length; it throws VHOST_USER_MALFORMED naming field and offset, nothing else.
// Pure. Control path only: u64 values are BigInt or, for addresses and sizes below 2⁵³, numbers.
import { PlinthError } from "../errors/index.js";
import {
  VHOST_USER_ADD_MEM_REG,
  VHOST_USER_GET_CONFIG,
  VHOST_USER_GET_FEATURES,
  VHOST_USER_GET_INFLIGHT_FD,
  VHOST_USER_GET_MAX_MEM_SLOTS,
  VHOST_USER_GET_PROTOCOL_FEATURES,
  VHOST_USER_GET_QUEUE_NUM,
  VHOST_USER_GET_STATUS,
  VHOST_USER_GET_VRING_BASE,
  VHOST_USER_HEADER_SIZE,
  VHOST_USER_NET_SET_MTU,
  VHOST_USER_REGIONS_MAX,
  VHOST_USER_REM_MEM_REG,
  VHOST_USER_REPLY_FLAG,
  VHOST_USER_RESET_DEVICE,
  VHOST_USER_RESET_OWNER,
  VHOST_USER_SEND_RARP,
  VHOST_USER_SET_BACKEND_REQ_FD,
  VHOST_USER_SET_CONFIG,
  VHOST_USER_SET_FEATURES,
  VHOST_USER_SET_INFLIGHT_FD,
  VHOST_USER_SET_LOG_BASE,
  VHOST_USER_SET_LOG_FD,
  VHOST_USER_SET_MEM_TABLE,
  VHOST_USER_SET_OWNER,
  VHOST_USER_SET_PROTOCOL_FEATURES,
  VHOST_USER_SET_STATUS,
  VHOST_USER_SET_VRING_ADDR,
  VHOST_USER_SET_VRING_BASE,
  VHOST_USER_SET_VRING_CALL,
  VHOST_USER_SET_VRING_ENABLE,
  VHOST_USER_SET_VRING_ERR,
  VHOST_USER_SET_VRING_KICK,
  VHOST_USER_SET_VRING_NUM,
  VHOST_USER_VERSION,
  VHOST_USER_VERSION_MASK,
} from "./vhost-user-constants.js";

export * from "./vhost-user-constants.js";

const CONFIG_SIZE_MAX = 256;
const REGION_SIZE = 32;
const INFLIGHT_SIZE = 24;
/** The largest payload that any known message has: a configuration space with its header. */
export const VHOST_USER_PAYLOAD_SIZE_MAX = Math.max(
  12 + CONFIG_SIZE_MAX,
  8 + VHOST_USER_REGIONS_MAX * REGION_SIZE,
);

export interface VhostUserRegion {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  /** Address in the front-end's process; ring addresses are given in these. */
  readonly userAddress: number;
  /** Where in the descriptor's file the region starts. */
  readonly fileOffset: number;
}

export interface VhostUserInflight {
  readonly sizeBytes: number;
  readonly fileOffset: number;
  readonly queueCount: number;
  readonly queueSize: number;
}

export type VhostUserPayload =
  | { readonly kind: "none" }
  | { readonly kind: "u64"; readonly value: bigint }
  | { readonly kind: "vringState"; readonly index: number; readonly num: number }
  | {
      readonly kind: "vringAddress";
      readonly index: number;
      readonly flags: number;
      readonly descriptors: number;
      readonly used: number;
      readonly available: number;
      readonly log: number;
    }
  | { readonly kind: "memoryTable"; readonly regions: readonly VhostUserRegion[] }
  | { readonly kind: "memoryRegion"; readonly region: VhostUserRegion }
  | { readonly kind: "log"; readonly sizeBytes: number; readonly offset: number }
  | { readonly kind: "inflight"; readonly inflight: VhostUserInflight }
  | { readonly kind: "config"; readonly offset: number; readonly flags: number; readonly bytes: Uint8Array }
  /** A request that this file does not know. */
  | { readonly kind: "opaque"; readonly bytes: Uint8Array };

export interface VhostUserMessage {
  readonly request: number;
  readonly flags: number;
  readonly payload: VhostUserPayload;
}

type PayloadKind = VhostUserPayload["kind"];

/** What a request carries. Requests from front-end to back-end; replies have the kinds of REPLY_KINDS. */
const REQUEST_KINDS: ReadonlyMap<number, PayloadKind> = new Map<number, PayloadKind>([
  [VHOST_USER_GET_FEATURES, "none"],
  [VHOST_USER_SET_FEATURES, "u64"],
  [VHOST_USER_SET_OWNER, "none"],
  [VHOST_USER_RESET_OWNER, "none"],
  [VHOST_USER_SET_MEM_TABLE, "memoryTable"],
  [VHOST_USER_SET_LOG_BASE, "log"],
  [VHOST_USER_SET_LOG_FD, "none"],
  [VHOST_USER_SET_BACKEND_REQ_FD, "none"],
  [VHOST_USER_SET_VRING_NUM, "vringState"],
  [VHOST_USER_SET_VRING_ADDR, "vringAddress"],
  [VHOST_USER_SET_VRING_BASE, "vringState"],
  [VHOST_USER_GET_VRING_BASE, "vringState"],
  [VHOST_USER_SET_VRING_KICK, "u64"],
  [VHOST_USER_SET_VRING_CALL, "u64"],
  [VHOST_USER_SET_VRING_ERR, "u64"],
  [VHOST_USER_GET_PROTOCOL_FEATURES, "none"],
  [VHOST_USER_SET_PROTOCOL_FEATURES, "u64"],
  [VHOST_USER_GET_QUEUE_NUM, "none"],
  [VHOST_USER_SET_VRING_ENABLE, "vringState"],
  [VHOST_USER_SEND_RARP, "u64"],
  [VHOST_USER_NET_SET_MTU, "u64"],
  [VHOST_USER_GET_CONFIG, "config"],
  [VHOST_USER_SET_CONFIG, "config"],
  [VHOST_USER_GET_INFLIGHT_FD, "inflight"],
  [VHOST_USER_SET_INFLIGHT_FD, "inflight"],
  [VHOST_USER_RESET_DEVICE, "none"],
  [VHOST_USER_GET_MAX_MEM_SLOTS, "none"],
  [VHOST_USER_ADD_MEM_REG, "memoryRegion"],
  [VHOST_USER_REM_MEM_REG, "memoryRegion"],
  [VHOST_USER_SET_STATUS, "u64"],
  [VHOST_USER_GET_STATUS, "none"],
]);

/** Requests that are always answered, so that an acknowledgement on top would be one answer too many. */
const ANSWERED: ReadonlySet<number> = new Set([
  VHOST_USER_GET_FEATURES,
  VHOST_USER_SET_LOG_BASE,
  VHOST_USER_GET_VRING_BASE,
  VHOST_USER_GET_PROTOCOL_FEATURES,
  VHOST_USER_GET_QUEUE_NUM,
  VHOST_USER_GET_CONFIG,
  VHOST_USER_GET_INFLIGHT_FD,
  VHOST_USER_GET_MAX_MEM_SLOTS,
  VHOST_USER_GET_INFLIGHT_FD,
  VHOST_USER_GET_STATUS,
]);

/** Whether `request` has an answer of its own, whatever REPLY_ACK says. */
export function hasOwnReply(request: number): boolean {
  return ANSWERED.has(request);
}

/** Kinds of the answers that are not a u64. */
const REPLY_KINDS: ReadonlyMap<number, PayloadKind> = new Map<number, PayloadKind>([
  [VHOST_USER_GET_VRING_BASE, "vringState"],
  [VHOST_USER_GET_CONFIG, "config"],
  [VHOST_USER_GET_INFLIGHT_FD, "inflight"],
]);

export interface VhostUserHeader {
  readonly request: number;
  readonly flags: number;
  readonly sizeBytes: number;
}

/** The first 12 bytes. Throws when the version is not 1 or the payload larger than any message has. */
export function parseVhostUserHeader(bytes: Uint8Array): VhostUserHeader {
  if (bytes.byteLength < VHOST_USER_HEADER_SIZE) throw malformed("header", 0, `${bytes.byteLength} bytes`);
  const view = viewOver(bytes);
  const flags = view.getUint32(4, true);
  const sizeBytes = view.getUint32(8, true);
  if ((flags & VHOST_USER_VERSION_MASK) !== VHOST_USER_VERSION) {
    throw malformed("flags", 4, `version ${flags & VHOST_USER_VERSION_MASK}`);
  }
  if (sizeBytes > VHOST_USER_PAYLOAD_SIZE_MAX) throw malformed("size", 8, `${sizeBytes} bytes`);
  return { request: view.getUint32(0, true), flags, sizeBytes };
}

/** One whole message, header and payload, and nothing behind it. */
export function parseVhostUserMessage(bytes: Uint8Array): VhostUserMessage {
  const { request, flags, sizeBytes } = parseVhostUserHeader(bytes);
  if (bytes.byteLength !== VHOST_USER_HEADER_SIZE + sizeBytes) {
    throw malformed("size", 8, `${sizeBytes} bytes in a message of ${bytes.byteLength}`);
  }
  const isReply = (flags & VHOST_USER_REPLY_FLAG) !== 0;
  const kind = isReply ? (REPLY_KINDS.get(request) ?? "u64") : (REQUEST_KINDS.get(request) ?? "opaque");
  return { request, flags, payload: parsePayload(kind, bytes.subarray(VHOST_USER_HEADER_SIZE)) };
}

function parsePayload(kind: PayloadKind, bytes: Uint8Array): VhostUserPayload {
  const view = viewOver(bytes);
  const size = bytes.byteLength;
  switch (kind) {
    case "none":
      expectSize(size, 0);
      return { kind };
    case "u64":
      expectSize(size, 8);
      return { kind, value: view.getBigUint64(0, true) };
    case "vringState":
      expectSize(size, 8);
      return { kind, index: view.getUint32(0, true), num: view.getUint32(4, true) };
    case "vringAddress":
      expectSize(size, 40);
      return {
        kind,
        index: view.getUint32(0, true),
        flags: view.getUint32(4, true),
        descriptors: getAddress(view, 8, "descriptors"),
        used: getAddress(view, 16, "used"),
        available: getAddress(view, 24, "available"),
        log: getAddress(view, 32, "log"),
      };
    case "memoryTable":
      return { kind, regions: parseRegions(view) };
    case "memoryRegion":
      expectSize(size, 8 + REGION_SIZE);
      return { kind, region: parseRegion(view, 8) };
    case "log":
      expectSize(size, 16);
      return { kind, sizeBytes: getAddress(view, 0, "log size"), offset: getAddress(view, 8, "log offset") };
    case "inflight":
      return { kind, inflight: parseInflight(view) };
    case "config":
      return parseConfig(view, bytes);
    case "opaque":
      return { kind, bytes: bytes.slice() };
  }
}

function parseRegions(view: DataView): VhostUserRegion[] {
  if (view.byteLength < 8) throw malformed("regions", 12, `${view.byteLength} bytes`);
  const count = view.getUint32(0, true);
  if (count > VHOST_USER_REGIONS_MAX) throw malformed("regions", 12, `${count} regions`);
  expectSize(view.byteLength, 8 + count * REGION_SIZE);
  const regions: VhostUserRegion[] = [];
  for (let at = 8; at < view.byteLength; at += REGION_SIZE) regions.push(parseRegion(view, at));
  return regions;
}

function parseRegion(view: DataView, at: number): VhostUserRegion {
  return {
    guestAddress: getAddress(view, at, "guest address"),
    sizeBytes: getAddress(view, at + 8, "memory size"),
    userAddress: getAddress(view, at + 16, "user address"),
    fileOffset: getAddress(view, at + 24, "mmap offset"),
  };
}

function parseInflight(view: DataView): VhostUserInflight {
  // The specification names 20 bytes; a C structure of them has 24, and that is what front-ends send and expect.
  if (view.byteLength !== INFLIGHT_SIZE - 4) expectSize(view.byteLength, INFLIGHT_SIZE);
  return {
    sizeBytes: getAddress(view, 0, "inflight size"),
    fileOffset: getAddress(view, 8, "inflight offset"),
    queueCount: view.getUint16(16, true),
    queueSize: view.getUint16(18, true),
  };
}

function parseConfig(view: DataView, bytes: Uint8Array): VhostUserPayload {
  if (view.byteLength < 12) throw malformed("config", 12, `${view.byteLength} bytes`);
  const length = view.getUint32(4, true);
  if (length > CONFIG_SIZE_MAX) throw malformed("config size", 16, `${length} bytes`);
  expectSize(view.byteLength, 12 + length);
  return {
    kind: "config",
    offset: view.getUint32(0, true),
    flags: view.getUint32(8, true),
    bytes: bytes.slice(12),
  };
}

/** The bytes of `message`. The caller keeps numbers within their fields. */
export function encodeVhostUserMessage(message: VhostUserMessage): Uint8Array {
  const payload = encodePayload(message.payload);
  const bytes = new Uint8Array(VHOST_USER_HEADER_SIZE + payload.byteLength);
  const view = viewOver(bytes);
  view.setUint32(0, message.request, true);
  view.setUint32(4, message.flags, true);
  view.setUint32(8, payload.byteLength, true);
  bytes.set(payload, VHOST_USER_HEADER_SIZE);
  return bytes;
}

function encodePayload(payload: VhostUserPayload): Uint8Array {
  switch (payload.kind) {
    case "none":
      return new Uint8Array(0);
    case "u64":
      return new Uint8Array(BigUint64Array.of(payload.value).buffer);
    case "vringState":
      return new Uint8Array(Uint32Array.of(payload.index, payload.num).buffer);
    case "vringAddress": {
      const { index, flags, descriptors, used, available, log } = payload;
      const bytes = new Uint8Array(40);
      bytes.set(new Uint8Array(Uint32Array.of(index, flags).buffer));
      bytes.set(encodeAddresses([descriptors, used, available, log]), 8);
      return bytes;
    }
    case "memoryTable": {
      const bytes = new Uint8Array(8 + payload.regions.length * REGION_SIZE);
      viewOver(bytes).setUint32(0, payload.regions.length, true);
      payload.regions.forEach((region, i) => {
        bytes.set(encodeRegion(region), 8 + i * REGION_SIZE);
      });
      return bytes;
    }
    case "memoryRegion": {
      const bytes = new Uint8Array(8 + REGION_SIZE);
      bytes.set(encodeRegion(payload.region), 8);
      return bytes;
    }
    case "log":
      return encodeAddresses([payload.sizeBytes, payload.offset]);
    case "inflight": {
      const { sizeBytes, fileOffset, queueCount, queueSize } = payload.inflight;
      const bytes = new Uint8Array(INFLIGHT_SIZE);
      bytes.set(encodeAddresses([sizeBytes, fileOffset]));
      bytes.set(new Uint8Array(Uint16Array.of(queueCount, queueSize).buffer), 16);
      return bytes;
    }
    case "config": {
      const bytes = new Uint8Array(12 + payload.bytes.byteLength);
      bytes.set(
        new Uint8Array(Uint32Array.of(payload.offset, payload.bytes.byteLength, payload.flags).buffer),
      );
      bytes.set(payload.bytes, 12);
      return bytes;
    }
    case "opaque":
      return payload.bytes;
  }
}

function encodeRegion({ guestAddress, sizeBytes, userAddress, fileOffset }: VhostUserRegion): Uint8Array {
  return encodeAddresses([guestAddress, sizeBytes, userAddress, fileOffset]);
}

function encodeAddresses(values: readonly number[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values, (value) => BigInt(value)).buffer);
}

function getAddress(view: DataView, at: number, field: string): number {
  const high = view.getUint32(at + 4, true);
  if (high >= 0x20_0000) throw malformed(field, VHOST_USER_HEADER_SIZE + at, "not below 2^53");
  return high * 0x1_0000_0000 + view.getUint32(at, true);
}

function expectSize(actual: number, expected: number): void {
  if (actual !== expected) throw malformed("size", 8, `${actual} bytes, not ${expected}`);
}

function malformed(field: string, offset: number, found: string): PlinthError {
  return new PlinthError("VHOST_USER_MALFORMED", `vhost-user message: ${field} at byte ${offset}: ${found}`, {
    context: { field, offset },
  });
}

function viewOver(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
