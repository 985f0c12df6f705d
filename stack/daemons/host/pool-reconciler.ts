// Makes storaged's pools as the StoragePools of this host want them: takes disks that are named, and empties and lets go
// those that are named no more. Thread: main.
//
//   named ──► taken ──(name taken away)──► draining ──(empty)──► removed
//                          ▲──(named again)───┘
//
// A StoragePool that is deleted goes when the pool with its disks is erased, which waits until its volumes are gone for good.
// Invariant: only a disk that a spec once named is ever emptied, and status.disks remembers which (`wanted`) before
// anything is done; disks of the command line are left alone. A disk is never given up as lost: that is for people to say.
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { ResourceClient } from "../../api/index.js";
import { formatBytes, type StoragePool } from "../../resources/index.js";
import { addFinalizer, HOST_FINALIZER, removeFinalizer, type Verdict, writeStatus } from "./api-writer.js";
import { keepScrub, scrubCondition, scrubStatus, tellScrub } from "./pool-scrub.js";
import { keepThresholds } from "./pool-thresholds.js";
import { isStorageAway, type PoolFacts, type StorageClient } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";

export interface PoolModules {
  readonly client: ResourceClient;
  readonly storage: PoolStorage;
}

export type PoolStorage = Pick<
  StorageClient,
  | "pools"
  | "createPool"
  | "deletePool"
  | "ownPool"
  | "addDisks"
  | "drainDisk"
  | "undrainDisk"
  | "removeDisk"
  | "rekeyPool"
  | "setScrub"
  | "setThresholds"
>;

/** One turn for a pool of this host. Rethrows what storaged refused, for the turn to come again. */
export async function reconcilePool(pool: StoragePool, modules: PoolModules): Promise<void> {
  const { client, storage } = modules;
  try {
    await keepPool(pool, modules);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    const reason = isStorageAway(thrown) ? "StorageUnavailable" : reasonOf(thrown.code);
    const refusal = { type: "Ready", status: "False", reason, message: describeError(thrown) } as const;
    // Where the pool itself is served its figures are shown in spite of it.
    const facts = isStorageAway(thrown) ? undefined : await factsOf(storage, pool);
    await writeStatus(client, "StoragePool", pool, facts === undefined ? {} : fieldsOf(pool, facts), [
      refusal,
    ]);
    throw thrown;
  }
}

async function keepPool(pool: StoragePool, modules: PoolModules): Promise<void> {
  const { client, storage } = modules;
  const { name, deletionTimestamp, finalizers = [] } = pool.metadata;
  let facts = await factsOf(storage, pool);
  if (deletionTimestamp !== undefined) {
    // Without it the pool is somebody else's to erase, or erased.
    if (!finalizers.includes(HOST_FINALIZER)) return;
    if (facts !== undefined) await storage.deletePool(name, ownerOf(pool));
    await removeFinalizer(client, "StoragePool", pool);
    return;
  }
  if (!(await addFinalizer(client, "StoragePool", pool))) return;
  if (facts === undefined) {
    await storage.createPool(name, pool.spec.disks);
    facts = await factsOf(storage, pool);
  }
  if (facts === undefined) throw new PlinthError("POOL_NOT_FOUND", `${name} is not there after its creation`);
  const waits: Verdict[] = [];
  if (facts.unavailable === undefined) {
    if (facts.owner !== ownerOf(pool)) await storage.ownPool(name, ownerOf(pool));
    // Remembered first: a disk that is taken and then named no more is known as ours whatever ends this in between.
    const disks = disksOf(pool, facts);
    if (!remembers(pool, disks)) await writeStatus(client, "StoragePool", pool, { disks });
    const fresh = pool.spec.disks.filter((path) => facts?.disks.every((disk) => disk.path !== path));
    if (fresh.length > 0) {
      await storage.addDisks(name, fresh);
      await client.recordEvent(pool, { reason: "DisksAdded", message: fresh.join(", ") });
    }
    const { keyFile } = pool.spec;
    if (keyFile !== undefined && keyFile !== facts.keyFile) {
      await storage.rekeyPool(name, keyFile);
      await client.recordEvent(pool, { reason: "Rekeyed", message: `its keys are wrapped by ${keyFile}` });
    }
    waits.push(...(await keepThresholds(pool, facts.thresholds, storage)));
    const refused = await keepScrub(pool, facts.scrub, storage);
    facts = (await factsOf(storage, pool)) ?? facts;
    waits.push(await keepDisks(pool, facts, modules));
    waits.push(...(refused === undefined ? scrubCondition(facts) : [refused]));
    facts = (await factsOf(storage, pool)) ?? facts;
  }
  await showPool(pool, facts, waits, client);
}

/** As storaged knows whoever makes the pool. */
function ownerOf({ metadata: { name } }: StoragePool): string {
  return `StoragePool ${name}`;
}

async function factsOf(storage: PoolStorage, pool: StoragePool): Promise<PoolFacts | undefined> {
  return (await storage.pools()).find(({ name }) => name === pool.metadata.name);
}

type DiskFacts = PoolFacts["disks"][number];

/** Goes one step with every disk that comes back into use or leaves; the condition says why it is not done. */
async function keepDisks(pool: StoragePool, facts: PoolFacts, modules: PoolModules): Promise<Verdict> {
  const { client, storage } = modules;
  const { name } = pool.metadata;
  const before = pool.status?.disks ?? [];
  const waits: { readonly reason: string; readonly message: string }[] = [];
  for (const disk of facts.disks) {
    const { path } = disk;
    const known = before.find((each) => each.path === path)?.wanted;
    if (known === undefined) continue;
    try {
      if (pool.spec.disks.includes(path)) {
        // One that the command line drains goes on draining.
        if (known || disk.state !== "Draining") continue;
        await storage.undrainDisk(name, path);
        await client.recordEvent(pool, { reason: "DiskKept", message: `${path} is wanted again` });
        continue;
      }
      const wait = await letGo(pool, facts, disk, modules);
      if (wait !== undefined) waits.push(wait);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || isStorageAway(thrown)) throw thrown;
      waits.push({ reason: reasonOf(thrown.code), message: `${path}: ${describeError(thrown)}` });
    }
  }
  const [first] = waits;
  const type = "DisksAsWanted";
  if (first === undefined) return { type, status: "True", reason: "AsWanted", message: "" };
  const message = waits.map((each) => each.message).join("; ");
  return { type, status: "False", reason: first.reason, message };
}

/** A disk that is named no more: drained, and removed when it is empty. Undefined when it is gone. */
async function letGo(
  pool: StoragePool,
  facts: PoolFacts,
  { path, state, segments }: DiskFacts,
  { client, storage }: PoolModules,
): Promise<{ reason: string; message: string } | undefined> {
  const { name } = pool.metadata;
  const reason = "Draining";
  const job = facts.jobs?.findLast((each) => each.kind === "drain" && each.subject === path);
  const active = job?.state === "running" || job?.state === "waiting";
  if (state === "Draining" && segments > 0 && active) {
    const { doneBytes, totalBytes } = job;
    // In whole percents: a condition that changes with every block is of no use to those who watch it.
    const percent = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes);
    return {
      reason,
      message: `${path} is being emptied: ${percent} % of ${formatBytes(totalBytes)} are moved`,
    };
  }
  const isUsed = state === "Healthy" || state === "Damaged";
  if (isUsed || (state === "Draining" && segments > 0)) {
    await storage.drainDisk(name, path);
    if (isUsed)
      await client.recordEvent(pool, { reason: "DiskDraining", message: `${path} is being emptied` });
    return { reason, message: `${path} is being emptied` };
  }
  // Empty, or not readable: then refused until every copy is made anew elsewhere.
  await storage.removeDisk(name, path);
  await client.recordEvent(pool, { reason: "DiskRemoved", message: `${path} is not the pool's any more` });
  return undefined;
}

/** What the status says of each disk, and of those that are yet to be taken. */
function disksOf(pool: StoragePool, facts: PoolFacts) {
  const before = pool.status?.disks ?? [];
  const there = facts.disks.map(({ segments: _, why: __, ...disk }) => {
    const known = before.find(({ path }) => path === disk.path)?.wanted;
    // One that comes back counts as leaving until it is in use again: whatever ends this turn, the next sees to it.
    const back = known !== false || disk.state !== "Draining";
    const named = pool.spec.disks.includes(disk.path);
    const wanted = named && back ? true : known === undefined && !named ? undefined : false;
    return { ...disk, ...(wanted === undefined ? {} : { wanted }) };
  });
  const awaited = pool.spec.disks.filter((path) => there.every((disk) => disk.path !== path));
  return [...there, ...awaited.map((path) => ({ path, state: "Pending", wanted: true }))];
}

/** Whether the status says already which disks are ours; their figures are shown at the end of a turn. */
function remembers(pool: StoragePool, disks: ReturnType<typeof disksOf>): boolean {
  const before = pool.status?.disks ?? [];
  return disks.every(({ path, wanted }) =>
    before.some((known) => known.path === path && known.wanted === wanted),
  );
}

function fieldsOf(pool: StoragePool, facts: PoolFacts) {
  const { sizeBytes, allocatedBytes, freeBytes, promisedBytes, growthBytes, usedPercent, level } = facts;
  const room = {
    promisedBytes,
    leftBytes: growthBytes,
    usedPercent,
    level,
    thresholds: facts.thresholds,
    fullInSeconds: facts.fullInSeconds,
  };
  const disks = disksOf(pool, facts);
  const scrub = facts.scrub === undefined ? {} : { scrub: scrubStatus(facts.scrub) };
  return { sizeBytes, allocatedBytes, freeBytes, ...room, disks, ...scrub };
}

async function showPool(
  pool: StoragePool,
  facts: PoolFacts,
  waits: readonly Verdict[],
  client: ResourceClient,
): Promise<void> {
  const { level, unavailable } = facts;
  const ready: Verdict =
    unavailable === undefined
      ? { type: "Ready", status: "True", reason: "Open", message: "" }
      : { type: "Ready", status: "False", reason: "DiskMissing", message: unavailable };
  const pressure = level === undefined ? undefined : roomCondition(facts);
  const before = pool.status?.conditions?.find((each) => each.type === "RoomLeft")?.reason;
  const unlocked = pool.spec.keyFile === undefined ? [] : [unlockedCondition(facts)];
  const room = pressure === undefined ? [] : [pressure];
  const conditions = [ready, disksCondition(facts), intactCondition(facts), ...room, ...unlocked, ...waits];
  await tellScrub(pool, facts, client);
  const observed = { observedGeneration: pool.metadata.generation };
  await writeStatus(client, "StoragePool", pool, { ...fieldsOf(pool, facts), ...observed }, conditions);
  await tellDamage(pool, intactCondition(facts), client);
  if (pressure === undefined || (before ?? "RoomLeft") === pressure.reason) return;
  const { reason = "", message } = pressure;
  const type = reason === "RoomLeft" ? "Normal" : "Warning";
  await client.recordEvent(pool, { type, reason, message: message || "there is room again" });
}

/** Whether every disk of the pool is used. */
function disksCondition({ disks }: Pick<PoolFacts, "disks">): Verdict {
  const type = "DisksPresent";
  const away = disks.filter(({ state }) => state in AWAY_REASONS);
  const [first] = away;
  if (first === undefined) return { type, status: "True", reason: "AllPresent", message: "" };
  const message = away.map(({ path, state, why }) => `${path}: ${why ?? state.toLowerCase()}`).join("; ");
  return { type, status: "False", reason: AWAY_REASONS[first.state] ?? "DiskMissing", message };
}

const AWAY_REASONS: Readonly<Record<string, string>> = {
  Missing: "DiskMissing",
  Failed: "DiskFailed",
  Detached: "DiskDetached",
};

/** An event when disks turn out to be damaged, and when they are right again. */
async function tellDamage(pool: StoragePool, intact: Verdict, client: ResourceClient): Promise<void> {
  const before = pool.status?.conditions?.find((each) => each.type === intact.type)?.status ?? "True";
  if (before === intact.status) return;
  const { reason = "", message = "" } = intact;
  if (intact.status === "False") await client.recordEvent(pool, { type: "Warning", reason, message });
  else
    await client.recordEvent(pool, { reason: "DisksMended", message: "nothing is known to be bad on them" });
}

/** Whether every disk that is used is as it was left, as far as anybody has come upon it. */
function intactCondition({ disks }: Pick<PoolFacts, "disks">): Verdict {
  const type = "DisksIntact";
  const bad = disks.filter(
    ({ state, why }) => state === "Damaged" || (state === "Draining" && why !== undefined),
  );
  if (bad.length === 0) return { type, status: "True", reason: "NothingFound", message: "" };
  const message = bad.map(({ path, why = "damaged" }) => `${path}: ${why}`).join("; ");
  return { type, status: "False", reason: "DiskDamaged", message };
}

function unlockedCondition({ locked }: Pick<PoolFacts, "locked">): Verdict {
  const type = "Unlocked";
  if (locked === undefined) return { type, status: "True", reason: "KeyKnown", message: "" };
  return { type, status: "False", reason: "Locked", message: locked };
}

const LEVEL_REASONS: Readonly<Record<string, string>> = {
  warning: "GettingFull",
  critical: "NearlyFull",
  full: "Full",
};

function roomCondition({
  level = "ok",
  usedPercent = 0,
  growthBytes = 0,
  fullInSeconds,
}: PoolFacts): Verdict {
  const type = "RoomLeft";
  const reason = LEVEL_REASONS[level];
  if (reason === undefined) return { type, status: "True", reason: "RoomLeft", message: "" };
  const days = fullInSeconds === undefined ? "" : `, full in ${inWords(fullInSeconds)} at this rate`;
  const message = `${Math.round(usedPercent)} % are taken, ${formatBytes(growthBytes)} are left${days}`;
  return { type, status: "False", reason, message };
}

/** Coarse, so that a condition does not change with every second. */
function inWords(seconds: number): string {
  if (seconds >= 2 * 86_400) return `${Math.floor(seconds / 86_400)} days`;
  return seconds >= 7200 ? `${Math.floor(seconds / 3600)} hours` : "less than two hours";
}
