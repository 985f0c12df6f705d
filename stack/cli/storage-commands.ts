// `plinth storaged`, the daemon of the storage pools, and `plinth volume|pool …`, its verbs for people.
// Sizes are quantities ("1GiB", "20G"); tables unless -o json or yaml. Thread: main.
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type {
  DeletedView,
  DiffView,
  ExportView,
  GroupView,
  JobView,
  SnapshotView,
  VolumeView,
} from "../../storage-pool/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { openPartDirectory, storageDirectory } from "../daemons/directory.js";
import { formatBytes } from "../resources/quantity.js";
import { describeDuration, parseDuration } from "./moment.js";
import { type ListenFlags, nbdEndpoints, withNbdListen } from "./nbd-options.js";
import { wholeNumber, withLogDir, withStorageDir } from "./options.js";
import { formatRows, show } from "./output.js";
import { registerPool } from "./pool-commands.js";
import {
  call,
  counted,
  type Flags,
  followJob,
  type Growth,
  jobText,
  type Params,
  parseGrowth,
  parseList,
  parseRate,
  parseSize,
  withFlags,
} from "./storage-call.js";
import { registerCopyVerbs } from "./volume-copy-commands.js";
import { registerServe } from "./volume-serve-command.js";
import { limitParams, limitsText, registerTimeVerbs } from "./volume-time-commands.js";

export function register(program: Command): void {
  registerStoraged(program);
  registerPool(program);
  registerVolume(program);
}

function registerStoraged(program: Command): void {
  const command = program
    .command("storaged")
    .description("run the storage daemon: NBD at DIR/nbd.sock, management at DIR/control.sock");
  withNbdListen(withLogDir(withStorageDir(command)))
    .option(
      "--disk <path[,path…]>",
      "directories, files or block devices; the pool `default` is made of them on the first start",
      parseList,
    )
    .option(
      "--metrics <where>",
      "serve metrics for Prometheus over HTTP, without a login: HOST:PORT or unix:PATH, page /metrics (default: nowhere)",
    )
    .option(
      "--map-memory <size>",
      "memory for pages of volumes' maps, of each pool (default: 128MiB)",
      parseSize,
    )
    .option(
      "--pack-after <time>",
      "what was not written for so long is packed, in volumes that are compressed (default: 10m)",
      parseDuration,
    )
    .action(async (flags: StoragedFlags) => {
      const dir = storageDirectory(flags.dir, true);
      const disks = (flags.disk ?? []).map((path) => resolve(path));
      await runDaemon({ name: "storaged", logDir: flags.logDir }, async (log) => {
        const { startStoraged } = await import("../../storage-pool/index.js");
        return startStoraged({
          dir: openPartDirectory(dir),
          disks,
          endpoints: await nbdEndpoints(flags),
          metrics: flags.metrics,
          mapMemoryBytes: flags.mapMemory,
          packAfterMs: flags.packAfter === undefined ? undefined : flags.packAfter * 1000,
          log,
        });
      });
    });
}

interface StoragedFlags extends ListenFlags {
  readonly dir?: string;
  readonly disk?: readonly string[];
  readonly logDir?: string;
  readonly metrics?: string;
  readonly mapMemory?: number;
  readonly packAfter?: number;
}

function registerVolume(program: Command): void {
  const volume = program.command("volume").description("volumes and their snapshots");
  withFlags(
    volume
      .command("create <name>")
      .description("make a thin volume; NAME is namespace/volume, or volume in the namespace default")
      .requiredOption("--size <size>", "e.g. 1GiB", parseSize)
      .option("--copies <n>", "copies on distinct disks, 1 or 2", wholeNumber(1, 2), 1)
      .option("--pool <pool>", "pool to take the space from", "default")
      .option("--class <class>", "only on disks of this class, e.g. ssd")
      .option("--iops <n>", "at most so many requests each second; 0: any", wholeNumber(0, 100_000_000))
      .option("--bandwidth <size>", "at most so many bytes each second, e.g. 100MiB; 0: any", parseRate)
      .option("--burst <time>", "how much is saved up while less is used, e.g. 10s", parseDuration)
      .option("--encrypt", "what is written is encrypted on the disks; the pool needs a key", false)
      .option("--compression <how>", "how what was not written for a while is packed: none, deflate")
      .option("--rewind <window>", "how far back it can be rewound, e.g. 1h, 7d", parseDuration, 0),
  ).action(async (name: string, flags: CreateFlags) => {
    const { size: sizeBytes, copies, pool, encrypt: encrypted, rewind: rewindSeconds } = flags;
    const where = {
      ...(flags.class === undefined ? {} : { class: flags.class }),
      ...(flags.compression === undefined ? {} : { compression: flags.compression }),
      ...limitParams(flags),
    };
    await change(
      flags,
      "volume.create",
      // One that is there may differ in what is not compared, e.g. its limits.
      { name, sizeBytes, copies, pool, encrypted, rewindSeconds, ...where, isNew: true },
      (made) => `volume ${made.name} made`,
    );
  });
  withFlags(
    volume
      .command("list")
      .description("list the volumes")
      .option("--deleted", "those that were deleted and can be brought back", false),
  ).action(async (flags: Flags & { deleted: boolean }) => {
    const volumes = (await call(flags, flags.deleted ? "volume.deleted" : "volume.list", {})) as VolumeView[];
    show(flags, volumes, () =>
      flags.deleted
        ? formatRows(DELETED_HEADER, volumes.map(deletedRow))
        : formatRows(VOLUME_HEADER, volumes.map(volumeRow)),
    );
  });
  withFlags(volume.command("show <name>").description("show one volume with its snapshots")).action(
    async (name: string, flags: Flags) => {
      const found = (await call(flags, "volume.get", { name, exact: true })) as VolumeView;
      show(flags, found, () => describe(found));
    },
  );
  withFlags(
    volume
      .command("delete <name>")
      .description("delete a volume with its snapshots; for a day it can be brought back with `undelete`")
      .option("--undo <time>", "how long it can be brought back, e.g. 1h, 7d; 0: not at all", parseDuration)
      .option("--force", "though a Volume of the API would make it anew, empty", false),
  ).action(async (name: string, flags: Flags & { undo?: number; force: boolean }) => {
    const undo = flags.undo === undefined ? {} : { undoSeconds: flags.undo };
    const params = { name, ...undo, force: flags.force };
    const gone = (await call(flags, "volume.delete", params)) as DeletedView;
    const until = gone.purgeAt === undefined ? "" : `; until ${gone.purgeAt}: plinth volume undelete ${name}`;
    show(flags, gone, () => `volume ${name} deleted${until}`);
  });
  withFlags(
    volume
      .command("grow <name>")
      .description("make a volume larger")
      .requiredOption("--size <size>", "new size, e.g. 2GiB, or +1GiB for so much more", parseGrowth),
  ).action(async (name: string, flags: Flags & { size: Growth }) => {
    const text = (made: VolumeView) => `volume ${made.name} has ${formatBytes(made.sizeBytes)}`;
    const { bytes, isRelative } = flags.size;
    const before = isRelative ? ((await call(flags, "volume.get", { name })) as VolumeView).sizeBytes : 0;
    await change(flags, "volume.grow", { name, sizeBytes: before + bytes }, text);
  });
  withFlags(
    volume
      .command("prove <name>")
      .description(
        "read every block of a volume and its snapshots from every copy and hold it against its checksum",
      )
      .option("--no-wait", "return at once; `plinth pool show` tells the verdict"),
  ).action(async (name: string, flags: Flags & { wait: boolean }) => {
    const proven = ({ doneBytes, ...job }: JobView) => `${jobText({ ...job, doneBytes })}: proven`;
    await followJob(flags, await call(flags, "volume.prove", { name }), flags.wait, proven);
  });
  registerSnapshotVerbs(volume);
  registerTimeVerbs(volume);
  registerCopyVerbs(volume);
  registerAttachVerbs(volume);
  registerServe(volume);
}

interface AttachFlags {
  readonly socket: string;
  readonly protocol: string;
  readonly readOnly: boolean;
  readonly moving: boolean;
  readonly allowUnsealedMemory: boolean;
}

/** Sockets of one volume, which the daemon opens again when it is started again. */
function registerAttachVerbs(volume: Command): void {
  withFlags(
    volume
      .command("attach <name>")
      .description("let one client, e.g. QEMU, use a volume at a socket of its own; it stays until `detach`")
      .requiredOption("--socket <path>", "where the client connects")
      .addOption(
        new Option("--protocol <protocol>", "what is spoken there")
          .choices(["nbd", "vhost-user-blk"])
          .default("nbd"),
      )
      .option("--read-only", "refuse to write", false)
      .option("--moving", "a guest that has it by vhost-user-blk elsewhere moves here", false)
      .option(
        "--allow-unsealed-memory",
        "take guest memory by vhost-user-blk that its front-end, which is trusted, could truncate: files, huge pages",
        false,
      ),
  ).action(async (name: string, flags: Flags & AttachFlags) => {
    const { protocol, readOnly, moving, allowUnsealedMemory: unsealedMemory } = flags;
    const socket = resolve(flags.socket);
    const asked = { volume: name, socket, protocol, readOnly, moving, unsealedMemory };
    const made = await call(flags, "export.open", asked);
    show(flags, made, () => `volume ${name} is at ${socket} (${protocol})`);
  });
  withFlags(
    volume
      .command("detach <socket>")
      .description("close a socket that `attach` opened; the name of a volume will do while it has one only"),
  ).action(async (asked: string, flags: Flags) => {
    const socket = attachedAt((await call(flags, "export.list", {})) as ExportView[], asked);
    await call(flags, "export.close", { socket });
    show(flags, {}, () => `${socket} is closed`);
  });
}

/** The socket that is meant by its path or by its volume. Throws EXPORT_NOT_FOUND. */
function attachedAt(open: readonly ExportView[], asked: string): string {
  const socket = resolve(asked);
  if (open.some((each) => each.socket === socket)) return socket;
  const ofVolume = open.filter(({ volume }) => volume === asked || volume === `default/${asked}`);
  const [only] = ofVolume;
  if (only !== undefined && ofVolume.length === 1) return only.socket;
  const sockets = (ofVolume.length > 1 ? ofVolume : open).map((each) => each.socket);
  const what =
    ofVolume.length > 1 ? `${asked} is attached at several sockets` : `no volume is attached at ${asked}`;
  throw new PlinthError("EXPORT_NOT_FOUND", what, { remedy: `sockets: ${sockets.join(", ") || "none"}` });
}

function registerSnapshotVerbs(volume: Command): void {
  withFlags(
    volume
      .command("snapshot <name> <snapshot>")
      .description("keep what the volume holds now; --delete forgets a snapshot")
      .option("--delete", "delete the snapshot", false)
      .option("--with <volume[,volume…]>", "of these volumes, too; made all at one moment", parseList),
  ).action(
    async (name: string, snapshot: string, flags: Flags & { delete: boolean; with?: readonly string[] }) => {
      // One that is there is of another moment than now.
      const params = { volume: name, name: snapshot, isNew: true };
      const volumes = [name, ...(flags.with ?? [])];
      if (volumes.length > 1 && !flags.delete) {
        const group = { volumes, name: snapshot, isNew: true };
        const view = (await call(flags, "snapshot.createGroup", group)) as GroupView;
        show(flags, view, () => `snapshot ${snapshot} of ${view.volumes.join(", ")} made`);
        return;
      }
      if (flags.delete) {
        for (const volume of volumes) await call(flags, "snapshot.delete", { volume, name: snapshot });
        show(flags, {}, () => `snapshot ${snapshot} of ${volumes.join(", ")} deleted`);
        return;
      }
      const made = (await call(flags, "snapshot.create", params)) as SnapshotView;
      show(flags, made, () => `snapshot ${made.name} of ${name} made`);
    },
  );
  withFlags(
    volume
      .command("diff <name> <from> [to]")
      .description("what changed from snapshot FROM until snapshot TO, or until now"),
  ).action(async (name: string, from: string, to: string | undefined, flags: Flags) => {
    const params = { name, from, ...(to === undefined ? {} : { to }) };
    const diff = (await call(flags, "volume.diff", params)) as DiffView;
    show(flags, diff, () => {
      const rows = diff.ranges.map((range) => [String(range.offsetBytes), formatBytes(range.lengthBytes)]);
      const more = diff.truncated ? "\n… and more" : "";
      return `${formatRows(["OFFSET", "LENGTH"], rows)}${more}\n\n${formatBytes(diff.changedBytes)} changed`;
    });
  });
  withFlags(
    volume
      .command("clone <name> <volume> <snapshot>")
      .description("make volume NAME from a snapshot of VOLUME, sharing its space")
      .option("--size <size>", "larger than the snapshot", parseSize),
  ).action(async (name: string, origin: string, snapshot: string, flags: Flags & { size?: number }) => {
    const size = flags.size === undefined ? {} : { sizeBytes: flags.size };
    const text = (made: VolumeView) => `volume ${made.name} made from ${origin}@${snapshot}`;
    await change(flags, "volume.clone", { name, volume: origin, snapshot, isNew: true, ...size }, text);
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

interface CreateFlags extends Flags {
  readonly size: number;
  readonly copies: number;
  readonly pool: string;
  readonly class?: string;
  readonly compression?: string;
  readonly encrypt: boolean;
  readonly rewind: number;
  readonly iops?: number;
  readonly bandwidth?: number;
  readonly burst?: number;
}

const DELETED_HEADER = ["NAME", "ID", "POOL", "SIZE", "FREED BY GOING", "DELETED", "UNTIL"];

function deletedRow(volume: VolumeView): string[] {
  const { name, id = 0, pool, sizeBytes, exclusiveBytes, deletedAt = "", purgeAt = "" } = volume;
  return [name, String(id), pool, formatBytes(sizeBytes), formatBytes(exclusiveBytes), deletedAt, purgeAt];
}

const VOLUME_HEADER = [
  "NAME",
  "POOL",
  "SIZE",
  "ALLOCATED",
  "EXCLUSIVE",
  "SAVED",
  "COPIES",
  "SNAPSHOTS",
  "ATTACHED",
];

function volumeRow(volume: VolumeView): string[] {
  return [
    volume.name,
    volume.pool,
    formatBytes(volume.sizeBytes),
    formatBytes(volume.allocatedBytes),
    formatBytes(volume.exclusiveBytes),
    volume.compression === "none" && volume.packedBytes === 0 ? "-" : formatBytes(volume.savedBytes),
    String(volume.copies),
    String(volume.snapshots.length),
    volume.damage !== undefined ? "not served" : volume.locked !== undefined ? "locked" : attached(volume),
  ];
}

function attached(volume: VolumeView): string {
  if (volume.attachments.length > 0) {
    return volume.attachments.map(({ owner, socket }) => owner ?? socket).join(",");
  }
  return volume.connections > 0 ? counted(volume.connections, "client") : "-";
}

function describe(volume: VolumeView): string {
  const table = formatRows(VOLUME_HEADER, [volumeRow(volume)]);
  const damage = (volume.damage === undefined ? "" : `\n\nnot served: ${volume.damage}`) + lostText(volume);
  const more = keptText(volume);
  if (volume.snapshots.length === 0) return table + damage + more;
  const rows = volume.snapshots.map((each) => [
    each.name,
    each.createdAt,
    formatBytes(each.sizeBytes),
    formatBytes(each.exclusiveBytes),
  ]);
  return `${table}${damage}${more}\n\n${formatRows(["SNAPSHOT", "CREATED", "SIZE", "FREED BY DELETING"], rows)}`;
}

/** What the pool keeps for it besides its content, and by which rules. */
function keptText(volume: VolumeView): string {
  const lines: string[] = [];
  if (volume.locked !== undefined) lines.push(`encrypted, and locked: ${volume.locked}`);
  else if (volume.encrypted) lines.push("encrypted");
  if (volume.limits !== undefined) lines.push(limitsText(volume));
  if (volume.compression !== "none" || volume.packedBytes > 0) {
    const what = `${formatBytes(volume.packedBytes)} are packed, which saves ${formatBytes(volume.savedBytes)}`;
    lines.push(`compression ${volume.compression}: ${what} on the disks`);
  }
  if (volume.class !== "") lines.push(`only on disks of class ${volume.class}`);
  if (volume.promisedBytes > 0) {
    lines.push(`${formatBytes(volume.promisedBytes)} are kept free to overwrite what it shares`);
  }
  if (volume.rewindSeconds > 0) {
    const short = volume.rewindShort === true ? ", less than asked for: the pool was short of room" : "";
    const past = `${formatBytes(volume.historyBytes)} are held for it${short}`;
    lines.push(
      `rewind window ${describeDuration(volume.rewindSeconds)}, from ${volume.rewindFrom ?? "now"}; ${past}`,
    );
  }
  for (const { name, cron, keep } of volume.schedules)
    lines.push(`${name} snapshots: "${cron}" (UTC), keeps ${keep}`);
  return lines.map((line, i) => (i === 0 ? `\n\n${line}` : `\n${line}`)).join("");
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
