// Reading control parameters: they come from outside, each is checked and named when it is wrong. Pure. Thread: main.
import { isAbsolute } from "node:path";
import { PlinthError } from "../base/errors/index.js";
import { storageError } from "./errors.js";
import {
  BLOCK_SIZE,
  COPIES_MAX,
  DISKS_MAX,
  NAME_LENGTH_MAX,
  REWIND_SECONDS_MAX,
  VOLUME_SIZE_BYTES_MAX,
} from "./limits.js";
import { COMPRESSIONS, type Compression, knownCompression } from "./volume/compression.js";

export type Params = Readonly<Record<string, unknown>>;

const LABEL = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

function invalid(field: string, expected: string, got: unknown): never {
  // Numbers that no double holds come as bigints.
  const plain = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);
  const shown =
    typeof got === "bigint" ? String(got) : got === undefined ? "nothing" : JSON.stringify(got, plain);
  throw storageError("PARAMETER_INVALID", `${field} must be ${expected}, not ${shown?.slice(0, 80)}`, {
    field,
  });
}

/** "namespace/volume"; a name alone belongs to the namespace "default". */
export function volumeName(params: Params, field = "name"): string {
  const given = params[field];
  if (typeof given !== "string" || given.length > NAME_LENGTH_MAX)
    invalid(field, `namespace/volume of at most ${NAME_LENGTH_MAX} characters`, given);
  const full = given.includes("/") ? given : `default/${given}`;
  const parts = full.split("/");
  if (parts.length !== 2 || !parts.every((part) => LABEL.test(part))) {
    invalid(field, "namespace/volume in lower-case letters, digits, - and .", given);
  }
  return full;
}

export function label(params: Params, field: string, fallback?: string): string {
  const given = params[field] ?? fallback;
  if (typeof given !== "string" || given.length > NAME_LENGTH_MAX || !LABEL.test(given)) {
    invalid(field, `at most ${NAME_LENGTH_MAX} lower-case letters, digits, - and .`, given);
  }
  return given;
}

const SOCKET_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "its directory is not there",
  ENOTDIR: "it is below something that is no directory",
  EADDRINUSE: "something is there already",
  EACCES: "that is not allowed there",
  EROFS: "the file system is read-only",
  SOCKET_PATH_TOO_LONG: "the path is too long for a socket",
};

/** Why a socket could not be made, as what is wrong with the parameter; other errors as they are. */
export function socketRefusal(thrown: unknown, path: string): unknown {
  const why = thrown instanceof PlinthError ? SOCKET_REASONS[thrown.code] : undefined;
  if (why === undefined) return thrown;
  return storageError("PARAMETER_INVALID", `no socket can be made at ${path}: ${why}`, {
    field: "socket",
    cause: thrown,
  });
}

export function sizeBytes(params: Params): number {
  const given = params["sizeBytes"];
  const good =
    typeof given === "number" && Number.isInteger(given) && given > 0 && given <= VOLUME_SIZE_BYTES_MAX;
  if (!good || given % BLOCK_SIZE !== 0) {
    const most = `${VOLUME_SIZE_BYTES_MAX} (${VOLUME_SIZE_BYTES_MAX / 1024 ** 4} TiB)`;
    invalid("sizeBytes", `a multiple of ${BLOCK_SIZE}, at most ${most}`, given);
  }
  return given;
}

export function copies(params: Params): number {
  const given = params["copies"] ?? 1;
  if (typeof given !== "number" || !Number.isInteger(given) || given < 1 || given > COPIES_MAX) {
    invalid("copies", `1 to ${COPIES_MAX}`, given);
  }
  return given;
}

export function absolutePath(params: Params, field: string): string {
  const given = params[field];
  if (typeof given !== "string" || !isAbsolute(given) || given.includes("\0")) {
    invalid(field, "an absolute path", given);
  }
  return given;
}

export function diskPaths(params: Params): string[] {
  const given = params["disks"];
  const good = Array.isArray(given) && given.length > 0 && given.length <= DISKS_MAX;
  if (!good || !given.every((path) => typeof path === "string" && isAbsolute(path))) {
    invalid("disks", `1 to ${DISKS_MAX} absolute paths`, given);
  }
  if (new Set(given).size !== given.length) invalid("disks", "distinct paths", given);
  return given as string[];
}

export function optionalUid(params: Params): number | undefined {
  const given = params["uid"];
  if (given === undefined || given === null) return undefined;
  if (typeof given !== "number" || !Number.isInteger(given) || given < 0 || given > 0xffff_fffe) {
    invalid("uid", "a user id", given);
  }
  return given;
}

export function flag(params: Params, field: string): boolean {
  const given = params[field] ?? false;
  if (typeof given !== "boolean") invalid(field, "true or false", given);
  return given;
}

export function jobNumber(params: Params, field: string): number {
  const given = params[field];
  if (typeof given !== "number" || !Number.isInteger(given) || given < 1)
    invalid(field, "a job's number", given);
  return given;
}

/** A class of disks, in the user's words; "" when none is given. */
export function className(params: Params): string {
  const given = params["class"];
  return given === undefined || given === null || given === "" ? "" : label(params, "class");
}

/** `rewindSeconds` in milliseconds; undefined when it is not given. */
export function rewindWindow(params: Params): number | undefined {
  const given = params["rewindSeconds"];
  if (given === undefined || given === null) return undefined;
  if (typeof given !== "number" || !Number.isInteger(given) || given < 0 || given > REWIND_SECONDS_MAX) {
    invalid("rewindSeconds", `0 to ${REWIND_SECONDS_MAX} seconds`, given);
  }
  return given * 1000;
}

/** `compression`: undefined when it is not given. */
export function compression(params: Params): Compression | undefined {
  const given = params["compression"];
  if (given === undefined || given === null) return undefined;
  return knownCompression(given) ?? invalid("compression", COMPRESSIONS.join(" or "), given);
}

/** A moment in ISO 8601, or milliseconds since 1970; not later than `nowMs`. In milliseconds. */
export function moment(params: Params, field: string, nowMs: number): number {
  const given = params[field];
  const ms = typeof given === "string" ? Date.parse(given) : given;
  if (typeof ms !== "number" || !Number.isSafeInteger(ms) || ms < 0) {
    invalid(field, "a time such as 2026-03-01T12:00:05Z", given);
  }
  if (ms > nowMs) invalid(field, "no later than now", given);
  return ms;
}

/** A whole number from `least` to `most`, or `fallback` when none is given. */
export function whole(params: Params, field: string, least: number, most: number, fallback?: number): number {
  const given = params[field] ?? fallback;
  if (typeof given !== "number" || !Number.isInteger(given) || given < least || given > most) {
    invalid(field, `a whole number from ${least} to ${most}`, given);
  }
  return given;
}

/** Who uses an export, for people; "" when nobody says. */
export function ownerText(params: Params): string {
  const given = params["owner"] ?? "";
  if (typeof given !== "string" || given.length > NAME_LENGTH_MAX) invalid("owner", "a short text", given);
  return given;
}

/** "namespace/volume@snapshot", or {volume, snapshot}. */
export function snapshotReference(given: unknown): { volume: string; snapshot: string } {
  const parts = typeof given === "string" ? given.split("@") : [];
  const from: Params =
    typeof given === "object" && given !== null
      ? (given as Params)
      : { volume: parts[0], snapshot: parts.length === 2 ? parts[1] : undefined };
  try {
    return { volume: volumeName(from, "volume"), snapshot: label(from, "snapshot") };
  } catch (cause) {
    throw storageError("PARAMETER_INVALID", "fromSnapshot must be namespace/volume@snapshot", {
      field: "fromSnapshot",
      cause,
    });
  }
}
