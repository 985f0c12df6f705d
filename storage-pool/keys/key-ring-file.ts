// The key ring on the medium: replaced as a whole, and what stood there before is overwritten before it is let go, so that
// a key that was taken out of it is gone. (A file system that copies on write, or a disk that does, may keep it: then
// `plinth pool rekey` with the old key file destroyed is what makes it unreadable.)
//
//   replace:  write NAME.new, sync ─► link NAME to NAME.old ─► rename NAME.new to NAME, sync ─► overwrite NAME.old ─► unlink
//
// Invariant: at every moment NAME is the whole old or the whole new one. Thread: main. Hot: no.
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { describeError } from "../../base/errors/index.js";
import { storageError } from "../errors.js";
import { newPoolKey, parsePoolKey } from "./key-ring.js";

const PASSPHRASE_BYTES_MAX = 1024;

/** The bytes at `path`, undefined when nothing is there; ends a replacement that a crash interrupted. */
export function readRingFile(path: string): Uint8Array | undefined {
  settle(path);
  return existsSync(path) ? readFileSync(path) : undefined;
}

/** Ends a replacement that a crash, or a full disk, interrupted. Of its keys some may be taken out of the ring later. */
function settle(path: string): void {
  const [old, fresh] = [`${path}.old`, `${path}.new`];
  if (existsSync(old)) {
    // Until the rename both are names of one file.
    if (existsSync(path) && statSync(path).ino === statSync(old).ino) rmSync(old);
    else if (existsSync(path)) shred(old);
    else renameSync(old, path);
  }
  if (existsSync(fresh)) shred(fresh);
}

/** Durable when it returns; what was there before cannot be read any more. */
export function replaceRingFile(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  settle(path);
  writeNew(`${path}.new`, bytes);
  const old = `${path}.old`;
  if (existsSync(path)) linkSync(path, old);
  renameSync(`${path}.new`, path);
  syncDirectory(path);
  if (existsSync(old)) shred(old);
}

/** What stood there cannot be read any more; what a crash left beside it neither. */
export function removeRingFile(path: string): void {
  for (const each of [path, `${path}.old`, `${path}.new`]) if (existsSync(each)) shred(each);
}

/** Overwrites a file, then removes it. */
export function shred(path: string): void {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    const length = fstatSync(fd).size;
    writeAll(fd, Buffer.alloc(length, 0xff));
    fsyncSync(fd);
    writeAll(fd, Buffer.alloc(length));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  rmSync(path);
  syncDirectory(path);
}

/** The pool key in a file that nobody else can read. Throws KEY_MISSING, KEY_EXPOSED and KEY_INVALID. */
export function readKeyFile(path: string): Uint8Array {
  const key = parsePoolKey(readSecret(path, "keyFile", 4096));
  if (key !== undefined) return key;
  throw storageError("KEY_INVALID", `${path} must hold 32 bytes or 64 hexadecimal digits`, {
    field: "keyFile",
  });
}

/** Makes a key file with a new key, durable and readable for us alone. Throws KEY_INVALID when that cannot be. */
export function makeKeyFile(path: string): Uint8Array {
  const key = newPoolKey();
  try {
    writeNew(path, Buffer.from(`${Buffer.from(key).toString("hex")}\n`));
    syncDirectory(path);
  } catch (cause) {
    throw storageError("KEY_INVALID", `the key file cannot be made: ${describeError(cause)}`, {
      field: "keyFile",
      cause,
    });
  }
  return key;
}

/** The first line of a file that nobody else can read. Throws as readKeyFile. */
export function readPassphraseFile(path: string): string {
  const text = Buffer.from(readSecret(path, "passphraseFile", PASSPHRASE_BYTES_MAX + 2)).toString("utf8");
  const line = text.split("\n")[0]?.replace(/\r$/, "") ?? "";
  if (line === "")
    throw storageError("KEY_INVALID", `${path} holds no passphrase`, { field: "passphraseFile" });
  return line;
}

function readSecret(path: string, field: string, bytesMax: number): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw storageError("KEY_MISSING", `${path} cannot be read: ${describeError(cause)}`, { field, cause });
  }
  try {
    const { mode, uid, size } = fstatSync(fd);
    const ours = process.getuid?.() ?? uid;
    if ((mode & constants.S_IFMT) !== constants.S_IFREG || size > bytesMax) {
      throw storageError("KEY_INVALID", `${path} is not a file with a key`, { field });
    }
    if ((mode & 0o077) !== 0 || (uid !== ours && uid !== 0)) {
      throw storageError("KEY_EXPOSED", `others can read or change ${path}`, {
        field,
        remedy: `chown ${ours} ${path}; chmod 600 ${path}`,
      });
    }
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A file that was not there, on the medium. */
function writeNew(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    fchmodSync(fd, 0o600);
    writeAll(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(fd, bytes, done, bytes.byteLength - done, done);
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
