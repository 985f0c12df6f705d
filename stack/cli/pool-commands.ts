// `plinth pool …`: pools, their disks, and the work that goes on in them. Thread: main.
import { resolve } from "node:path";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type { PoolCheck, PoolView } from "../../storage-pool/index.js";
import { storageDirectory } from "../daemons/directory.js";
import { formatBytes } from "../resources/quantity.js";
import { describeDuration } from "./moment.js";
import { wholeNumber } from "./options.js";
import { formatRows, show } from "./output.js";
import { registerPoolKeys, sourceText } from "./pool-key-commands.js";
import { type SetFlags, scheduleText, scrubText, setParams } from "./pool-scrub-text.js";
import {
  call,
  counted,
  type Flags,
  followJob,
  jobText,
  type Params,
  parseList,
  parseRate,
  showProgress,
  withFlags,
} from "./storage-call.js";

/** Large disks take a while. */
const ERASE_TIMEOUT_MS = 3_600_000;
const REOPEN_TIMEOUT_MS = 300_000;
/** Of each volume, by `plinth pool check`. */
const FINDINGS_SHOWN = 4;

export function registerPool(program: Command): void {
  const pool = program.command("pool").description("storage pools of this machine");
  withFlags(pool.command("list").description("list the pools")).action(async (flags: Flags) => {
    const pools = (await call(flags, "pool.list", {})) as PoolView[];
    show(flags, pools, () => formatRows(POOL_HEADER, pools.map(poolRow)));
  });
  withFlags(
    pool
      .command("show [name]")
      .description("show one pool, `default` unless named, with its disks and what goes on in it"),
  ).action(async (name: string | undefined, flags: Flags) => {
    const found = await findPool(flags, name ?? "default");
    show(flags, found, () => describePool(found));
  });
  withFlags(
    pool
      .command("create <name>")
      .description("make a pool on empty disks")
      .requiredOption("--disk <path[,path…]>", "directories, files or block devices", parseList)
      .option("--class <class>", "what kind of disks they are, e.g. ssd"),
  ).action(async (name: string, flags: Flags & { disk: readonly string[]; class?: string }) => {
    const made = (await call(flags, "pool.create", { name, ...disksOf(flags) })) as PoolView;
    show(flags, made, () => `pool ${made.name} made: ${formatBytes(made.growthBytes)} left for volumes`);
  });
  withFlags(
    pool
      .command("set <name>")
      .description("from which share on a pool warns, and when it is scrubbed")
      .option("--warning <percent>", "of what is usable (a new pool: 80)", wholeNumber(1, 99))
      .option("--critical <percent>", "of what is usable (a new pool: 95)", wholeNumber(1, 100))
      .option(
        "--scrub <when>",
        'daily, weekly, monthly, off, or five fields of cron in UTC, e.g. "0 1 * * 0"',
      )
      .option(
        "--scrub-rate <size>",
        "scrubs by schedule read at most so many bytes each second, e.g. 50MiB; 0: any",
        parseRate,
      ),
  ).action(async (name: string, flags: Flags & SetFlags) => {
    const made = (await call(flags, "pool.set", { name, ...setParams(flags) })) as PoolView;
    const warns = `pool ${name} warns at ${made.warningPercent} % and ${made.criticalPercent} %`;
    show(flags, made, () => `${warns}\n${scheduleText(made.scrub)}`);
  });
  withFlags(
    pool
      .command("delete <name>")
      .description("delete a pool without volumes and erase its disks, which are free for others then")
      .option(
        "--force",
        "with its volumes and snapshots, deleted ones too, and though a StoragePool would make it anew",
        false,
      )
      .option("--lost", "disks that are not there will not come back, and stay as they are", false),
  ).action(async (name: string, { force, lost, ...flags }: Flags & { force: boolean; lost: boolean }) => {
    await call(flags, "pool.delete", { name, force, lost }, ERASE_TIMEOUT_MS);
    show(flags, {}, () => `pool ${name} is deleted`);
  });
  withFlags(
    pool
      .command("class <name> <disk> [class]")
      .description("say what kind of disk one is, e.g. ssd; volumes of a class go to such disks only"),
  ).action(async (name: string, disk: string, diskClass: string | undefined, flags: Flags) => {
    const params = { name, disk: resolve(disk), class: diskClass ?? "" };
    const made = (await call(flags, "disk.class", params)) as PoolView;
    show(
      flags,
      made,
      () => `${params.disk} is ${diskClass === undefined ? "of no class" : `of class ${diskClass}`}`,
    );
  });
  withFlags(
    pool
      .command("accept <name>")
      .description(
        "go on with a catalogue that is older than the disks, when the newest one is lost: volumes and snapshots that it does not know are given up",
      ),
  ).action(async (name: string, flags: Flags) => {
    const opened = (await call(flags, "pool.accept", { name })) as PoolView;
    if (opened.unavailable !== undefined)
      throw new PlinthError("DISK_MISSING", `pool ${name} is not served: ${opened.unavailable}`);
    show(flags, opened, () => `pool ${name} is served; \`plinth volume list\` tells what cannot be`);
  });
  registerDisks(pool);
  registerPoolKeys(pool);
  registerChecks(pool);
}

function registerDisks(pool: Command): void {
  withFlags(
    pool
      .command("add <name>")
      .description("give a pool more disks; copies that are missing are made on them")
      .requiredOption("--disk <path[,path…]>", "empty directories, files or block devices", parseList)
      .option("--class <class>", "what kind of disks they are, e.g. ssd"),
  ).action(async (name: string, flags: Flags & { disk: readonly string[]; class?: string }) => {
    const grown = (await call(flags, "disk.add", { name, ...disksOf(flags) })) as PoolView;
    show(
      flags,
      grown,
      () =>
        `pool ${name} has ${counted(grown.disks.length, "disk")}, ${formatBytes(grown.growthBytes)} left for volumes`,
    );
  });
  withFlags(
    pool
      .command("drain <name> <disk>")
      .description("move everything from a disk to the others while volumes stay in use")
      .option("--cancel", "use the disk again; what was moved stays where it is", false)
      .option("--no-wait", "return at once; `plinth pool show` tells how far it is"),
  ).action(async (name: string, disk: string, flags: Flags & { cancel: boolean; wait: boolean }) => {
    const params = { name, disk: resolve(disk) };
    if (flags.cancel) {
      const found = (await call(flags, "disk.undrain", params)) as PoolView;
      show(flags, found, () => `${params.disk} is used again`);
      return;
    }
    await followJob(
      flags,
      await call(flags, "disk.drain", params),
      flags.wait,
      () => `${params.disk} is empty`,
    );
  });
  withFlags(
    pool
      .command("online <name> <disk>")
      .description("use a disk again that was missing or failed; one that was away is used by itself")
      .option(
        "--reopen",
        "also if what is open of the disk is not at its path any more: the pool is opened anew with what is there now, which may be older",
        false,
      ),
  ).action(async (name: string, disk: string, flags: Flags & { reopen: boolean }) => {
    const params = { name, disk: resolve(disk), reopen: flags.reopen };
    const found = (await call(flags, "disk.online", params, REOPEN_TIMEOUT_MS)) as PoolView;
    show(flags, found, () => `${params.disk} is used; copies that it lacks are made in the background`);
  });
  withFlags(
    pool
      .command("remove <name> <disk>")
      .description("take an empty disk out of a pool, or one that is lost")
      .option("--lost", "the disk will not come back: blocks that only it had are lost", false),
  ).action(async (name: string, disk: string, flags: Flags & { lost: boolean }) => {
    const params = { name, disk: resolve(disk), lost: flags.lost };
    const left = (await call(flags, "disk.remove", params)) as PoolView;
    show(
      flags,
      left,
      () => `${params.disk} is out of the pool; it has ${counted(left.disks.length, "disk")}`,
    );
  });
}

function registerChecks(pool: Command): void {
  withFlags(
    pool
      .command("scrub [name]")
      .description(
        "read every copy of every block of a pool, `default` unless named, and put bad ones right from good ones",
      )
      .option("--no-wait", "return at once; `plinth pool show` tells how far it is")
      .option("--cancel", "end the one that goes on, by schedule or not", false),
  ).action(async (name: string | undefined, flags: Flags & { wait: boolean; cancel: boolean }) => {
    if (flags.cancel) {
      const found = (await call(flags, "pool.cancelScrub", { name: name ?? "default" })) as PoolView;
      show(flags, found, () => scrubText(found.scrub, Date.now()));
      return;
    }
    const job = await call(flags, "pool.scrub", { name: name ?? "default" });
    await followJob(flags, job, flags.wait, (ended) => `${jobText(ended)}: every block has a good copy`);
  });
  withFlags(
    pool
      .command("check")
      .description("while storaged is stopped: prove every volume of every pool, changing nothing"),
  ).action(async (flags: Flags) => {
    const { checkPools } = await import("../../storage-pool/index.js");
    const checks = await checkPools(storageDirectory(flags.dir), (volume, done, total) =>
      showProgress(flags, `prove ${volume}`, done, total),
    );
    showProgress(flags, "", 0, 0);
    show(flags, checks, () => checks.map(describeCheck).join("\n\n"));
    const old = checks.filter((check) => check.catalogue !== "").map(({ pool: name }) => name);
    if (old.length > 0) {
      throw new PlinthError(
        "CATALOGUE_OLD",
        `the catalogue is older than the disks of pool ${old.join(", ")}`,
      );
    }
    const bad = checks.flatMap((check) => check.volumes).filter((volume) => volume.badCount > 0);
    const namesOf = (waits: boolean) => bad.filter((each) => each.waits === waits).map(({ name }) => name);
    if (namesOf(false).length > 0)
      throw new PlinthError("VOLUME_DAMAGED", `damaged: ${namesOf(false).join(", ")}`);
    if (bad.length > 0)
      throw new PlinthError("DISK_MISSING", `not checked for want of disks: ${namesOf(true).join(", ")}`);
    const miscounted = checks.filter((check) => check.space.length > 0).map(({ pool: name }) => name);
    if (miscounted.length > 0) {
      throw new PlinthError("POOL_MISCOUNTED", `space is counted wrongly in pool ${miscounted.join(", ")}`);
    }
  });
}

async function findPool(flags: Flags, name: string): Promise<PoolView> {
  const pools = (await call(flags, "pool.list", {})) as PoolView[];
  const found = pools.find((each) => each.name === name);
  if (found !== undefined) return found;
  throw new PlinthError("POOL_NOT_FOUND", `there is no pool ${name}`, {
    remedy: `pools: ${pools.map((each) => each.name).join(", ") || "none"}`,
  });
}

const POOL_HEADER = ["NAME", "SIZE", "ALLOCATED", "PROMISED", "LEFT", "USED", "LEVEL", "VOLUMES", "DISKS"];

function poolRow(pool: PoolView): string[] {
  const { name, sizeBytes, allocatedBytes, promisedBytes, growthBytes, usedPercent, volumes, disks } = pool;
  return [
    name,
    formatBytes(sizeBytes),
    formatBytes(allocatedBytes),
    formatBytes(promisedBytes),
    formatBytes(growthBytes),
    `${usedPercent} %`,
    pool.unavailable === undefined ? pool.level : "not served",
    String(volumes),
    disksText(disks),
  ];
}

/** How many, and of how many something is wrong: "3 (1 missing)". */
function disksText(disks: PoolView["disks"]): string {
  const counts = new Map<string, number>();
  for (const { state, why } of disks) {
    const what = state === "draining" && why !== undefined ? "damaged" : state;
    if (what !== "online" && what !== "draining") counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  const wrong = [...counts].map(([what, count]) => `${count} ${what}`);
  return wrong.length === 0 ? String(disks.length) : `${disks.length} (${wrong.join(", ")})`;
}

function describePool(pool: PoolView): string {
  const parts = [formatRows(POOL_HEADER, [poolRow(pool)]), diskTable(pool)];
  if (pool.owner !== undefined) parts.push(`belongs to the ${pool.owner} of the API`);
  if (pool.unavailable !== undefined) parts.push(`not served: ${pool.unavailable}`);
  if (pool.key !== undefined) {
    const locked = pool.key.locked === undefined ? "" : `; locked: ${pool.key.locked}`;
    parts.push(`keys of encrypted volumes are wrapped by ${sourceText(pool)}${locked}`);
  }
  const room = roomText(pool);
  if (room !== "") parts.push(room);
  const { repairedBlocks, lostBlocks, degradedSegments, jobs } = pool;
  if (degradedSegments > 0) parts.push(`${formatBytes(degradedSegments * 4 * 1024 * 1024)} lack a copy`);
  if (repairedBlocks > 0 || lostBlocks > 0) {
    const lost = `; ${counted(lostBlocks, "read")} found no good copy (plinth volume show tells where)`;
    parts.push(
      `${counted(repairedBlocks, "block")} repaired from another copy${lostBlocks === 0 ? "" : lost}`,
    );
  }
  parts.push(scrubText(pool.scrub, Date.now()));
  if (pool.writtenBytes > 0) {
    const moved = `${formatBytes(pool.writtenBytes)} written since the start, ${formatBytes(pool.movedBytes)} moved`;
    parts.push(`${moved}; ${pool.spaceAmplification.toFixed(2)} bytes in use for each byte stored`);
  }
  if (pool.packedBytes > 0) {
    parts.push(
      `${formatBytes(pool.packedBytes)} are packed, which saves ${formatBytes(pool.savedBytes)} on the disks`,
    );
  }
  if (jobs.length > 0) {
    const rows = jobs.map((job) => [
      job.kind,
      job.subject,
      job.state,
      `${formatBytes(job.doneBytes)} of ${formatBytes(job.totalBytes)}`,
      job.findings[0] ?? "",
    ]);
    parts.push(formatRows(["JOB", "OF", "STATE", "DONE", "FOUND"], rows));
  }
  return parts.join("\n\n");
}

/** How long it lasts, and what it would give up before it is full. */
function roomText({ forecast, spareBytes, level, warningPercent, criticalPercent }: PoolView): string {
  const lines: string[] = [];
  if (level === "full")
    lines.push(
      "full: writes to what is not stored yet wait or fail; add a disk, or delete volumes or snapshots",
    );
  else if (level !== "ok")
    lines.push(`${level}: it warns from ${warningPercent} % and ${criticalPercent} % on`);
  if (forecast?.fullInSeconds !== undefined) {
    const rate = `${formatBytes(Math.round(forecast.bytesPerSecond * 3600))} an hour`;
    lines.push(`full in ${describeDuration(forecast.fullInSeconds)} at this rate (${rate})`);
  }
  if (spareBytes > 0) {
    lines.push(
      `${formatBytes(spareBytes)} of it are deleted volumes and history, given up when room is short`,
    );
  }
  return lines.join("\n");
}

function diskTable(pool: PoolView): string {
  const rows = pool.disks.map((disk) => [
    disk.path,
    disk.class === "" ? "-" : disk.class,
    formatBytes(disk.sizeBytes),
    formatBytes(disk.freeBytes),
    disk.state === "online" ? "ok" : isDrained(disk) ? "drained" : disk.state,
  ]);
  const reasons = pool.disks.flatMap(({ path, why }) => (why === undefined ? [] : [`${path}: ${why}`]));
  return [formatRows(["DISK", "CLASS", "SIZE", "FREE", "STATE"], rows), ...reasons].join("\n");
}

function isDrained({ state, segments }: PoolView["disks"][number]): boolean {
  return state === "draining" && segments === 0;
}

/** The first findings, and how many more there are. */
function shortList(findings: readonly string[]): string {
  const more = findings.length - FINDINGS_SHOWN;
  const shown = findings.slice(0, FINDINGS_SHOWN).join("; ");
  return more > 0 ? `${shown}; and ${more} more (-o json shows up to a hundred)` : shown;
}

function describeCheck({ pool, disks, volumes, space, isCounted, catalogue, remarks }: PoolCheck): string {
  const counted = space.length === 0 ? "counted, as the maps say" : shortList(space);
  const rows = [
    ...(catalogue === "" ? [] : [["catalogue", "", catalogue]]),
    ...remarks.map((remark) => ["catalogue", "", remark]),
    ...Object.entries(disks).map(([path, what]) => ["disk", path, what === "" ? "ok" : what]),
    ...volumes.map(({ name, waits, badCount, provenBytes, findings }) => [
      "volume",
      name,
      badCount === 0
        ? `proven, ${formatBytes(provenBytes)}`
        : `${waits ? "" : `${badCount} bad: `}${shortList(findings)}`,
    ]),
    ["space", "", isCounted ? counted : "not counted"],
  ];
  return `pool ${pool}\n${formatRows(["KIND", "NAME", "VERDICT"], rows)}`;
}

function disksOf(flags: { readonly disk: readonly string[]; readonly class?: string }): Params {
  const disks = absolute(flags.disk);
  return flags.class === undefined ? { disks } : { disks, class: flags.class };
}

function absolute(paths: readonly string[]): string[] {
  return paths.map((path) => resolve(path));
}
