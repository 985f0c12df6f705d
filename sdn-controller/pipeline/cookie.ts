// Cookies lead from a flow back to the resource and rule that made it. They are computed from names alone, so that a
// restarted controller asks for exactly the flows that are already there. Pure.
//
//   63      56 55      48 47            32 31                          0
//  ┌──────────┬──────────┬────────────────┬─────────────────────────────┐
//  │ table + 1│  reason  │  rule's number │  hash of "Kind/namespace/…" │
//  └──────────┴──────────┴────────────────┴─────────────────────────────┘
import { hash32 } from "../network/hash.js";
import { DROP_REASONS, type DropReason, TABLE_NAMES, TABLES, type TableName } from "./tables.js";

/** Where a flow comes from. */
export interface Origin {
  /** "Kind/namespace/name", or "Pipeline" for flows that are always there. */
  readonly resource: string;
  /** By which its policy knows the rule. */
  readonly ruleId?: number;
  /** Given exactly when the flow drops. */
  readonly reason?: DropReason;
}

export function cookieOf(table: TableName, origin: Origin): bigint {
  const high =
    (TABLES[table].id + 1) * 2 ** 24 +
    (origin.reason === undefined ? 0 : DROP_REASONS[origin.reason]) * 2 ** 16 +
    ((origin.ruleId ?? 0) & 0xffff);
  parts.setUint32(0, high);
  parts.setUint32(4, hash32(origin.resource));
  return parts.getBigUint64(0);
}

/** One bigint is made, not one for each part. */
const parts = new DataView(new ArrayBuffer(8));

/** Flows whose cookie has `value` in the bits of `mask`, which are among the lowest 31. All flows for 0 and 0. */
export interface CookieSlice {
  readonly mask: number;
  readonly value: number;
}

/** Slices of about `perSlice` flows each, out of `flowCount`: every flow is in exactly one, whoever made it. */
export function cookieSlices(flowCount: number, perSlice: number): number {
  let slices = 1;
  while (slices < SLICES_MAX && flowCount / slices > perSlice) slices *= 2;
  return slices;
}

const SLICES_MAX = 2 ** 16;

export function isInSlice(cookie: bigint, { mask, value }: CookieSlice): boolean {
  return (Number(cookie & 0x7fffffffn) & mask) === value;
}

/** Register 7: what denied a packet, in which direction. */
export function causeHash(direction: "Ingress" | "Egress", resource: string): number {
  return hash32(`${direction} ${resource}`);
}

export interface CookieParts {
  readonly table: TableName;
  readonly reason: DropReason | undefined;
  readonly ruleId: number;
  readonly resourceHash: number;
}

const REASON_BY_CODE = new Map<number, DropReason>(
  (Object.keys(DROP_REASONS) as DropReason[]).map((reason) => [DROP_REASONS[reason], reason]),
);

/** The parts of a cookie; undefined when no flow of ours has such a cookie. */
export function parseCookie(cookie: bigint): CookieParts | undefined {
  const table = TABLE_NAMES.find((name) => TABLES[name].id + 1 === Number(cookie >> 56n));
  if (table === undefined) return undefined;
  return {
    table,
    reason: REASON_BY_CODE.get(Number((cookie >> 48n) & 0xffn)),
    ruleId: Number((cookie >> 32n) & 0xffffn),
    resourceHash: Number(cookie & 0xffffffffn),
  };
}
