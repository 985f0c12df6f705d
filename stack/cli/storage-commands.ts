// `plinth storaged`, the daemon of the storage pools, and `plinth volume|pool …`, its verbs for people.
// Sizes are quantities ("1GiB", "20G"); tables unless -o json or yaml. Thread: main.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import {
  type PoolView,
  type SnapshotView,
  startStoraged,
  type VolumeView,
} from "../../storage-pool/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { defaultDirectory, directoryLayout, openPartDirectory } from "../daemons/directory.js";
import { formatBytes, parseQuantity } from "../resources/index.js";
import { type ListenFlags, nbdEndpoints, withNbdListen } from "./nbd-options.js";
import { wholeNumber, withLogDir, withPartDir } from "./options.js";
import { formatRows, type OutputOptions, show, withOutput } from "./output.js";
import { registerServe } from "./volume-serve-command.js";

const CALL_TIMEOUT_MS = 60_000;

interface Flags extends OutputOptions {
  readonly dir?: string;
}

type Params = Readonly<Record<string, unknown>>;

export function register(program: Command): void {
  registerStoraged(program);
  registerPool(program);
  registerVolume(program);
}

function registerStoraged(program: Command): void {
  const command = program
    .command("storaged")
    .description("run the storage daemon: NBD at DIR/nbd.sock, management at DIR/control.sock");
  withNbdListen(withLogDir(command))
    .option("--dir <dir>", "directory of the daemon (default: storage/ below the data directory of Plinth)")
    .option(
      "--disk <path[,path…]>",
      "directories, files or block devices; the pool `default` is made of them on the first start",
      parseList,
      [],
    )
    .action(async (flags: ListenFlags & { dir?: string; disk: readonly string[]; logDir?: string }) => {
      const dir = flags.dir === undefined ? directoryLayout(defaultDirectory()).storage : resolve(flags.dir);
      const disks = flags.disk.map((path) => resolve(path));
      await runDaemon({ name: "storaged", logDir: flags.logDir }, async (log) =>
        startStoraged({ dir: openPartDirectory(dir), disks, endpoints: nbdEndpoints(flags), log }),
      );
    });
}

function registerPool(program: Command): void {
  const pool = program.command("pool").description("storage pools of this machine");
  withFlags(pool.command("list").description("list the pools")).action(async (flags: Flags) => {
    const pools = (await call(flags, "pool.list", {})) as PoolView[];
    show(flags, pools, () => formatRows(POOL_HEADER, pools.map(poolRow)));
  });
  withFlags(pool.command("show <name>").description("show one pool with its disks")).action(
    async (name: string, flags: Flags) => {
      const pools = (await call(flags, "pool.list", {})) as PoolView[];
      const found = pools.find((each) => each.name === name);
      if (found === undefined) {
        throw new PlinthError("POOL_NOT_FOUND", `there is no pool ${name}`, {
          remedy: `pools: ${pools.map((each) => each.name).join(", ") || "none"}`,
        });
      }
      show(
        flags,
        found,
        () => `${formatRows(POOL_HEADER, [poolRow(found)])}\n\n${diskTable(found)}${integrityText(found)}`,
      );
    },
  );
  withFlags(
    pool
      .command("create <name>")
      .description("make a pool on empty disks")
      .requiredOption("--disk <path[,path…]>", "directories, files or block devices", parseList),
  ).action(async (name: string, flags: Flags & { disk: readonly string[] }) => {
    const disks = flags.disk.map((path) => resolve(path));
    const made = (await call(flags, "pool.create", { name, disks })) as PoolView;
    show(flags, made, () => `pool ${made.name} made: ${formatBytes(made.freeBytes)} free`);
  });
}

function registerVolume(program: Command): void {
  const volume = program.command("volume").description("volumes and their snapshots");
  withFlags(
    volume
      .command("create <name>")
      .description("make a thin volume; NAME is namespace/volume, or volume in the namespace default")
      .requiredOption("--size <size>", "e.g. 1GiB", parseSize)
      .option("--copies <n>", "copies on distinct disks, 1 or 2", wholeNumber(1, 2), 1)
      .option("--pool <pool>", "pool to take the space from", "default"),
  ).action(async (name: string, flags: Flags & { size: number; copies: number; pool: string }) => {
    const { size: sizeBytes, copies, pool } = flags;
    await change(
      flags,
      "volume.create",
      { name, sizeBytes, copies, pool },
      (made) => `volume ${made.name} made`,
    );
  });
  withFlags(volume.command("list").description("list the volumes")).action(async (flags: Flags) => {
    const volumes = (await call(flags, "volume.list", {})) as VolumeView[];
    show(flags, volumes, () => formatRows(VOLUME_HEADER, volumes.map(volumeRow)));
  });
  withFlags(volume.command("show <name>").description("show one volume with its snapshots")).action(
    async (name: string, flags: Flags) => {
      const found = (await call(flags, "volume.get", { name })) as VolumeView;
      show(flags, found, () => describe(found));
    },
  );
  withFlags(volume.command("delete <name>").description("delete a volume with its snapshots")).action(
    async (name: string, flags: Flags) => {
      await call(flags, "volume.delete", { name });
      show(flags, {}, () => `volume ${name} deleted`);
    },
  );
  withFlags(
    volume
      .command("grow <name>")
      .description("make a volume larger")
      .requiredOption("--size <size>", "new size, e.g. 2GiB", parseSize),
  ).action(async (name: string, flags: Flags & { size: number }) => {
    const text = (made: VolumeView) => `volume ${made.name} has ${formatBytes(made.sizeBytes)}`;
    await change(flags, "volume.grow", { name, sizeBytes: flags.size }, text);
  });
  registerSnapshotVerbs(volume);
  registerServe(volume);
}

function registerSnapshotVerbs(volume: Command): void {
  withFlags(
    volume
      .command("snapshot <name> <snapshot>")
      .description("keep what the volume holds now; --delete forgets a snapshot")
      .option("--delete", "delete the snapshot", false),
  ).action(async (name: string, snapshot: string, flags: Flags & { delete: boolean }) => {
    const params = { volume: name, name: snapshot };
    if (flags.delete) {
      await call(flags, "snapshot.delete", params);
      show(flags, {}, () => `snapshot ${snapshot} of ${name} deleted`);
      return;
    }
    const made = (await call(flags, "snapshot.create", params)) as SnapshotView;
    show(flags, made, () => `snapshot ${made.name} of ${name} made`);
  });
  withFlags(
    volume
      .command("clone <name> <volume> <snapshot>")
      .description("make volume NAME from a snapshot of VOLUME, sharing its space")
      .option("--size <size>", "larger than the snapshot", parseSize),
  ).action(async (name: string, origin: string, snapshot: string, flags: Flags & { size?: number }) => {
    const size = flags.size === undefined ? {} : { sizeBytes: flags.size };
    const text = (made: VolumeView) => `volume ${made.name} made from ${origin}@${snapshot}`;
    await change(flags, "volume.clone", { name, volume: origin, snapshot, ...size }, text);
  });
  withFlags(
    volume.command("revert <name> <snapshot>").description("put a detached volume back to a snapshot"),
  ).action(async (name: string, snapshot: string, flags: Flags) => {
    await change(
      flags,
      "volume.revert",
      { name, snapshot },
      (made) => `volume ${made.name} is as in ${snapshot}`,
    );
  });
}

const POOL_HEADER = ["NAME", "SIZE", "ALLOCATED", "FREE", "VOLUMES", "DISKS"];
const VOLUME_HEADER = ["NAME", "POOL", "SIZE", "ALLOCATED", "EXCLUSIVE", "COPIES", "SNAPSHOTS", "ATTACHED"];

function poolRow(pool: PoolView): string[] {
  const { name, sizeBytes, allocatedBytes, freeBytes, volumes, disks } = pool;
  return [
    name,
    formatBytes(sizeBytes),
    formatBytes(allocatedBytes),
    formatBytes(freeBytes),
    String(volumes),
    String(disks.length),
  ];
}

function diskTable(pool: PoolView): string {
  const rows = pool.disks.map((disk) => [
    disk.path,
    formatBytes(disk.sizeBytes),
    formatBytes(disk.freeBytes),
    disk.failed ? "failed" : "ok",
  ]);
  return formatRows(["DISK", "SIZE", "FREE", "STATE"], rows);
}

function integrityText({ repairedBlocks, lostBlocks }: PoolView): string {
  if (repairedBlocks === 0 && lostBlocks === 0) return "";
  const lost =
    lostBlocks === 0 ? "" : `; ${lostBlocks} reads found no good copy (plinth volume show tells where)`;
  return `\n\n${repairedBlocks} blocks repaired from another copy${lost}`;
}

function volumeRow(volume: VolumeView): string[] {
  return [
    volume.name,
    volume.pool,
    formatBytes(volume.sizeBytes),
    formatBytes(volume.allocatedBytes),
    formatBytes(volume.exclusiveBytes),
    String(volume.copies),
    String(volume.snapshots.length),
    volume.damage === undefined ? attached(volume) : "damaged",
  ];
}

function attached(volume: VolumeView): string {
  if (volume.attachments.length > 0) return volume.attachments.map(({ socket }) => socket).join(",");
  return volume.connections > 0 ? `${volume.connections} clients` : "-";
}

function describe(volume: VolumeView): string {
  const table = formatRows(VOLUME_HEADER, [volumeRow(volume)]);
  const damage = (volume.damage === undefined ? "" : `\n\ndamaged: ${volume.damage}`) + lostText(volume);
  if (volume.snapshots.length === 0) return table + damage;
  const rows = volume.snapshots.map((each) => [
    each.name,
    each.createdAt,
    formatBytes(each.sizeBytes),
    formatBytes(each.exclusiveBytes),
  ]);
  return `${table}${damage}\n\n${formatRows(["SNAPSHOT", "CREATED", "SIZE", "FREED BY DELETING"], rows)}`;
}

/** Reads of these fail; writing them anew, or going back to a snapshot, ends that. */
function lostText({ lostRanges = [] }: VolumeView): string {
  if (lostRanges.length === 0) return "";
  const rows = lostRanges.map(({ snapshot, offsetBytes, lengthBytes }) => [
    snapshot ?? "-",
    String(offsetBytes),
    String(lengthBytes),
  ]);
  return `\n\n${formatRows(["LOST IN SNAPSHOT", "OFFSET", "BYTES"], rows)}`;
}

async function change(
  flags: Flags,
  method: string,
  params: Params,
  text: (made: VolumeView) => string,
): Promise<void> {
  const made = (await call(flags, method, params)) as VolumeView;
  show(flags, made, () => text(made));
}

function call(flags: Flags, method: string, params: Params): Promise<unknown> {
  return callControl(controlSocket(flags.dir), method, params, CALL_TIMEOUT_MS);
}

/** DIR may be that of the data centre or of a storaged alone. */
function controlSocket(given: string | undefined): string {
  const dir = defaultDirectory(given);
  const alone = join(dir, "control.sock");
  return existsSync(alone) ? alone : directoryLayout(dir).storageControlSocket;
}

function withFlags(command: Command): Command {
  return withOutput(withPartDir(command, "storaged"));
}

function parseList(text: string): string[] {
  const parts = text.split(",").filter((part) => part !== "");
  if (parts.length === 0) throw new InvalidArgumentError("expected PATH or PATH,PATH…");
  return parts;
}

/** Whole blocks: a size that is none is rounded up. */
function parseSize(text: string): number {
  const amount = parseQuantity(text);
  if (amount === undefined || amount <= 0) throw new InvalidArgumentError("expected a size such as 1GiB");
  return Math.ceil(amount / 4096) * 4096;
}
