// Planned upgrade: a new process takes the switch over from the one that runs.
//
//   running switch                               new process, `vswitchd --upgrade`
//   upgrade/begin   ◄──────────────────────────  what is there?
//   bridges, files  ──────────────────────────►  starts its threads, reads database and flows: seconds, perhaps
//   forwards, carries out changes                …
//   upgrade/leave   ◄──────────────────────────  ready
//   takes no more changes, lets go of the lock   takes the lock, reads database, makes bridges
//   forwards                                     …
//   stops between two bursts  ◄────────────────  now (thread to thread; hand-over.ts)
//   descriptors, stations     ─────────────────► reads what came since, forwards
//   ends
//
// Everything that can fail for a reason that lies in files, options or versions fails before upgrade/leave; the switch
// that runs goes on then as if nothing had been. Flows and connections go by files that a killed switch leaves too, so
// nothing acknowledged is lost wherever either process dies. Peers of ports notice nothing: their connections stay
// open. When the successor dies behind upgrade/leave, the switch ends too, as if it had been killed. Thread: main.
import { join } from "node:path";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import { exitNow, type FileLock, lockFile, lockHolder } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { askUnixctl } from "../cli/unixctl-client.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { Followed } from "../datapath/index.js";
import type { Closers } from "./closers.js";
import { command } from "./commands.js";

export const LOCK_NAME = "vswitchd.lock";
export const CONTROL_NAME = "vswitchd.ctl";
/** Where a successor listens while it prepares itself. */
export const HAND_OVER_NAME = "upgrade.sock";
const BEGIN = "upgrade/begin";
const LEAVE = "upgrade/leave";
const ANSWER_DEADLINE_MS = 20_000;
/** From its last answer until the switch that leaves has hung up on all its clients. */
const LEAVE_DEADLINE_MS = 30_000;
const LEAVE_INTERVAL_MS = 2;
/** Grows with every change of what is handed over, and how. */
const HAND_OVER_VERSION = 1;

/** The switch that runs in a directory. */
export interface Predecessor extends Pick<Followed, "bridges"> {
  readonly pid: number;
  readonly handOver: number;
  readonly version: string;
}

/** What a switch that can hand itself over does for it. */
export interface Succession {
  describe(): Promise<Pick<Followed, "bridges">>;
  /** From now on the successor, who listens at `socket`, may ask for the ports. Throws when it cannot be dialled. */
  dial(socket: string): Promise<void>;
  /** Hangs up on controllers and others; forwards on. */
  release(): Promise<void>;
  /** After dial(): resolves when nothing is forwarded any more; whether the successor has the ports. */
  readonly left: Promise<boolean>;
}

export interface Leaving {
  readonly opened: Closers;
  readonly lock: FileLock;
  readonly version: string;
  /** Ends the process; our own when absent. */
  readonly exit?: (code: number) => void;
}

/** What the successor asks; not for people. */
export function leavingCommands(
  succession: Succession | undefined,
  leaving: Leaving,
): Record<string, UnixctlCommand> {
  if (succession === undefined) return {};
  return {
    [BEGIN]: command("", 0, 0, async () =>
      JSON.stringify({
        ...{ pid: process.pid, version: leaving.version, handOver: HAND_OVER_VERSION },
        ...(await succession.describe()),
      } satisfies Predecessor),
    ),
    [LEAVE]: command("PID SOCKET", 2, 2, async ([pid, socket]) => {
      if (pid !== String(process.pid))
        throw new PlinthError("NOT_ASKED", `this is process ${process.pid}, not ${pid}`);
      await succession.dial(socket as string);
      // The answer is on its way before the door shuts.
      setImmediate(() => void leave(succession, leaving));
      return "";
    }),
  };
}

/** Takes no more changes and lets go of the directory, forwards until the successor has the ports, and ends. */
async function leave(succession: Succession, { opened, lock, exit = exitNow }: Leaving): Promise<void> {
  await opened.closeMost();
  await succession.release();
  lock.close();
  exit((await succession.left) ? 0 : 1);
}

/** The switch that runs in `dir`; undefined when none does. Throws UPGRADE_REFUSED. */
export async function findPredecessor(dir: string): Promise<Predecessor | undefined> {
  const pid = lockHolder(join(dir, LOCK_NAME));
  if (pid === undefined) return undefined;
  try {
    const text = await askUnixctl(BEGIN, [], {
      socket: join(dir, CONTROL_NAME),
      timeoutMs: ANSWER_DEADLINE_MS,
    });
    return parsePredecessor(JSON.parse(String(text)));
  } catch (thrown) {
    const isOlder = thrown instanceof JsonRpcFault || thrown instanceof OtherVersion;
    throw new PlinthError(
      "UPGRADE_REFUSED",
      isOlder
        ? `process ${pid} is of a version that cannot be taken over from`
        : `process ${pid} does not say what is to be taken over: ${describeError(thrown)}`,
      { cause: thrown, remedy: "stop it, and start the new one", context: { pid } },
    );
  }
}

class OtherVersion extends Error {}

function parsePredecessor(value: unknown): Predecessor {
  const { pid, version, handOver, bridges } = value as Partial<Predecessor>;
  if (handOver !== HAND_OVER_VERSION) throw new OtherVersion();
  const isText = (one: unknown): boolean => typeof one === "string";
  const isSound =
    typeof pid === "number" &&
    typeof version === "string" &&
    Array.isArray(bridges) &&
    bridges.every((one) => isText(one?.name) && isText(one?.flowFile));
  if (!isSound) throw new Error("its answer makes no sense");
  return { pid, version, handOver, bridges };
}

/**
 * Asks it to take no more changes, and to hand its ports over to whoever listens at `socket`; resolves with the lock of
 * its directory. Throws UPGRADE_REFUSED; it may still run then.
 */
export async function relieve({ pid }: Predecessor, dir: string, socket: string): Promise<FileLock> {
  try {
    await askUnixctl(LEAVE, [String(pid), socket], {
      socket: join(dir, CONTROL_NAME),
      timeoutMs: ANSWER_DEADLINE_MS,
    });
  } catch (thrown) {
    // It may end before its answer has left; the lock tells.
    if (thrown instanceof JsonRpcFault) throw refused(pid, describeError(thrown), thrown);
  }
  let lock: FileLock | undefined;
  try {
    await waitFor(
      () => {
        lock = tryLock(join(dir, LOCK_NAME));
        return lock !== undefined;
      },
      "its lock",
      LEAVE_DEADLINE_MS,
      LEAVE_INTERVAL_MS,
    );
  } catch (thrown) {
    throw refused(pid, "it does not let go of its directory", thrown);
  }
  return lock as FileLock;
}

function tryLock(path: string): FileLock | undefined {
  if (lockHolder(path) !== undefined) return undefined;
  try {
    return lockFile(path);
  } catch (thrown) {
    if (thrown instanceof PlinthError && thrown.code === "ALREADY_RUNNING") return undefined;
    throw thrown;
  }
}

function refused(pid: number, why: string, cause: unknown): PlinthError {
  return new PlinthError("UPGRADE_REFUSED", `process ${pid} does not hand over: ${why}`, {
    cause,
    context: { pid },
  });
}
