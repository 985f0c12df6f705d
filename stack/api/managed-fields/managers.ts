// metadata.managedFields read and written: who manages which fields. Pure.
// A manager is known by its name, its operation and the subresource that it writes through; entries that share these
// are one. Updates of many managers are bounded: the oldest are kept together as "ancient-changes".
// Source: Kubernetes API reference, ManagedFieldsEntry v1 meta.
import { isObject } from "../../../base/json/index.js";
import type { FieldErrors, ManagedFieldsEntry } from "../../resources/index.js";
import { UPDATE_MANAGERS_MAX } from "../limits.js";
import {
  difference,
  encodeFields,
  type FieldSet,
  FieldsError,
  isEmpty,
  parseFields,
  union,
} from "./field-set.js";

export interface ManagerName {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly subresource?: "status" | undefined;
}

export interface Manager extends ManagerName {
  readonly apiVersion: string;
  readonly time: string | undefined;
  readonly fields: FieldSet;
}

export type Managers = ReadonlyMap<string, Manager>;

export const MANAGER_LENGTH_MAX = 128;
export const BEFORE_FIRST_APPLY = "before-first-apply";
const ANCIENT = "ancient-changes";

export function managerKey({ manager, operation, subresource }: ManagerName): string {
  return JSON.stringify([operation, manager, subresource ?? ""]);
}

/** Of entries that are known to be well-formed: those of a stored object, or validated ones. */
export function readManagers(entries: readonly ManagedFieldsEntry[] | undefined): Managers {
  const managers = new Map<string, Manager>();
  for (const entry of entries ?? []) {
    if (entry.operation === undefined) continue;
    const { manager = "", operation, apiVersion = "", time } = entry;
    const subresource = entry.subresource === "status" ? ("status" as const) : undefined;
    const key = managerKey({ manager, operation, subresource });
    const before = managers.get(key);
    const fields = parseFields(entry.fieldsV1 ?? {});
    managers.set(key, {
      manager,
      operation,
      subresource,
      apiVersion,
      time: before?.time !== undefined && (time === undefined || before.time > time) ? before.time : time,
      fields: before === undefined ? fields : union(before.fields, fields),
    });
  }
  return managers;
}

/** Applied configurations first, then by time and name. */
export function writeManagers(managers: Managers): ManagedFieldsEntry[] {
  const order = ({ operation, time, manager, subresource }: Manager): string =>
    [operation, time ?? "", manager, subresource ?? ""].join("\0");
  const kept = bounded([...managers.values()].filter(({ fields }) => !isEmpty(fields))).sort((a, b) =>
    order(a) < order(b) ? -1 : 1,
  );
  return kept.map(({ manager, operation, apiVersion, time, fields, subresource }) => ({
    manager,
    operation,
    apiVersion,
    ...(time === undefined ? {} : { time }),
    fieldsType: "FieldsV1",
    fieldsV1: encodeFields(fields),
    ...(subresource === undefined ? {} : { subresource }),
  }));
}

function bounded(managers: Manager[]): Manager[] {
  const updates = managers.filter(({ operation }) => operation === "Update");
  const excess = updates.length - UPDATE_MANAGERS_MAX;
  if (excess <= 0) return managers;
  // One more goes, to make room for what they become together.
  const oldest = updates.sort((a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1)).slice(0, excess + 1);
  const newest = oldest.at(-1) as Manager;
  const together: Manager = {
    manager: ANCIENT,
    operation: "Update",
    apiVersion: newest.apiVersion,
    time: newest.time,
    fields: oldest.map(({ fields }) => fields).reduce(union),
  };
  return [...managers.filter((each) => !oldest.includes(each)), together];
}

/** Everybody but `except` without `fields`; those who have nothing left are gone. */
export function without(
  managers: Managers,
  fields: FieldSet,
  except: string | undefined,
): Map<string, Manager> {
  const result = new Map<string, Manager>();
  for (const [key, each] of managers) {
    const left = key === except ? each : { ...each, fields: difference(each.fields, fields) };
    if (!isEmpty(left.fields)) result.set(key, left);
  }
  return result;
}

/** A list of one empty entry is how a client asks that owners be forgotten. */
export function isReset(entries: readonly ManagedFieldsEntry[] | undefined): boolean {
  return entries?.length === 1 && Object.keys(entries[0] ?? {}).length === 0;
}

/** What a client sends as metadata.managedFields. */
export function validateManagedFields(
  entries: readonly ManagedFieldsEntry[] | undefined,
  apiVersion: string,
  errors: FieldErrors,
): void {
  if (isReset(entries)) return;
  for (const [i, entry] of (entries ?? []).entries()) {
    const at = `metadata.managedFields[${i}]`;
    if (entry.operation === undefined) errors.required(`${at}.operation`, "Apply or Update");
    validateManagerName(entry.manager, `${at}.manager`, errors);
    if (entry.operation === "Apply" && !entry.manager)
      errors.required(`${at}.manager`, "who applies has a name");
    if (entry.apiVersion !== apiVersion)
      errors.invalid(`${at}.apiVersion`, entry.apiVersion ?? null, `must be ${apiVersion}`);
    if (entry.fieldsType !== undefined && entry.fieldsType !== "FieldsV1")
      errors.invalid(`${at}.fieldsType`, entry.fieldsType, "must be `FieldsV1`");
    if (entry.subresource !== undefined && entry.subresource !== "status" && entry.subresource !== "")
      errors.notSupported(`${at}.subresource`, entry.subresource, ["status"]);
    validateFields(entry.fieldsV1, `${at}.fieldsV1`, errors);
  }
}

function validateFields(value: unknown, field: string, errors: FieldErrors): void {
  if (value === undefined) return;
  if (!isObject(value)) {
    errors.wrongType(field, value, "an object");
    return;
  }
  try {
    parseFields(value);
  } catch (thrown) {
    if (!(thrown instanceof FieldsError)) throw thrown;
    errors.invalid(field, "…", thrown.message);
  }
}

export function validateManagerName(name: string | undefined, field: string, errors: FieldErrors): void {
  if (name === undefined) return;
  if (name.length > MANAGER_LENGTH_MAX) errors.tooLong(field, MANAGER_LENGTH_MAX);
  else if (!/^\P{C}*$/u.test(name)) errors.invalid(field, name, "should only contain printable characters");
}
