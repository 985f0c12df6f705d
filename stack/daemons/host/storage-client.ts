// The host's side of storaged's control socket: typed calls, and answers checked before use. Thread: main.
import { PlinthError } from "../../../base/errors/index.js";
import { callControl } from "../../../base/jsonrpc/index.js";

export interface VolumeFacts {
  readonly name: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly snapshots: readonly SnapshotFacts[];
  /** Who makes it anew when it is gone. */
  readonly owner?: string | undefined;
  /** Why storaged does not serve it; undefined when nothing is wrong. */
  readonly damage: string | undefined;
  /** DISK_MISSING when a disk that comes back makes up for it. */
  readonly damageCode?: string | undefined;
  /** Why an encrypted volume cannot be used; undefined when it can. */
  readonly locked?: string | undefined;
  /** What no copy holds any more, of the volume or of a snapshot. */
  readonly lostRanges?: readonly LostFacts[];
  readonly limits?: LimitFacts | undefined;
  readonly compression?: string | undefined;
  readonly packedBytes?: number | undefined;
  readonly savedBytes?: number | undefined;
  readonly promisedBytes?: number | undefined;
  readonly historyBytes?: number | undefined;
  readonly rewindSeconds?: number | undefined;
  readonly rewindFrom?: string | undefined;
  readonly rewindShort?: boolean;
  readonly schedules?: readonly { readonly name: string; readonly cron: string; readonly keep: number }[];
}

export interface LostFacts {
  readonly snapshot?: string | undefined;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface LimitFacts {
  readonly iops: number;
  readonly bytesPerSecond: number;
  readonly burstSeconds: number;
}

export interface SnapshotFacts {
  readonly name: string;
  readonly createdAt: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly exclusiveBytes: number | undefined;
  /** The schedule that made it; undefined for one made by hand. */
  readonly schedule?: string | undefined;
}

export interface PoolFacts {
  readonly name: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  readonly disks: readonly {
    readonly path: string;
    readonly state: string;
    readonly class?: string | undefined;
    /** Why it is not used, or what is wrong with it; undefined when nothing is. */
    readonly why?: string | undefined;
    readonly sizeBytes: number;
    readonly freeBytes: number;
    /** Segments that have a copy there. */
    readonly segments: number;
  }[];
  /** What goes on in the background, and what ended of late, oldest first. */
  readonly jobs?: readonly JobFacts[];
  /** What volumes can still grow by, what is promised, and what would be given up for room. */
  readonly growthBytes?: number | undefined;
  readonly promisedBytes?: number | undefined;
  readonly spareBytes?: number | undefined;
  readonly usedPercent?: number | undefined;
  /** "ok", "warning", "critical" or "full". */
  readonly level?: string | undefined;
  readonly fullInSeconds?: number | undefined;
  readonly thresholds?: ThresholdFacts | undefined;
  /** The file that its key comes from, and why encrypted volumes cannot be used. */
  readonly keyFile?: string | undefined;
  readonly locked?: string | undefined;
  readonly scrub?: ScrubFacts | undefined;
  /** Who makes it anew when it is gone. */
  readonly owner?: string | undefined;
  /** Why storaged does not serve it; undefined when it does. */
  readonly unavailable?: string | undefined;
}

/** Percent of what is usable from which on the level is "warning" and "critical". */
export interface ThresholdFacts {
  readonly warningPercent: number;
  readonly criticalPercent: number;
}

export interface ScrubFacts {
  /** Five fields, UTC, or "off". */
  readonly cron: string;
  /** The name of that, when it has one. */
  readonly schedule: string | undefined;
  readonly bytesPerSecond: number;
  readonly nextAt: string | undefined;
  readonly running: { readonly doneBytes: number; readonly totalBytes: number } | undefined;
  /** The last one that ended. */
  readonly last:
    | {
        readonly endedAt: string;
        readonly outcome: string;
        readonly checkedBytes: number;
        readonly repairedBlocks: number;
        readonly lostBlocks: number;
        readonly findings: readonly string[];
      }
    | undefined;
}

export interface JobFacts {
  readonly kind: string;
  /** What it works on: the path of a disk. */
  readonly subject: string;
  readonly state: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface ExportFacts {
  readonly volume: string;
  readonly socket: string;
}

const CALL_TIMEOUT_MS = 20_000;
/** Looking through a long history takes its time. */
const REWIND_TIMEOUT_MS = 3_600_000;
/** Large disks take a while. */
const ERASE_TIMEOUT_MS = 3_600_000;
type Fields = Readonly<Record<string, unknown>>;

export class StorageClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async pools(): Promise<PoolFacts[]> {
    return listOf(await this.#call("pool.list"), "pools").map((pool) => ({
      name: text(pool["name"]),
      sizeBytes: number(pool["sizeBytes"]),
      allocatedBytes: number(pool["allocatedBytes"]),
      freeBytes: number(pool["freeBytes"]),
      disks: listOf(pool["disks"], "disks").map((disk) => ({
        path: text(disk["path"]),
        state: diskState(disk),
        class: disk["class"] === "" ? undefined : optionalText(disk["class"]),
        why: optionalText(disk["why"]),
        sizeBytes: number(disk["sizeBytes"]),
        freeBytes: number(disk["freeBytes"]),
        segments: number(disk["segments"]),
      })),
      jobs: listOf(pool["jobs"], "jobs").map((job) => ({
        kind: text(job["kind"]),
        subject: text(job["subject"]),
        state: text(job["state"]),
        doneBytes: number(job["doneBytes"]),
        totalBytes: number(job["totalBytes"]),
      })),
      growthBytes: optionalNumber(pool["growthBytes"]),
      promisedBytes: optionalNumber(pool["promisedBytes"]),
      spareBytes: optionalNumber(pool["spareBytes"]),
      usedPercent: optionalNumber(pool["usedPercent"]),
      level: optionalText(pool["level"]),
      fullInSeconds: optionalNumber((pool["forecast"] as Fields | undefined)?.["fullInSeconds"]),
      thresholds: {
        warningPercent: number(pool["warningPercent"]),
        criticalPercent: number(pool["criticalPercent"]),
      },
      keyFile: optionalText((pool["key"] as Fields | undefined)?.["path"]),
      locked: optionalText((pool["key"] as Fields | undefined)?.["locked"]),
      scrub: scrubFacts(pool["scrub"] as Fields | undefined),
      owner: optionalText(pool["owner"]),
      unavailable: optionalText(pool["unavailable"]),
    }));
  }

  addDisks(name: string, disks: readonly string[]): Promise<unknown> {
    return this.#call("disk.add", { name, disks });
  }

  /** Begins to empty a disk, or looks again whether that is possible; it goes on by itself. Throws POOL_FULL. */
  drainDisk(name: string, disk: string): Promise<unknown> {
    return this.#call("disk.drain", { name, disk });
  }

  undrainDisk(name: string, disk: string): Promise<unknown> {
    return this.#call("disk.undrain", { name, disk });
  }

  /** Lets an empty disk go. Throws DISK_IN_USE. */
  removeDisk(name: string, disk: string): Promise<unknown> {
    return this.#call("disk.remove", { name, disk });
  }

  createPool(name: string, disks: readonly string[]): Promise<unknown> {
    return this.#call("pool.create", { name, disks });
  }

  /** Erases its disks. Throws POOL_IN_USE while it holds volumes, DISK_MISSING while not all disks are there. */
  deletePool(name: string, owner: string): Promise<unknown> {
    return this.#call("pool.delete", { name, owner }, ERASE_TIMEOUT_MS);
  }

  /** The pool is made anew by `owner` when it is gone, so others are told to delete that. */
  ownPool(name: string, owner: string): Promise<unknown> {
    return this.#call("pool.own", { name, owner });
  }

  /** The pool gets the key in a file of the host, which is made when it is not there. */
  rekeyPool(name: string, keyFile: string): Promise<unknown> {
    return this.#call("pool.rekey", { name, keyFile });
  }

  /** When it is scrubbed by schedule ("weekly", five fields, "off") and how fast; what is undefined stays. */
  setScrub(name: string, schedule: string | undefined, bytesPerSecond: number | undefined): Promise<unknown> {
    const given = {
      ...(schedule === undefined ? {} : { scrub: schedule }),
      ...(bytesPerSecond === undefined ? {} : { scrubBytesPerSecond: bytesPerSecond }),
    };
    return this.#call("pool.set", { name, ...given });
  }

  setThresholds(name: string, thresholds: ThresholdFacts): Promise<unknown> {
    return this.#call("pool.set", { name, ...thresholds });
  }

  async volumes(): Promise<VolumeFacts[]> {
    return listOf(await this.#call("volume.list"), "volumes").map(volumeFacts);
  }

  /** Undefined when there is none of that name. */
  async volume(name: string): Promise<VolumeFacts | undefined> {
    const answer = await unlessMissing(this.#call("volume.get", { name }), "VOLUME_NOT_FOUND");
    return answer === undefined ? undefined : volumeFacts(answer as Fields);
  }

  createVolume(volume: {
    readonly name: string;
    readonly pool: string;
    readonly sizeBytes: number;
    readonly copies: number;
    readonly class?: string;
    readonly encrypted?: boolean;
    readonly rewindSeconds?: number;
    readonly compression?: string;
  }): Promise<unknown> {
    return this.#call("volume.create", volume);
  }

  growVolume(name: string, sizeBytes: number): Promise<unknown> {
    return this.#call("volume.grow", { name, sizeBytes });
  }

  setRewind(name: string, rewindSeconds: number): Promise<unknown> {
    return this.#call("volume.set", { name, rewindSeconds });
  }

  setCompression(name: string, compression: string): Promise<unknown> {
    return this.#call("volume.set", { name, compression });
  }

  setLimits(name: string, limits: LimitFacts): Promise<unknown> {
    return this.#call("volume.set", { name, ...limits });
  }

  setSchedule(
    name: string,
    schedule: string,
    cron: string | undefined,
    keep: number | undefined,
  ): Promise<unknown> {
    const given = { ...(cron === undefined ? {} : { cron }), ...(keep === undefined ? {} : { keep }) };
    return this.#call("volume.schedule", { name, schedule, ...given });
  }

  removeSchedule(name: string, schedule: string): Promise<unknown> {
    return this.#call("volume.schedule", { name, schedule, remove: true });
  }

  /** Back to a moment, itself or as the new volume `into`. */
  rewindVolume(name: string, to: string, into: string | undefined): Promise<unknown> {
    return this.#call(
      "volume.rewind",
      { name, to, ...(into === undefined ? {} : { into }) },
      REWIND_TIMEOUT_MS,
    );
  }

  cloneVolume(name: string, volume: string, snapshot: string): Promise<unknown> {
    return this.#call("volume.clone", { name, volume, snapshot });
  }

  async deleteVolume(name: string, owner: string): Promise<void> {
    await unlessMissing(this.#call("volume.delete", { name, owner }), "VOLUME_NOT_FOUND");
  }

  /** As ownPool. */
  ownVolume(name: string, owner: string): Promise<unknown> {
    return this.#call("volume.own", { name, owner });
  }

  revertVolume(name: string, snapshot: string): Promise<unknown> {
    return this.#call("volume.revert", { name, snapshot });
  }

  async createSnapshot(volume: string, name: string): Promise<void> {
    await this.#call("snapshot.create", { volume, name }).catch((thrown) => {
      if ((thrown as PlinthError).code !== "SNAPSHOT_EXISTS") throw thrown;
    });
  }

  async deleteSnapshot(volume: string, name: string): Promise<void> {
    const gone = unlessMissing(this.#call("snapshot.delete", { volume, name }), "SNAPSHOT_NOT_FOUND");
    await unlessMissing(gone, "VOLUME_NOT_FOUND");
  }

  async exports(): Promise<ExportFacts[]> {
    return listOf(await this.#call("export.list"), "exports").map((each) => ({
      volume: text(each["volume"]),
      socket: text(each["socket"]),
    }));
  }

  /**
   * Makes sure that `volume` is served on `socket`, to `uid` alone when given; `owner`: who uses it, for people. Throws
   * VOLUME_IN_USE.
   */
  async openExport(volume: string, socket: string, uid: number | undefined, owner: string): Promise<void> {
    const present = (await this.exports()).find((each) => each.socket === socket);
    if (present?.volume === volume) return;
    if (present !== undefined) await this.closeExport(socket);
    await this.#call("export.open", { volume, socket, owner, ...(uid === undefined ? {} : { uid }) });
  }

  async closeExport(socket: string): Promise<void> {
    await unlessMissing(this.#call("export.close", { socket }), "EXPORT_NOT_FOUND");
  }

  #call(method: string, params: Fields = {}, timeoutMs = CALL_TIMEOUT_MS): Promise<unknown> {
    return callControl(this.#socket, method, params, timeoutMs);
  }
}

/** True for the failures that say nothing about the request: storaged is not there or not answering. */
export function isStorageAway(thrown: unknown): boolean {
  return thrown instanceof PlinthError && thrown.code.startsWith("RPC_");
}

async function unlessMissing(call: Promise<unknown>, code: string): Promise<unknown> {
  try {
    return await call;
  } catch (thrown) {
    if (thrown instanceof PlinthError && thrown.code === code) return undefined;
    throw thrown;
  }
}

function volumeFacts(volume: Fields): VolumeFacts {
  return {
    name: text(volume["name"]),
    sizeBytes: number(volume["sizeBytes"]),
    allocatedBytes: number(volume["allocatedBytes"]),
    owner: optionalText(volume["owner"]),
    damage: optionalText(volume["damage"]),
    damageCode: optionalText(volume["damageCode"]),
    locked: optionalText(volume["locked"]),
    lostRanges: listOf(volume["lostRanges"] ?? [], "lostRanges").map((range) => ({
      snapshot: optionalText(range["snapshot"]),
      offsetBytes: number(range["offsetBytes"]),
      lengthBytes: number(range["lengthBytes"]),
    })),
    limits: limitFacts(volume["limits"] as Fields | undefined),
    compression: optionalText(volume["compression"]),
    packedBytes: optionalNumber(volume["packedBytes"]),
    savedBytes: optionalNumber(volume["savedBytes"]),
    promisedBytes: optionalNumber(volume["promisedBytes"]),
    historyBytes: optionalNumber(volume["historyBytes"]),
    rewindSeconds: optionalNumber(volume["rewindSeconds"]),
    rewindFrom: optionalText(volume["rewindFrom"]),
    rewindShort: volume["rewindShort"] === true,
    schedules: listOf(volume["schedules"] ?? [], "schedules").map((schedule) => ({
      name: text(schedule["name"]),
      cron: text(schedule["cron"]),
      keep: number(schedule["keep"]),
    })),
    snapshots: listOf(volume["snapshots"] ?? [], "snapshots").map((snapshot) => ({
      name: text(snapshot["name"]),
      createdAt: typeof snapshot["createdAt"] === "string" ? snapshot["createdAt"] : undefined,
      sizeBytes: typeof snapshot["sizeBytes"] === "number" ? snapshot["sizeBytes"] : undefined,
      exclusiveBytes: typeof snapshot["exclusiveBytes"] === "number" ? snapshot["exclusiveBytes"] : undefined,
      schedule: optionalText(snapshot["schedule"]),
    })),
  };
}

function scrubFacts(scrub: Fields | undefined): ScrubFacts | undefined {
  if (scrub === undefined) return undefined;
  const running = scrub["running"] as Fields | undefined;
  const last = listOf(scrub["runs"], "scrubs").at(-1);
  return {
    cron: text(scrub["cron"]),
    schedule: optionalText(scrub["schedule"]),
    bytesPerSecond: number(scrub["bytesPerSecond"]),
    nextAt: optionalText(scrub["nextAt"]),
    running: running && {
      doneBytes: number(running["doneBytes"]),
      totalBytes: number(running["totalBytes"]),
    },
    last: last && {
      endedAt: text(last["endedAt"]),
      outcome: text(last["outcome"]),
      checkedBytes: number(last["checkedBytes"]),
      repairedBlocks: number(last["repairedBlocks"]),
      lostBlocks: number(last["lostBlocks"]),
      findings: (last["findings"] as unknown[]).map(text),
    },
  };
}

function limitFacts(limits: Fields | undefined): LimitFacts | undefined {
  if (limits === undefined) return undefined;
  return {
    iops: number(limits["iops"]),
    bytesPerSecond: number(limits["bytesPerSecond"]),
    burstSeconds: number(limits["burstSeconds"]),
  };
}

/** A list, plain or under `field`. */
function listOf(answer: unknown, field: string): Fields[] {
  const list = Array.isArray(answer) ? answer : (answer as Fields | null)?.[field];
  if (!Array.isArray(list)) throw new PlinthError("RPC_ANSWER_INVALID", `storaged gave no list of ${field}`);
  return list as Fields[];
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new PlinthError("RPC_ANSWER_INVALID", "storaged gave no text");
  return value;
}

function number(value: unknown): number {
  if (typeof value !== "number") throw new PlinthError("RPC_ANSWER_INVALID", "storaged gave no number");
  return value;
}

function optionalText(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function optionalNumber(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function diskState({ state, failed }: Fields): string {
  if (state === "draining") return "Draining";
  if (state === "missing") return "Missing";
  if (state === "closed") return "Closed";
  if (state === "detached") return "Detached";
  if (state === "damaged") return "Damaged";
  return failed === true ? "Failed" : "Healthy";
}
