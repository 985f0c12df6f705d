// Planned upgrade: a new process takes the switch over from the one that runs.
//
//   running switch                               new process, `vswitchd --upgrade`
//   upgrade/begin   ◄──────────────────────────  what is there?
//   bridges, files  ──────────────────────────►  starts its threads, reads database and flows: seconds, perhaps
//   forwards, carries out changes                …
//   upgrade/leave   ◄──────────────────────────  ready
//   stops between two bursts, ends               takes the lock, reads what came since, opens the ports
//
// Everything that can fail for a reason that lies in files, options or versions fails before upgrade/leave; the switch
// that runs goes on then as if nothing had been. Nothing is handed over but by files that a killed switch leaves too, so
// nothing acknowledged is lost wherever either process dies. Guests keep their connections: QEMU takes the new dialler,
// and rings tell where they are. Thread: main.
import { join } from "node:path";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import { exitNow, type FileLock, lockFile, lockHolder } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { askUnixctl } from "../cli/unixctl-client.js";
import type { Followed } from "../datapath/index.js";
import { command } from "./commands.js";
import type { UnixctlCommand } from "./unixctl.js";

export const LOCK_NAME = "vswitchd.lock";
export const CONTROL_NAME = "vswitchd.ctl";
const BEGIN = "upgrade/begin";
const LEAVE = "upgrade/leave";
const ANSWER_DEADLINE_MS = 20_000;
/** From its last answer to the end of the switch that leaves: it only has to die. */
const LEAVE_DEADLINE_MS = 10_000;
const LEAVE_INTERVAL_MS = 1;

/** The switch that runs in a directory. */
export interface Predecessor extends Followed {
  readonly pid: number;
  readonly version: string;
}

export interface Leaving {
  /** What its successor needs to know. */
  readonly describe: () => Promise<Followed>;
  /** Resolves when no frame is taken from any port any more. */
  readonly pause: () => Promise<void>;
  readonly version: string;
  /** Ends the process; the answer is on its way. Our own when absent. */
  readonly exit?: () => void;
}

/** What the successor asks; not for people. */
export function takeOverCommands(leaving: Leaving): Record<string, UnixctlCommand> {
  const { describe, pause, version, exit = () => exitNow(0) } = leaving;
  return {
    [BEGIN]: command("", 0, 0, async () =>
      JSON.stringify({ pid: process.pid, version, ...(await describe()) } satisfies Predecessor),
    ),
    [LEAVE]: command("PID", 1, 1, async ([pid]) => {
      if (pid !== String(process.pid))
        throw new PlinthError("NOT_ASKED", `this is process ${process.pid}, not ${pid}`);
      await pause();
      setImmediate(exit);
      return "";
    }),
  };
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
    const isOlder = thrown instanceof JsonRpcFault;
    throw new PlinthError(
      "UPGRADE_REFUSED",
      isOlder
        ? `process ${pid} is of a version that cannot be taken over from`
        : `process ${pid} does not say what is to be taken over: ${describeError(thrown)}`,
      { cause: thrown, remedy: "stop it, and start the new one", context: { pid } },
    );
  }
}

function parsePredecessor(value: unknown): Predecessor {
  const { pid, version, bridges, taps, linked } = value as Partial<Predecessor>;
  const isText = (one: unknown): boolean => typeof one === "string";
  const isSound =
    typeof pid === "number" &&
    typeof version === "string" &&
    Array.isArray(bridges) &&
    bridges.every((one) => isText(one?.name) && isText(one?.flowFile)) &&
    Array.isArray(taps) &&
    taps.every(isText) &&
    Array.isArray(linked) &&
    linked.every(isText);
  if (!isSound) throw new Error("its answer makes no sense");
  return { pid, version, bridges, taps, linked };
}

/** Asks it to end; resolves with the lock of its directory. Throws UPGRADE_REFUSED; it may still run then. */
export async function relieve({ pid }: Predecessor, dir: string): Promise<FileLock> {
  try {
    await askUnixctl(LEAVE, [String(pid)], {
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
    throw refused(pid, "it does not end", thrown);
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
