// `plinth volume serve`: volumes of one directory over NBD, with nothing else around. It is a storage daemon of its own
// in the foreground: the directory becomes its pool, a volume that is missing is made. Thread: main.
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import type { Logger } from "../../base/log/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { type RunningDaemon, runDaemon } from "../daemons/daemon.js";
import { openPartDirectory, storageDirectory } from "../daemons/directory.js";
import { type ListenFlags, NBD_PORT, nbdEndpoints, withNbdListen } from "./nbd-options.js";
import { withLogDir, withStorageDir } from "./options.js";
import { parseList, parseSize } from "./storage-call.js";

const CALL_TIMEOUT_MS = 60_000;

interface ServeFlags extends ListenFlags {
  readonly dir?: string;
  readonly disk?: readonly string[];
  readonly size?: number;
  readonly pidFile?: string;
  readonly logDir?: string;
}

export function registerServe(volume: Command): void {
  const command = volume
    .command("serve [names...]")
    .description("serve volumes of DIR over NBD, in the foreground; prints their URIs and then `ready`")
    .option(
      "--disk <path[,path…]>",
      "directories, files or block devices of the pool when it is made (default: disk/ below DIR)",
      parseList,
    )
    .option("--size <size>", "make volumes that are missing, with this size, e.g. 1GiB", parseSize)
    .option("--pid-file <file>", "holds the process number while clients may come");
  withNbdListen(withLogDir(withStorageDir(command)))
    .addHelpText(
      "after",
      `
The first NAME is also the default export; without NAME all volumes are offered, under their names.
Without --listen it listens at localhost:${NBD_PORT}, or on the sockets that it was started with (LISTEN_FDS).

  plinth volume serve scratch --dir /srv/pool --size 10GiB --listen 127.0.0.1
  plinth volume serve scratch@monday --dir /srv/pool --listen /run/scratch.sock --read-only
  nbdinfo -- [ plinth volume serve scratch --dir /srv/pool ]`,
    )
    .action(serve);
}

async function serve(names: readonly string[], flags: ServeFlags): Promise<void> {
  const dir = storageDirectory(flags.dir, true);
  await runDaemon({ name: "volume-serve", logDir: flags.logDir, level: "warn" }, (log) =>
    start(dir, names, flags, log),
  );
}

async function start(
  dir: string,
  names: readonly string[],
  flags: ServeFlags,
  log: Logger,
): Promise<RunningDaemon> {
  const offered = names.length === 0 ? undefined : names;
  const endpoints = await nbdEndpoints(flags, offered, [{ kind: "tcp", host: "127.0.0.1", port: NBD_PORT }]);
  const disks = (flags.disk ?? []).map((path) => resolve(path));
  const { startStoraged } = await import("../../storage-pool/index.js");
  const storaged = await startStoraged({
    dir: openPartDirectory(dir),
    disks,
    firstDisk: join(dir, "disk"),
    log,
  });
  try {
    for (const name of names) await ensureVolume(dir, name, flags.size);
    const uris: string[] = [];
    for (const endpoint of endpoints) uris.push(...(await storaged.serve(endpoint)));
    announce(uris, flags.pidFile);
  } catch (thrown) {
    await storaged.close();
    throw thrown;
  }
  return {
    closed: storaged.closed,
    close: async () => {
      if (flags.pidFile !== undefined) rmSync(flags.pidFile, { force: true });
      await storaged.close();
    },
  };
}

/** Before anybody may come: whoever is there first must find it. */
async function ensureVolume(dir: string, name: string, sizeBytes: number | undefined): Promise<void> {
  const [volume = "", snapshot] = name.split("@");
  const call = (method: string, params: Record<string, unknown>): Promise<unknown> =>
    callControl(join(dir, "control.sock"), method, params, CALL_TIMEOUT_MS);
  let found: VolumeView;
  try {
    found = (await call("volume.get", { name: volume })) as VolumeView;
  } catch (thrown) {
    if (!(thrown instanceof PlinthError) || thrown.code !== "VOLUME_NOT_FOUND") throw thrown;
    if (snapshot !== undefined) throw thrown;
    if (sizeBytes === undefined) {
      throw new PlinthError(thrown.code, thrown.message, { remedy: "--size makes one", cause: thrown });
    }
    found = (await call("volume.create", { name: volume, sizeBytes })) as VolumeView;
  }
  if (found.damage !== undefined)
    throw new PlinthError(found.damageCode ?? "VOLUME_DAMAGED", `${volume} is not served: ${found.damage}`);
  if (snapshot === undefined || found.snapshots.some((each) => each.name === snapshot)) return;
  throw new PlinthError("SNAPSHOT_NOT_FOUND", `volume ${volume} has no snapshot ${snapshot}`);
}

function announce(uris: readonly string[], pidFile: string | undefined): void {
  if (pidFile !== undefined) {
    // Whoever waits for the file finds the number in it.
    writeFileSync(`${pidFile}.new`, `${process.pid}\n`);
    renameSync(`${pidFile}.new`, pidFile);
  }
  // Who started us with a socket knows where it is, and may want its output to itself.
  if (uris.length > 0) process.stdout.write(`${[...uris, "ready"].join("\n")}\n`);
}
