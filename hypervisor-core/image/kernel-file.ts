// Looks into the files that make up a guest image: the version in a bzImage (Documentation/arch/x86/boot.rst), the
// packing of a kernel module, and whether a program can run alone.
// Pure: no I/O. Every offset is checked; the file is whatever the user gave us.

const HEADER_MAGIC = 0x53726448; // "HdrS"

/** The release of a bzImage ("6.1.0-56-cloud-amd64"); undefined when `bytes` is none or does not say. */
export function parseKernelRelease(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 0x260 || view.getUint32(0x202, true) !== HEADER_MAGIC) return undefined;
  const offset = view.getUint16(0x20e, true);
  if (offset === 0) return undefined;
  const text = Buffer.from(bytes.subarray(offset + 0x200, offset + 0x200 + 128)).toString("latin1");
  return /^[\w.+~-]+/.exec(text)?.[0];
}

export type Compression = "gzip" | "xz" | "zstd" | "lz4" | "none";

/** How `bytes` are packed, by their first bytes. */
export function detectCompression(bytes: Uint8Array): Compression {
  const magic = Buffer.from(bytes.subarray(0, 6)).toString("hex");
  if (magic.startsWith("1f8b")) return "gzip";
  if (magic.startsWith("fd377a585a00")) return "xz";
  if (magic.startsWith("28b52ffd")) return "zstd";
  if (magic.startsWith("02214c18") || magic.startsWith("04224d18")) return "lz4";
  return "none";
}

const PT_INTERP = 3;

/** True when an ELF program needs a dynamic loader (then it cannot run alone in an initramfs), and for all else. */
export function needsInterpreter(elf: Uint8Array): boolean {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  if (elf.length < 64 || view.getUint32(0, false) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) return true;
  const table = Number(view.getBigUint64(32, true));
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  for (let i = 0; i < count; i++) {
    const at = table + i * entrySize;
    if (at + 4 > elf.length || view.getUint32(at, true) === PT_INTERP) return true;
  }
  return false;
}
