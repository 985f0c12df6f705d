// Writes cpio archives in the "newc" format, the one the kernel unpacks as its initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Archives may be concatenated; later entries win.
// Invariant: the same entries give the same bytes (no clock, no owner, no inode of this machine). Pure.
import { concatBytes } from "../../base/bytes/index.js";

export type CpioEntry =
  | { readonly type: "directory"; readonly path: string; readonly mode?: number }
  | { readonly type: "file"; readonly path: string; readonly mode?: number; readonly data: Uint8Array }
  | { readonly type: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly type: "device";
      readonly path: string;
      readonly mode?: number;
      readonly major: number;
      readonly minor: number;
    };

const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const HEADER_SIZE_BYTES = 110;
const TRAILER = "TRAILER!!!";

/**
 * One archive with `entries` in order, ended by its trailer and padded to 512 bytes. A directory must come before
 * what is in it; paths are relative ("etc/hostname").
 */
export function encodeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const add = (bytes: Uint8Array): void => {
    parts.push(bytes);
    size += bytes.length;
  };
  entries.forEach((entry, index) => {
    add(encodeEntry(entry, index + 1));
  });
  add(encodeRecord(TRAILER, 0, 0, new Uint8Array(0), 1, 0, 0));
  add(new Uint8Array((512 - (size % 512)) % 512));
  return concatBytes(parts);
}

function encodeEntry(entry: CpioEntry, inode: number): Uint8Array {
  switch (entry.type) {
    case "directory":
      return encodeRecord(entry.path, inode, S_IFDIR | (entry.mode ?? 0o755), new Uint8Array(0), 2, 0, 0);
    case "file":
      return encodeRecord(entry.path, inode, S_IFREG | (entry.mode ?? 0o644), entry.data, 1, 0, 0);
    case "symlink":
      return encodeRecord(entry.path, inode, S_IFLNK | 0o777, Buffer.from(entry.target), 1, 0, 0);
    case "device":
      return encodeRecord(
        entry.path,
        inode,
        S_IFCHR | (entry.mode ?? 0o600),
        new Uint8Array(0),
        1,
        entry.major,
        entry.minor,
      );
  }
}

/** Header of 110 ASCII bytes, name with its NUL padded to 4 (header included), data padded to 4. */
function encodeRecord(
  path: string,
  inode: number,
  mode: number,
  data: Uint8Array,
  linkCount: number,
  major: number,
  minor: number,
): Uint8Array {
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, linkCount, 0, data.length, 0, 0, major, minor, name.length, 0];
  const header = Buffer.from(`070701${fields.map(hex8).join("")}`);
  const nameEnd = alignTo4(HEADER_SIZE_BYTES + name.length);
  const out = new Uint8Array(nameEnd + alignTo4(data.length));
  out.set(header, 0);
  out.set(name, HEADER_SIZE_BYTES);
  out.set(data, nameEnd);
  return out;
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, "0").toUpperCase();
}

function alignTo4(value: number): number {
  return (value + 3) & ~3;
}
