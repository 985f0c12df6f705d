// crc32c (Castagnoli) of memory at addresses by Intel's ISA-L, where it is installed: 4 KiB take 0.16 µs, and 64 KiB with
// AVX-512 1 µs. Where it is missing callers have other means.
//
// The library picks by what the processor can, not by length. One call after the other, its function for AVX-512 is the
// faster one from 5 KiB on. But a processor that comes to AVX-512 only now and then pays each time that it does: between
// system calls the function for SSE 4.2 wins at 8 KiB too, and at 16 KiB neither does.
// Source: isa-l/crc.h (crc32_iscsi); RFC 3720, B.4. Thread: any. Hot: yes (the function that is loaded).
import { readFileSync } from "node:fs";
import { addressOf, defineIn, keepAlive } from "./ffi.js";

/** The crc32c of `length` bytes at `address`, which the caller keeps alive. */
export type Crc32c = (address: number, length: number) => number;
type Iscsi = (address: number, length: number, initial: number) => number;

const LIBRARIES = ["libisal.so.2"];
const ARGUMENTS = "(intptr_t buffer, int length, unsigned int initial)";
/** Longer ranges are left to what the library picks. */
const SHORT_MAX = 8 * 1024;
/** What the function for SSE 4.2 needs, as Linux calls it. */
const SHORT_FLAGS = ["sse4_2", "pclmulqdq"];
/** What every implementation makes of the digits 1 to 9. */
const CHECK_TEXT = "123456789";
const CHECK_VALUE = 0xe306_9283;

/**
 * Undefined where there is no such library, or PLINTH_ISAL=0 says so. `flags`: what the processor can, as in
 * /proc/cpuinfo. Without SHORT_FLAGS, or where the library keeps that function to itself, one does for every length.
 */
export function loadCrc32c(flags?: ReadonlySet<string>): Crc32c | undefined {
  if (process.env["PLINTH_ISAL"] === "0") return undefined;
  const iscsi = loadIscsi("crc32_iscsi");
  if (iscsi === undefined) return undefined;
  const can = flags ?? processorFlags();
  const short = SHORT_FLAGS.every((flag) => can.has(flag)) ? loadIscsi("crc32_iscsi_01") : undefined;
  if (short === undefined) return (address, length) => ~iscsi(address, length, 0xffff_ffff) >>> 0;
  return (address, length) =>
    ~(length <= SHORT_MAX ? short(address, length, 0xffff_ffff) : iscsi(address, length, 0xffff_ffff)) >>> 0;
}

/** Undefined where the library has no such function, or something else under that name. */
function loadIscsi(name: string): Iscsi | undefined {
  const iscsi = defineIn<Iscsi>(LIBRARIES, `unsigned int ${name}${ARGUMENTS}`);
  if (iscsi === undefined) return undefined;
  const text = new Uint8Array(new ArrayBuffer(CHECK_TEXT.length));
  new TextEncoder().encodeInto(CHECK_TEXT, text);
  const value = ~iscsi(addressOf(text), text.byteLength, 0xffff_ffff) >>> 0;
  keepAlive([text]);
  return value === CHECK_VALUE ? iscsi : undefined;
}

/** Of the first processor; empty on processors of other makes, which Linux describes in other words. */
function processorFlags(): ReadonlySet<string> {
  const line = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
  return new Set(line.trim().split(/\s+/));
}
