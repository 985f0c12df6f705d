// Options that several commands have: each is worded, parsed and bounded here.
import { type Command, InvalidArgumentError } from "commander";

const DEFAULT_API_PORT = 6443;
const DIR_LAST = "$PLINTH_DIR, else /var/lib/plinth as root, $XDG_DATA_HOME/plinth otherwise";
const DIR_DEFAULT = `default: ${DIR_LAST}`;

export function withDir(command: Command): Command {
  return command.option("--dir <dir>", `data directory (${DIR_DEFAULT})`);
}

/** For the verbs of a daemon that may also stand alone, in a directory of its own. */
export function withPartDir(command: Command, daemon: string): Command {
  // Its sockets are where tools of Open vSwitch look, too.
  const byDefault = daemon === "vswitchd" ? `default: $OVS_RUNDIR, else ${DIR_LAST}` : DIR_DEFAULT;
  return command.option(
    "--dir <dir>",
    `data directory, or that of a ${daemon} standing alone (${byDefault})`,
  );
}

/** For storaged itself, by whatever command it is started. */
export function withStorageDir(command: Command): Command {
  return command.option(
    "--dir <dir>",
    `directory of the daemon, made when missing (default: storage/ below the data directory: ${DIR_LAST}; the data directory itself where a storaged stands alone)`,
  );
}

export function withLogDir(command: Command): Command {
  return command.option("--log-dir <dir>", "directory of the log file (default: standard error)");
}

export function withApiPort(command: Command): Command {
  return command.option(
    "--port <port>",
    "port of the API on 127.0.0.1; 0 lets the system choose",
    wholeNumber(0, 65_535, "a port"),
    DEFAULT_API_PORT,
  );
}

export function withKernel(command: Command): Command {
  return command.option("--kernel <file>", "guest kernel to use in place of the distribution's");
}

/** How long the command may take in all, in seconds. */
export function withTimeout(
  command: Command,
  limits: { readonly default: number; readonly max: number },
): Command {
  return command.option(
    "--timeout <seconds>",
    "give up after this long",
    seconds(limits.max),
    limits.default,
  );
}

/** Parses a number of seconds, fractions included, above 0. */
export function seconds(max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
    if (value > 0 && value <= max) return value;
    throw new InvalidArgumentError(`expected seconds, more than 0 and at most ${max}`);
  };
}

export function wholeNumber(min: number, max: number, what = "a whole number"): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected ${what} from ${min} to ${max}`);
  };
}
