// Requests that `plinth ofctl` alone sends, as bytes: what a version has no message of our codec for. Pure.
// Source: OpenFlow Switch Specification 1.4.1, 7.3.4.1, 7.3.5.15 and 7.3.5.16; for Nicira's what ovs-ofctl(8) says of
// the commands that send them.

import {
  NX_EXPERIMENTER,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP12_VERSION,
  OFP13_VERSION,
  OFP14_VERSION,
  OFPG_ALL,
} from "../../base/openflow/index.js";

const OFPT_VENDOR = 4;
const OFPT_TABLE_MOD = 17;
const OFPST_VENDOR = 0xffff;
const OFPMP_TABLE_DESC = 14;
const OFPMP_QUEUE_DESC = 15;
const NXST_IPFIX_BRIDGE = 3;
const NXST_IPFIX_FLOW = 4;
const NXST_GROUP = 7;
const NXST_GROUP_DESC = 8;
const NXST_GROUP_FEATURES = 9;
const NXT_TLV_TABLE_MOD = 24;
const NXT_TLV_TABLE_REQUEST = 25;
const NXT_CT_FLUSH_ZONE = 29;
const NXT_CT_FLUSH = 32;
const OFPTC_EVICTION = 1 << 2;
const OFPTC_VACANCY_EVENTS = 1 << 3;
const TMPT_VACANCY = 3;

/** Makes the bytes for the version that was agreed on. */
export type RequestBytes = (version: number, xid: number) => Uint8Array;

function message(version: number, type: number, xid: number, body: readonly number[]): Uint8Array {
  const length = 8 + body.length;
  return Uint8Array.of(version, type, length >> 8, length & 0xff, ...u32(xid), ...body);
}

function u16(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}

function multipart(type: number, body: readonly number[]): RequestBytes {
  return (version, xid) => {
    const isOld = version === OFP10_VERSION;
    const head = [...u16(type), 0, 0, ...(isOld ? [] : [0, 0, 0, 0])];
    return message(version, isOld ? 16 : 18, xid, [...head, ...body]);
  };
}

/** Nicira's statistics: in 1.0 four bytes of padding stand behind the number. */
function niciraMultipart(subtype: number, body: readonly number[]): RequestBytes {
  return (version, xid) => {
    const padding = version === OFP10_VERSION ? [0, 0, 0, 0] : [];
    const head = [...u32(NX_EXPERIMENTER), ...u32(subtype), ...padding];
    return multipart(OFPST_VENDOR, [...head, ...body])(version, xid);
  };
}

function nicira(subtype: number, body: readonly number[]): RequestBytes {
  return (version, xid) =>
    message(version, OFPT_VENDOR, xid, [...u32(NX_EXPERIMENTER), ...u32(subtype), ...body]);
}

export const askTables: RequestBytes = multipart(OFPMP_TABLE_DESC, []);

export function askQueues(port: number, queueId: number): RequestBytes {
  return multipart(OFPMP_QUEUE_DESC, [...u32(port), ...u32(queueId)]);
}

/** Groups in 1.0 are Nicira's. */
export function askGroups10(kind: "group" | "group_desc", groupId: number): RequestBytes {
  const subtype = kind === "group" ? NXST_GROUP : NXST_GROUP_DESC;
  return niciraMultipart(subtype, [...u32(groupId), 0, 0, 0, 0]);
}

export const askGroupFeatures10: RequestBytes = niciraMultipart(NXST_GROUP_FEATURES, []);

/** One group's description, in 1.5. */
export function askGroupDescription15(groupId: number): RequestBytes {
  return multipart(7, [...u32(groupId), 0, 0, 0, 0]);
}

export function askPort15(port: number): RequestBytes {
  return multipart(13, [...u32(port), 0, 0, 0, 0]);
}

export function askIpfix(which: "bridge" | "flow"): RequestBytes {
  return niciraMultipart(which === "bridge" ? NXST_IPFIX_BRIDGE : NXST_IPFIX_FLOW, []);
}

// --- Options of tunnels

export interface TunnelOption {
  readonly optionClass: number;
  readonly type: number;
  readonly length: number;
  readonly field: number;
}

export const TLV_ADD = 0;
export const TLV_DELETE = 1;
export const TLV_CLEAR = 2;

export function changeTunnelOptions(command: number, options: readonly TunnelOption[]): RequestBytes {
  const each = options.flatMap(({ optionClass, type, length, field }) => [
    ...[...u16(optionClass), type, length, ...u16(field), 0, 0],
  ]);
  return nicira(NXT_TLV_TABLE_MOD, [...u16(command), 0, 0, 0, 0, 0, 0, ...each]);
}

export const askTunnelOptions: RequestBytes = nicira(NXT_TLV_TABLE_REQUEST, []);

// --- Connections

export function flushZone(zone: number): RequestBytes {
  return nicira(NXT_CT_FLUSH_ZONE, [0, 0, 0, 0, 0, 0, ...u16(zone)]);
}

/** `properties` follow the protocol, each with its own padding. */
export function flushConnections(protocol: number, properties: readonly number[]): RequestBytes {
  return nicira(NXT_CT_FLUSH, [protocol, 0, 0, 0, 0, 0, 0, 0, ...properties]);
}

// --- Tables

export type TableSetting =
  | { readonly kind: "miss"; readonly miss: "controller" | "continue" | "drop" }
  | { readonly kind: "eviction"; readonly isOn: boolean }
  | { readonly kind: "vacancy"; readonly range: readonly [down: number, up: number] | undefined };

/** What a table keeps of its configuration when the other setting changes. */
export interface TableConfig {
  readonly eviction: boolean;
  readonly vacancy: boolean;
}

export function changeTable(tableId: number, setting: TableSetting, kept: TableConfig): RequestBytes {
  return (version, xid) => {
    if (setting.kind === "miss") {
      const miss = ["controller", "continue", "drop"].indexOf(setting.miss);
      return message(version, OFPT_TABLE_MOD, xid, [tableId, 0, 0, 0, ...u32(miss)]);
    }
    const eviction = setting.kind === "eviction" ? setting.isOn : kept.eviction;
    const range = setting.kind === "vacancy" ? setting.range : undefined;
    const vacancy = setting.kind === "vacancy" ? range !== undefined : kept.vacancy;
    const config = (eviction ? OFPTC_EVICTION : 0) | (vacancy ? OFPTC_VACANCY_EVENTS : 0);
    const [down, up] = range ?? [0, 0];
    const property = range === undefined ? [] : [...u16(TMPT_VACANCY), ...u16(8), down, up, 0, 0];
    return message(version, OFPT_TABLE_MOD, xid, [tableId, 0, 0, 0, ...u32(config), ...property]);
  };
}

/** The versions that have `setting`, as ovs-ofctl names them. */
export function versionsOf({ kind }: TableSetting): readonly number[] {
  return kind === "miss" ? [OFP11_VERSION, OFP12_VERSION] : [OFP14_VERSION, OFP14_VERSION + 1];
}

export { OFP13_VERSION, OFPG_ALL };
