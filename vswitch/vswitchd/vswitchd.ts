// The switch daemon: configuration database, reconciliation, status, inspection, around a backend that forwards.
//
//   DIR/conf.db        the configuration (record-log.ts)      DIR/db.sock        OVSDB
//   DIR/vswitchd.lock  held for life                          DIR/<bridge>.mgmt  OpenFlow, made by the backend
//   DIR/vswitchd.ctl   inspection; made last: the daemon is ready
//   DIR/capture.sock   captured frames, made by the backend
//   DIR/ovs-vswitchd.pid and the like: how Open vSwitch's tools find us (pid-files.ts)
//
// Thread: main. Invariant: a second instance is refused before anything in DIR is touched.
import { accessSync, constants, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { parseActiveEndpoint, parsePassiveEndpoint, probeListen } from "../../base/jsonrpc/index.js";
import { type FileLock, lockFile } from "../../base/linux/index.js";
import type { Logger } from "../../base/log/index.js";
import { openMetricsServer, parseMetricsEndpoint } from "../../base/metrics/index.js";
import { insertOp } from "../../base/ovsdb/index.js";
import { type Clock, systemClock, WarpableClock } from "../../base/time/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";
import { createUnixctlServer, type UnixctlCommand } from "../cli/unixctl-server.js";
import type { FailedPort, Followed } from "../datapath/index.js";
import {
  checkStorage,
  type Database,
  DatabaseServer,
  OPEN_VSWITCH_SCHEMA,
  openStorage,
  type Storage,
  transact,
} from "../db/index.js";
import { Closers } from "./closers.js";
import { switchCommands } from "./commands.js";
import { Coverage } from "./coverage.js";
import { databaseCommands } from "./database-commands.js";
import { DummyAddresses, type DummyMode } from "./dummy.js";
import { logCommands } from "./log-commands.js";
import { formatMetrics } from "./metrics-text.js";
import type { SwitchBackend } from "./model.js";
import { makePidFiles } from "./pid-files.js";
import { readModel } from "./read-model.js";
import { type StartConfig, startConfigOf } from "./start-config.js";
import { SwitchCore } from "./switch-core.js";
import {
  CONTROL_NAME,
  findPredecessor,
  HAND_OVER_NAME,
  LOCK_NAME,
  leavingCommands,
  type Predecessor,
  relieve,
  type Succession,
} from "./take-over.js";
import { identityOperations } from "./write-back.js";

const VERSION = "0.1.0";

export interface VswitchdOptions {
  /** Made when absent, 0700. */
  readonly dir: string;
  /** Further places for OVSDB: punix, ptcp and pssl to listen at, unix, tcp and ssl to dial. */
  readonly ovsdb?: readonly string[];
  /** Where metrics are served over HTTP: HOST:PORT or unix:PATH; nowhere when absent. */
  readonly metrics?: string | undefined;
  readonly version?: string;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Takes the directory over from the switch that runs there, if one does; see take-over.ts. */
  readonly upgrade?: boolean;
  /** Ports without devices, and a time that can be stopped and moved; "off" when absent. */
  readonly dummy?: DummyMode;
}

export interface Backend extends SwitchBackend {
  /** Commands of its own for ovs-appctl. */
  readonly commands?: Readonly<Record<string, UnixctlCommand>>;
  /** Called once, when the directory is ours, before anything else is asked. */
  start?(): Promise<void>;
  /** Called when all that is configured has been set up. With a predecessor the ports become ours now. */
  settled?(): Promise<readonly FailedPort[]>;
  readonly succession?: Succession;
}

export type CreateBackend = (
  options: StartConfig & {
    readonly dir: string;
    readonly log: Logger;
    readonly clock: Clock;
    readonly version: string;
    readonly dummy: DummyMode;
    /** Still forwards: nothing in `dir` may be changed before start(). */
    readonly predecessor?: Followed | undefined;
  },
) => Promise<Backend>;

export interface Vswitchd {
  /** Settles when `exit` or `shutdown` was asked for; the caller then closes. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts the switch in `dir` and resolves when it is ready. Throws ALREADY_RUNNING, SOCKET_PATH_TOO_LONG,
 * SOCKET_IN_USE, SOCKET_UNAVAILABLE, ENDPOINT_INVALID, METRICS_ENDPOINT_INVALID, DIRECTORY_UNREADABLE, DATABASE_UNREADABLE, DATABASE_FOREIGN or
 * DATABASE_NEWER; everything it had opened is closed then.
 */
export async function startVswitchdWith(
  createBackend: CreateBackend,
  options: VswitchdOptions,
): Promise<Vswitchd> {
  const { dir, log } = options;
  const path = (name: string): string => join(dir, name);
  for (const name of ["db.sock", CONTROL_NAME]) checkUnixPath(path(name));
  const metrics = options.metrics === undefined ? undefined : parseMetricsEndpoint(options.metrics);
  makeDirectory(dir);
  const opened = new Closers(log);
  try {
    const predecessor = options.upgrade === true ? await findPredecessor(dir) : undefined;
    const prepared =
      predecessor === undefined ? undefined : await prepare(createBackend, options, predecessor, opened);
    const lock =
      predecessor === undefined
        ? lockFile(path(LOCK_NAME))
        : await relieve(predecessor, dir, path(HAND_OVER_NAME));
    // Closed last.
    opened.pushLast(() => lock.close());
    if (predecessor === undefined) for (const endpoint of options.ovsdb ?? []) await probeRemote(endpoint);
    const scrape: Scrape = { read: () => Promise.reject(new Error("the switch is starting")) };
    if (metrics !== undefined) {
      const page = await openMetricsServer(metrics, () => scrape.read(), log);
      opened.push(() => page.close());
    }
    const storage = openStorage(path("conf.db"), OPEN_VSWITCH_SCHEMA, { log });
    opened.push(() => storage.close());
    const parts =
      prepared ??
      (await createParts(createBackend, options, opened, startConfigIn(storage.database, options)));
    return await assemble(parts, options, { storage, lock }, scrape, opened);
  } catch (thrown) {
    await opened.closeAll();
    throw thrown;
  }
}

/** Finds out before anything is touched whether a remote of the command line makes sense. */
async function probeRemote(endpoint: string): Promise<void> {
  if (endpoint.startsWith("p")) await probeListen(endpoint);
  else parseActiveEndpoint(endpoint);
}

/** Made when absent. Throws DIRECTORY_UNREADABLE before anything in it is touched. */
function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new PlinthError("DIRECTORY_UNREADABLE", `cannot use directory ${dir}: ${describeError(cause)}`, {
      cause,
      field: "--dir",
      remedy: "choose another with --dir",
    });
  }
}

/** What the page of metrics shows. */
interface Scrape {
  read: () => Promise<string>;
}

/** What does not need the database. */
interface Parts {
  readonly backend: Backend;
  readonly switchClock: Clock;
  /** That the backend was made with. */
  readonly started: StartConfig;
}

async function createParts(
  createBackend: CreateBackend,
  options: VswitchdOptions,
  opened: Closers,
  started: StartConfig,
  predecessor?: Predecessor,
): Promise<Parts> {
  const { dir, log, dummy = "off", version = VERSION } = options;
  // What keeps the daemon itself going is not part of the time that tests stop.
  const switchClock = options.clock ?? (dummy === "off" ? systemClock : new WarpableClock());
  const followed =
    predecessor === undefined
      ? undefined
      : { bridges: predecessor.bridges, socket: join(dir, HAND_OVER_NAME) };
  const backend = await createBackend({
    ...{ dir, log, clock: switchClock, version, dummy },
    predecessor: followed,
    ...started,
  });
  opened.push(() => backend.close(), true);
  return { backend, switchClock, started };
}

/** Everything that can be done, and can fail, while the other switch still forwards. */
async function prepare(
  createBackend: CreateBackend,
  options: VswitchdOptions,
  predecessor: Predecessor,
  opened: Closers,
): Promise<Parts> {
  const started = await rehearse(options);
  // Whether they are free cannot be known yet: the predecessor may listen there.
  for (const endpoint of options.ovsdb ?? [])
    if (endpoint.startsWith("p")) parsePassiveEndpoint(endpoint);
    else parseActiveEndpoint(endpoint);
  const { pid, version } = predecessor;
  options.log.info({ pid, version }, "taking over");
  return await createParts(createBackend, options, opened, started, predecessor);
}

/**
 * Reads a copy of the configuration as it will have to be read: what is wrong with it shows while the other switch still
 * runs, and the code is warm when every millisecond counts. Resolves with what is read only once. Throws as
 * openStorage().
 */
async function rehearse(options: VswitchdOptions): Promise<StartConfig> {
  const { dir, log, dummy = "off", version = VERSION } = options;
  checkStorage(join(dir, "conf.db"), OPEN_VSWITCH_SCHEMA);
  const scratch = mkdtempSync(join(dir, "upgrade-"));
  try {
    copyFileSync(join(dir, "conf.db"), join(scratch, "conf.db"));
    const storage = openStorage(join(scratch, "conf.db"), OPEN_VSWITCH_SCHEMA, { log });
    try {
      const { database } = storage;
      const databaseVersion = OPEN_VSWITCH_SCHEMA.version;
      transact(database, identityOperations({ version, databaseVersion, dir, dummy }));
      return startConfigIn(database, options);
    } finally {
      await storage.close();
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function startConfigIn(database: Database, { dir, dummy = "off" }: VswitchdOptions): StartConfig {
  return startConfigOf(readModel(database, { dir, dummy, addresses: new DummyAddresses() }));
}

async function assemble(
  { backend, switchClock, started }: Parts,
  options: VswitchdOptions,
  { storage, lock }: { readonly storage: Storage; readonly lock: FileLock },
  scrape: Scrape,
  opened: Closers,
): Promise<Vswitchd> {
  const { dir, log } = options;
  const { dummy = "off", clock = systemClock, version = VERSION } = options;
  const { database } = storage;
  const server = new DatabaseServer([storage], clock, log);
  opened.push(() => server.close());
  await backend.start?.();
  const core = new SwitchCore(database, server, backend, {
    dir,
    dummy,
    addresses: new DummyAddresses(),
    log,
    clock,
    started,
  });
  opened.push(() => core.stop());
  core.write([
    ...(database.rows("Open_vSwitch").size === 0 ? [insertOp("Open_vSwitch", {})] : []),
    ...identityOperations({ version, databaseVersion: OPEN_VSWITCH_SCHEMA.version, dir, dummy }),
  ]);
  await core.start();
  core.lost((await backend.settled?.()) ?? []);
  for (const endpoint of [`punix:${join(dir, "db.sock")}`, ...(options.ovsdb ?? [])])
    await core.managers.add(endpoint);
  let exit = (): void => {};
  const closed = new Promise<void>((resolve) => {
    exit = resolve;
  });
  const coverage = new Coverage(switchClock, () => backend.counters());
  coverage.start();
  opened.push(() => coverage.stop());
  const modules = { backend, applied: core.reconciler.applied, server, coverage, version };
  scrape.read = () => formatMetrics(modules);
  const commands = {
    ...switchCommands(modules),
    ...logCommands(log),
    ...databaseCommands({ server, storage, managers: core.managers }),
    ...leavingCommands(backend.succession, { opened, lock, version }),
    ...backend.commands,
  };
  const control = await createUnixctlServer(join(dir, CONTROL_NAME), commands, {
    name: "vswitchd",
    version: `vswitchd (Plinth) ${version}`,
    exit,
  });
  const pidFiles = makePidFiles(dir, CONTROL_NAME);
  opened.push(() => pidFiles.close());
  // Gone first: nobody finds a daemon that is leaving.
  opened.push(() => control.close());
  return { closed, close: () => opened.closeAll() };
}
