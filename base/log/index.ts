// Structured logging: one JSON line per event, through pino. The data path never logs; it counts.
import { destination, type Logger as PinoLogger, pino } from "pino";
import { RotatingFile } from "./rotating-file.js";

export { LOG_FILE_SIZE_BYTES_MAX, RotatingFile } from "./rotating-file.js";

export type Logger = PinoLogger;

export interface LogOptions {
  /** The daemon's name, e.g. "vswitchd". */
  readonly name: string;
  readonly level?: "trace" | "debug" | "info" | "warn" | "error" | "silent";
  /** A file to append to, rotated and bounded; standard error when absent. */
  readonly file?: string;
}

/** A logger for one daemon. Lines are written synchronously so that a SIGKILL loses none. */
export function createLogger(options: LogOptions): Logger {
  const sink =
    options.file === undefined ? destination({ dest: 2, sync: true }) : new RotatingFile(options.file);
  return pino(
    {
      name: options.name,
      level: options.level ?? "info",
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
}

/** A logger that says nothing, for tests. */
export const silentLog: Logger = pino({ level: "silent" });
