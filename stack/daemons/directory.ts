// Where everything of one installation lives, and the version of that layout.
// Invariant: a directory of a newer format is refused before anything in it is touched.
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { makeDirectory } from "../../base/directory/index.js";
import { PlinthError } from "../../base/errors/index.js";

/** Raised when a released layout can no longer be read by the one before. */
export const DIRECTORY_FORMAT = 1;

/** The longest directory that leaves room for every socket name below it (sun_path holds 107 bytes and a NUL, unix(7)). */
export const DIRECTORY_LENGTH_MAX = 72;

/** What may lie in a directory that has no format file yet: parts started by hand, and what a file system brings along. */
const OWN_NAMES = new Set([
  ...[
    "format.new",
    "kubeconfig",
    "token",
    "tls",
    "state",
    "log",
    "switch",
    "storage",
    "disk",
    "image",
    "host",
  ],
  ...["run", "lost+found"],
]);

/** `--dir`, else $PLINTH_DIR, else /var/lib/plinth as root or $XDG_DATA_HOME/plinth. Always absolute. */
export function defaultDirectory(given?: string): string {
  const home = process.env["HOME"] ?? "/";
  const data = process.env["XDG_DATA_HOME"] ?? join(home, ".local", "share");
  const fallback = process.getuid?.() === 0 ? "/var/lib/plinth" : join(data, "plinth");
  return resolve(given ?? process.env["PLINTH_DIR"] ?? fallback);
}

/**
 * Where a storaged keeps what it has: the data directory itself where one stands alone, else storage/ below it. `isMade`: a
 * directory that is given and not a data centre's is that of a storaged alone, which may be yet to be made.
 */
export function storageDirectory(given?: string, isMade = false): string {
  const dir = defaultDirectory(given);
  const layout = directoryLayout(dir);
  const isAlone =
    existsSync(join(dir, "catalogue")) || (isMade && given !== undefined && !existsSync(layout.format));
  return isAlone ? dir : layout.storage;
}

/** Where guest images are kept between data centres: $PLINTH_CACHE, else /var/cache/plinth as root or $XDG_CACHE_HOME/plinth. */
export function cacheDirectory(): string {
  const home = process.env["HOME"] ?? "/";
  const caches = process.env["XDG_CACHE_HOME"] ?? join(home, ".cache");
  const fallback = process.getuid?.() === 0 ? "/var/cache/plinth" : join(caches, "plinth");
  return resolve(process.env["PLINTH_CACHE"] ?? fallback);
}

/** The named places below the data directory. Paths only; nothing is made. */
export function directoryLayout(dir: string) {
  return {
    dir,
    format: join(dir, "format"),
    kubeconfig: join(dir, "kubeconfig"),
    state: join(dir, "state"),
    log: join(dir, "log"),
    switch: join(dir, "switch"),
    switchDatabaseSocket: join(dir, "switch", "db.sock"),
    switchControlSocket: join(dir, "switch", "vswitchd.ctl"),
    storage: join(dir, "storage"),
    storageControlSocket: join(dir, "storage", "control.sock"),
    defaultDisk: join(dir, "disk", "0"),
    host: join(dir, "host"),
    run: join(dir, "run"),
    openflowSocket: join(dir, "run", "openflow.sock"),
    controllerControlSocket: join(dir, "run", "controller.sock"),
    hostControlSocket: join(dir, "run", "host.sock"),
    nfdControlSocket: join(dir, "run", "nfd.sock"),
  } as const;
}

export type DirectoryLayout = ReturnType<typeof directoryLayout>;

/**
 * Makes `dir` with its run/ and format file, or checks the ones that are there.
 * Throws DIRECTORY_TOO_LONG, DIRECTORY_UNREADABLE, DIRECTORY_NEWER, DIRECTORY_DAMAGED or DIRECTORY_FOREIGN; then
 * nothing was changed.
 */
export function openDirectory(dir: string): DirectoryLayout {
  const layout = directoryLayout(dir);
  checkLength(dir, DIRECTORY_LENGTH_MAX);
  try {
    if (existsSync(layout.format)) {
      checkFormat(layout.format);
    } else {
      makeDirectory(dir, 0o711);
      checkOwn(dir);
      const draft = `${layout.format}.new`;
      writeFileSync(draft, `${JSON.stringify({ format: DIRECTORY_FORMAT })}\n`);
      renameSync(draft, layout.format);
    }
    // Each VM's own uid must be able to walk through to its sockets, but not to list what else is there.
    for (const open of [layout.run]) mkdirSync(open, { recursive: true });
    chmodSync(dir, 0o711);
    chmodSync(layout.run, 0o711);
    for (const closed of [layout.log, layout.switch, layout.storage, layout.host]) {
      mkdirSync(closed, { recursive: true, mode: 0o700 });
    }
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw thrown;
    throw unusable(dir, thrown);
  }
  return layout;
}

/**
 * Makes the directory of one part that stands alone, 0700, or finds it. Throws DIRECTORY_TOO_LONG or
 * DIRECTORY_UNREADABLE; then nothing was changed.
 */
export function openPartDirectory(dir: string): string {
  checkLength(dir, DIRECTORY_LENGTH_MAX + "/storage".length);
  try {
    makeDirectory(dir, 0o700);
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (thrown) {
    throw unusable(dir, thrown);
  }
  return dir;
}

function checkLength(dir: string, lengthMax: number): void {
  const length = Buffer.byteLength(dir);
  if (length <= lengthMax) return;
  throw new PlinthError(
    "DIRECTORY_TOO_LONG",
    `--dir ${dir} has ${length} bytes; at most ${lengthMax} fit into a unix socket path`,
    { field: "--dir", remedy: "choose a shorter directory" },
  );
}

function unusable(dir: string, cause: unknown): PlinthError {
  const why = (cause as Error).message;
  return new PlinthError("DIRECTORY_UNREADABLE", `cannot use directory ${dir}: ${why}`, {
    field: "--dir",
    cause,
    remedy: "choose another with --dir or $PLINTH_DIR",
  });
}

/** A home directory or /tmp given by mistake keeps its rights and gets nothing of ours. */
function checkOwn(dir: string): void {
  const foreign = readdirSync(dir).find((name) => !OWN_NAMES.has(name));
  if (foreign === undefined) return;
  throw new PlinthError("DIRECTORY_FOREIGN", `${dir} holds ${foreign}, which is nothing of Plinth`, {
    field: "--dir",
    remedy: "choose an empty directory, or one that is not there yet",
  });
}

function checkFormat(path: string): void {
  let format: unknown;
  try {
    format = (JSON.parse(readFileSync(path, "utf8")) as { format?: unknown }).format;
  } catch (cause) {
    throw new PlinthError("DIRECTORY_DAMAGED", `${path} is not a format file of Plinth`, { cause });
  }
  if (typeof format !== "number" || !Number.isInteger(format) || format < 1) {
    throw new PlinthError("DIRECTORY_DAMAGED", `${path} names no format version`);
  }
  if (format > DIRECTORY_FORMAT) {
    throw new PlinthError(
      "DIRECTORY_NEWER",
      `${path} says format ${format}; this Plinth reads up to ${DIRECTORY_FORMAT}`,
      { remedy: "use the Plinth that wrote it, or another --dir" },
    );
  }
}
