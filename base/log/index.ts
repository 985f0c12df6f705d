// Structured logging: one JSON line per event, through pino. The data path never logs; it counts.
import { createRequire } from "node:module";
import type { Logger as PinoLogger } from "pino";
import { RotatingFile } from "./rotating-file.js";

export { LOG_FILE_SIZE_BYTES_MAX, RotatingFile } from "./rotating-file.js";

type Methods = Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error" | "fatal">;

export interface Logger extends Methods {
  /** From which level on lines are written; "silent" for none. */
  level: string;
  /** Goes on in a new file when somebody has moved the log's; undefined where it has none. */
  readonly reopen?: (() => void) | undefined;
  /** A logger whose lines also hold these. */
  child(bindings: Record<string, unknown>): Logger;
}

export interface LogOptions {
  /** The daemon's name, e.g. "vswitchd". */
  readonly name: string;
  readonly level?: "trace" | "debug" | "info" | "warn" | "error" | "silent";
  /** A file to append to, rotated and bounded; standard error when absent. */
  readonly file?: string;
}

/** A logger for one daemon. Lines are written synchronously so that a SIGKILL loses none. */
export function createLogger(options: LogOptions): Logger {
  const { destination, pino } = loadPino();
  const file = options.file === undefined ? undefined : new RotatingFile(options.file);
  const logger = pino(
    {
      name: options.name,
      level: options.level ?? "info",
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    file ?? destination({ dest: 2, sync: true }),
  );
  // The types of pino take every further member of a child for a level; that it has its parent's members, they do not know.
  return Object.assign(logger as unknown as Logger, { reopen: file && (() => file.reopen()) });
}

/** Only a daemon writes a log: to load pino would take a tenth of the time of a short command. */
function loadPino(): typeof import("pino") {
  return createRequire(import.meta.url)("pino") as typeof import("pino");
}

const nothing = (): void => {};

/** A logger that says nothing: of clients, which have no log, and for tests. */
export const silentLog: Logger = {
  ...{ trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing, fatal: nothing },
  level: "silent",
  child: () => silentLog,
};
