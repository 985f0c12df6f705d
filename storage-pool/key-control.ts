// The control methods of keys: giving a pool its key or another one, and unlocking what is encrypted. Thread: main.
import type { ControlMethod } from "../base/jsonrpc/index.js";
import { storageError } from "./errors.js";
import type { NewSource } from "./keys/pool-keys.js";
import { PASSPHRASE_LENGTH_MAX, PASSPHRASE_LENGTH_MIN } from "./limits.js";
import { absolutePath, type Params } from "./parameters.js";
import { openPoolOf, type PoolView, poolView } from "./pool-control.js";
import type { StorageDaemon } from "./storaged.js";

/** Method name → what it does. */
export function keyMethods(daemon: StorageDaemon): Record<string, ControlMethod> {
  const alone =
    (method: (daemon: StorageDaemon, params: Params) => Promise<unknown>): ControlMethod =>
    (params) =>
      daemon.exclusive(() => method(daemon, params));
  return { "pool.rekey": alone(rekeyPool), "pool.unlock": alone(unlockPool) };
}

/** The pool gets its first key or another one; data is not touched. */
async function rekeyPool(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  await daemon.keys.of(name).rekey(newSource(params));
  return poolView(daemon, name);
}

async function unlockPool(daemon: StorageDaemon, params: Params): Promise<PoolView> {
  const { name } = openPoolOf(daemon, params);
  const passphrase = params["passphrase"] === undefined ? undefined : passphraseOf(params, 1);
  await daemon.keys.of(name).unlock(passphrase);
  await daemon.keys.send(name);
  return poolView(daemon, name);
}

function newSource(params: Params): NewSource {
  const given = ["keyFile", "passphraseFile", "passphrase"].filter((field) => params[field] !== undefined);
  if (given.length !== 1) {
    throw storageError("PARAMETER_INVALID", "give one of keyFile, passphraseFile and passphrase", {
      field: given[1] ?? "keyFile",
    });
  }
  if (given[0] === "keyFile") return { kind: "file", path: absolutePath(params, "keyFile") };
  if (given[0] === "passphraseFile") {
    return { kind: "passphrase", path: absolutePath(params, "passphraseFile") };
  }
  return { kind: "passphrase", path: "", passphrase: passphraseOf(params, PASSPHRASE_LENGTH_MIN) };
}

/** Never shown in a message. */
function passphraseOf(params: Params, least: number): string {
  const given = params["passphrase"];
  const good = typeof given === "string" && given.length >= least && given.length <= PASSPHRASE_LENGTH_MAX;
  if (good) return given;
  throw storageError(
    "PARAMETER_INVALID",
    `passphrase must be a text of ${least} to ${PASSPHRASE_LENGTH_MAX} characters`,
    { field: "passphrase" },
  );
}
