// Which socket a daemon's name stands for: by its file of process number in the directory where it runs, as ovs-appctl
// finds it. Source: ovs-appctl(8), -t. Reads files, and asks who holds their locks.

import { closeSync, constants, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemReason } from "../../base/errors/index.js";
import { lockHolder } from "../../base/linux/index.js";
import { commandError } from "./errors.js";

export interface TargetIo {
  readonly err: (text: string) => void;
  /** The path of a file of the switch in --dir. */
  readonly socket: (name: string) => string;
  /** A line of a log, as the original writes one to standard error. */
  readonly warn: (module: string, text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const RUN_DIRECTORY = "/var/run/openvswitch";

/** The path of the control socket; `target` undefined stands for the switch in --dir. Throws COMMAND_FAILED. */
export function socketOfTarget(target: string | undefined, io: TargetIo): string {
  const plain = io.socket("vswitchd.ctl");
  const named = target ?? (existsSync(plain) ? undefined : nameThere(io));
  if (named === undefined || named === "vswitchd") return plain;
  return socketByName(named, io);
}

/** Where Open vSwitch runs, its daemon. */
function nameThere(io: TargetIo): string | undefined {
  return runningIn(io.socket("ovs-vswitchd.pid")) === undefined ? undefined : "ovs-vswitchd";
}

function socketByName(target: string, io: TargetIo): string {
  if (target.includes("/")) return target;
  const here = io.socket(`${target}.pid`);
  const pid = runningIn(here);
  if (pid !== undefined) return io.socket(`${target}.${pid}.ctl`);
  const directory = io.env["OVS_RUNDIR"] ?? RUN_DIRECTORY;
  return join(directory, `${target}.${readPidFile(join(directory, `${target}.pid`), io)}.ctl`);
}

/** The process that runs by this file, or undefined. */
function runningIn(path: string): number | undefined {
  try {
    return lockHolder(path);
  } catch {
    return undefined;
  }
}

function readPidFile(path: string, { warn }: TargetIo): number {
  const refuse = (reason: string): never => {
    throw commandError(`cannot read pidfile "${path}" (${reason})`);
  };
  try {
    closeSync(openSync(path, constants.O_RDWR));
    readFileSync(path);
  } catch (thrown) {
    const reason = systemReason(thrown);
    warn("daemon_unix", `${path}: open: ${reason}`);
    refuse(reason);
  }
  // The number in the file of a daemon that has died may be that of another process by now; the lock never is.
  return lockHolder(path) ?? refuse("No such process");
}
