// What every daemon process does around its own work: directory check, logger, signals, one clear last word.
// Each daemon's start function takes its own lock and creates its control socket last.
import { join } from "node:path";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { createLogger, type Logger } from "../../base/log/index.js";

export interface RunningDaemon {
  /** Orderly end: everything acknowledged is durable and every socket and lock is gone when it resolves. */
  close(): Promise<void>;
  /** Settles when the daemon ended by itself, e.g. after `shutdown` on its control socket. */
  readonly closed?: Promise<void>;
}

export interface DaemonOptions {
  readonly name: string;
  /** Directory for NAME.log; standard error when absent (a daemon run by hand). */
  readonly logDir?: string | undefined;
  readonly level?: "debug" | "info" | "warn" | "error";
}

/** An orderly end may not take longer than this; then the process leaves anyway (a SIGKILL is always survivable). */
const CLOSE_DEADLINE_MS = 20_000;

/**
 * Starts a daemon in this process and stays until SIGTERM, SIGINT or its own end. Exit code 0 after an orderly end,
 * 1 with one line on standard error when it could not start, 70 after an internal error.
 */
export async function runDaemon(
  options: DaemonOptions,
  start: (log: Logger) => Promise<RunningDaemon>,
): Promise<void> {
  const log = openLog(options);
  const fatal = (thrown: unknown): void => {
    log.fatal({ err: thrown }, "internal error");
    process.stderr.write(`plinth ${options.name}: internal error: ${describeError(thrown)}\n`);
    process.exit(70);
  };
  process.on("uncaughtException", fatal);
  process.on("unhandledRejection", fatal);
  // Whoever started us may be gone; writing to its pipe must not end us.
  process.on("SIGPIPE", () => {});
  process.on("SIGHUP", () => {});

  let daemon: RunningDaemon;
  try {
    daemon = await start(log);
  } catch (thrown) {
    // By hand the log is standard error too; one clear line is enough there, unless it is our bug.
    if (options.logDir !== undefined || !(thrown instanceof PlinthError))
      log.error({ err: thrown }, "could not start");
    refuseToStart(options.name, thrown);
  }
  log.info("started");

  const signalled = new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve(signal));
  });
  const reason = await Promise.race([
    signalled,
    (daemon.closed ?? new Promise<never>(() => {})).then(() => "shutdown"),
  ]);
  log.info({ reason }, "stopping");
  const deadline = setTimeout(() => {
    log.error("orderly end took too long");
    process.exit(75);
  }, CLOSE_DEADLINE_MS);
  deadline.unref();
  await daemon.close();
  log.info("stopped");
  process.exit(0);
}

/** Ends the process when the log cannot be written: a daemon that nobody can ask what happened is no use. */
function openLog({ name, logDir, level = "info" }: DaemonOptions): Logger {
  if (logDir === undefined) return createLogger({ name, level });
  try {
    return createLogger({ name, level, file: join(logDir, `${name}.log`) });
  } catch (cause) {
    const why = `cannot write logs to ${logDir}: ${describeError(cause)}`;
    return refuseToStart(name, new PlinthError("LOG_UNWRITABLE", why, { field: "--log-dir", cause }));
  }
}

function refuseToStart(name: string, thrown: unknown): never {
  const code = thrown instanceof PlinthError ? thrown.code : "INTERNAL";
  process.stderr.write(`plinth ${name}: ${describeError(thrown)} [${code}]\n`);
  process.exit(1);
}
