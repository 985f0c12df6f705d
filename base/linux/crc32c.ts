// crc32c (Castagnoli) of memory at addresses by Intel's ISA-L, where it is installed: with AVX-512 4 KiB take 0.1 µs and
// 64 KiB 1 µs. The library picks what the processor can. Where it is missing callers have other means.
// Source: isa-l/crc.h (crc32_iscsi); RFC 3720, B.4. Thread: any. Hot: yes (the function that is loaded).
import { addressOf, defineIn } from "./ffi.js";

/** The crc32c of `length` bytes at `address`, which the caller keeps alive. */
export type Crc32c = (address: number, length: number) => number;
type Iscsi = (address: number, length: number, initial: number) => number;

const LIBRARIES = ["libisal.so.2"];
const PROTOTYPE = "unsigned int crc32_iscsi(intptr_t buffer, int length, unsigned int initial)";
/** What every implementation makes of the digits 1 to 9. */
const CHECK_TEXT = "123456789";
const CHECK_VALUE = 0xe306_9283;

/** Undefined where there is no such library, or PLINTH_ISAL=0 says so. */
export function loadCrc32c(): Crc32c | undefined {
  if (process.env["PLINTH_ISAL"] === "0") return undefined;
  const iscsi = defineIn<Iscsi>(LIBRARIES, PROTOTYPE);
  if (iscsi === undefined) return undefined;
  const crc32c: Crc32c = (address, length) => ~iscsi(address, length, 0xffff_ffff) >>> 0;
  const text = new Uint8Array(new ArrayBuffer(CHECK_TEXT.length));
  new TextEncoder().encodeInto(CHECK_TEXT, text);
  // What does something else under that name is not used.
  return crc32c(addressOf(text), text.byteLength) === CHECK_VALUE ? crc32c : undefined;
}
