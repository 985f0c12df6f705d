// What the actions inside ct(exec(…)) make of a key, for traces: the mark and the label that are asked for, and what each
// move has written. Source: ovs-actions(7), ct. Pure. Thread: datapath worker. Hot: no.
import type { Action, BitRange, CtAction } from "../../base/openflow/index.js";
import { getBits, keyField, ones, putBits, toBigInt } from "./fields.js";

type Target = "ct_mark" | "ct_label";

/** Bits that are set, and to what. */
interface Wanted {
  value: bigint;
  mask: bigint;
}

export interface CtExec {
  readonly ct_mark: Readonly<Wanted>;
  readonly ct_label: Readonly<Wanted>;
  /** Of each of the actions, the value that a move has written; undefined for others. */
  readonly moved: readonly (bigint | undefined)[];
}

/** `key` is the packet's as it comes to the ct(). */
export function execOf({ actions }: CtAction, key: Int32Array): CtExec {
  const wanted = { ct_mark: { value: 0n, mask: 0n }, ct_label: { value: 0n, mask: 0n } };
  const read = ({ field, offset, bits }: BitRange): bigint => {
    const place = keyField(field);
    if (place === undefined) return 0n;
    const before = getBits(key, place.start, place.bits);
    const now = isTarget(field) ? (before & ~wanted[field].mask) | wanted[field].value : before;
    return (now >> BigInt(offset)) & ones(bits);
  };
  const write = (field: Target, value: bigint, mask: bigint): void => {
    const one = wanted[field];
    one.value = (one.value & ~mask) | (value & mask);
    one.mask |= mask;
  };
  const moved = actions.map((action): bigint | undefined => {
    if (action.type === "set_field" && isTarget(action.field)) {
      const all = ones(action.field === "ct_mark" ? 32 : 128);
      write(action.field, toBigInt(action.value), action.mask === undefined ? all : toBigInt(action.mask));
      return undefined;
    }
    if (action.type !== "load" && action.type !== "move") return undefined;
    const { field, offset, bits } = action.destination;
    if (!isTarget(field)) return undefined;
    const value = action.type === "load" ? action.value : read(action.source);
    write(field, value << BigInt(offset), ones(bits) << BigInt(offset));
    return action.type === "load" ? undefined : value;
  });
  return { ...wanted, moved };
}

/** Mark and label of the key become what the actions make of them. */
export function writeExec(exec: CtExec, key: Int32Array): void {
  for (const field of ["ct_mark", "ct_label"] as const) {
    const { value, mask } = exec[field];
    const place = keyField(field);
    if (place === undefined || mask === 0n) continue;
    const before = getBits(key, place.start, place.bits);
    key.fill(0, place.start >>> 5, (place.start + place.bits) >>> 5);
    putBits(key, place.start, place.bits, (before & ~mask) | value);
  }
}

/** What the actions read of the packet; mark and label are theirs. */
export function sourcesOf({ actions }: CtAction): BitRange[] {
  return actions.flatMap((action: Action) =>
    action.type === "move" && !isTarget(action.source.field) ? [action.source] : [],
  );
}

function isTarget(field: string): field is Target {
  return field === "ct_mark" || field === "ct_label";
}
