// The control side of compression: reading it from parameters, keeping it, telling the worker. Thread: main.
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { compressionOf } from "./catalogue/volume-spec.js";
import { findVolume } from "./control.js";
import { storageError } from "./errors.js";
import { compression, type Params } from "./parameters.js";
import type { StorageDaemon } from "./storaged.js";
import type { Compression } from "./volume/compression.js";

/** `compression`; undefined when it is not given. Throws PARAMETER_INVALID, also for what ciphertext would not win by. */
export function volumeCompression(params: Params, isEncrypted: boolean): Compression | undefined {
  const given = compression(params);
  if (!isEncrypted || given === undefined || given === "none") return given;
  throw storageError("PARAMETER_INVALID", "compression must be none for an encrypted volume", {
    field: "compression",
    remedy: "what is encrypted does not shrink, and whoever compresses on the disks has no key",
  });
}

export async function setCompression(
  daemon: StorageDaemon,
  entry: VolumeEntry,
  wanted: Compression,
): Promise<void> {
  if (compressionOf(entry) === wanted) return;
  const { name, pool, id } = entry;
  await daemon.held(pool, () =>
    daemon.catalogue.putVolume({ ...findVolume(daemon, name), compression: wanted }),
  );
  await daemon.target.ask("setCompression", { pool, id, compression: wanted });
}
