// OpenFlow 1.3 messages made by hand, so that they may be wrong: what no encoder of ours would write.
// Source: OpenFlow Switch Specification 1.3.5, 7.2 and 7.3.

export type Bytes = readonly number[];

export const u16 = (n: number): Bytes => [(n >>> 8) & 255, n & 255];
export const u32 = (n: number): Bytes => [...u16(n >>> 16), ...u16(n)];
export const u64 = (n: bigint): Bytes => [...u32(Number(n >> 32n)), ...u32(Number(n & 0xffffffffn))];
export const pad = (n: number): Bytes => new Array<number>(n).fill(0);
export const cat = (...parts: readonly Bytes[]): Bytes => parts.flat();
const padded = (bytes: Bytes): Bytes => cat(bytes, pad((8 - (bytes.length % 8)) % 8));

/** A whole message; `length` other than its own is a lie. */
export function message(type: number, body: Bytes, { version = 4, length = 8 + body.length } = {}): Bytes {
  return cat([version, type], u16(length), u32(0x1234), body);
}

// --- Matches

export const OXM_BASIC = 0x8000;

/** One OXM TLV; `length` other than that of the payload is a lie. */
export function oxm(
  field: number,
  payload: Bytes,
  { mask = false, class: oxmClass = OXM_BASIC } = {},
): Bytes {
  return cat(u16(oxmClass), [(field << 1) | (mask ? 1 : 0), payload.length], payload);
}

export function match(...fields: readonly Bytes[]): Bytes {
  const body = fields.flat();
  return padded(cat(u16(1), u16(4 + body.length), body));
}

export const ethType = (type: number): Bytes => oxm(5, u16(type));
export const ipv4 = ethType(0x0800);
export const ipv6 = ethType(0x86dd);
export const ipProto = (protocol: number): Bytes => oxm(10, [protocol]);

// --- Actions and instructions

/** `body` is what follows type and length; the whole is padded to 8 bytes. */
export function action(type: number, body: Bytes, length?: number): Bytes {
  const whole = padded(cat(u16(type), u16(0), body));
  return cat(u16(type), u16(length ?? whole.length), whole.slice(4));
}

export const output = (port: number, maxLength = 0): Bytes =>
  action(0, cat(u32(port), u16(maxLength), pad(6)));
export const setField = (tlv: Bytes): Bytes => action(25, tlv);
export const nicira = (subtype: number, body: Bytes): Bytes =>
  action(0xffff, cat(u32(0x2320), u16(subtype), body));

export function instruction(type: number, body: Bytes, length = 4 + body.length): Bytes {
  return cat(u16(type), u16(length), body);
}

export const gotoTable = (table: number): Bytes => instruction(1, [table, 0, 0, 0]);
export const writeActions = (...actions: readonly Bytes[]): Bytes => instruction(3, cat(pad(4), ...actions));
export const applyActions = (...actions: readonly Bytes[]): Bytes => instruction(4, cat(pad(4), ...actions));
export const meterInstruction = (id: number): Bytes => instruction(6, u32(id));

// --- Changes

export interface FlowModParts {
  readonly command?: number;
  readonly table?: number;
  readonly priority?: number;
  readonly buffer?: number;
  readonly outPort?: number;
  readonly outGroup?: number;
  readonly flags?: number;
  readonly match?: Bytes;
  readonly instructions?: readonly Bytes[];
}

export function flowMod(parts: FlowModParts = {}): Bytes {
  const { command = 0, table = 0, priority = 1, buffer = 0xffffffff, flags = 0 } = parts;
  const { outPort = 0xffffffff, outGroup = 0xffffffff, match: fields = match(), instructions = [] } = parts;
  return message(
    14,
    cat(
      ...[u64(0n), u64(0n), [table, command], u16(0), u16(0), u16(priority), u32(buffer)],
      ...[u32(outPort), u32(outGroup), u16(flags), pad(2), fields, ...instructions],
    ),
  );
}

export function bucket(
  actions: readonly Bytes[],
  { weight = 0, watchPort = 0xffffffff, watchGroup = 0xffffffff, length = 0 } = {},
): Bytes {
  const body = cat(u16(weight), u32(watchPort), u32(watchGroup), pad(4), ...actions);
  return cat(u16(length === 0 ? 2 + body.length : length), body);
}

export const groupMod = (command: number, type: number, id: number, ...buckets: readonly Bytes[]): Bytes =>
  message(15, cat(u16(command), [type, 0], u32(id), ...buckets));

export const band = (type: number, rate: number, burst = 0, rest: Bytes = pad(4), length = 16): Bytes =>
  cat(u16(type), u16(length), u32(rate), u32(burst), rest);

export const meterMod = (command: number, flags: number, id: number, ...bands: readonly Bytes[]): Bytes =>
  message(29, cat(u16(command), u16(flags), u32(id), ...bands));

export const multipart = (type: number, body: Bytes = [], flags = 0): Bytes =>
  message(18, cat(u16(type), u16(flags), pad(4), body));

export function packetOut(
  actions: readonly Bytes[],
  { buffer = 0xffffffff, inPort = 0xfffffffd, size = 60, actionsLength = actions.flat().length } = {},
): Bytes {
  return message(13, cat(u32(buffer), u32(inPort), u16(actionsLength), pad(6), ...actions, pad(size)));
}
