// The one door to C: declares functions of libc and other libraries through koffi. Nothing else in Plinth imports koffi.
// Pointers travel as `intptr_t`, which koffi hands over as plain numbers (void* would give BigInt);
// an ioctl request is `unsigned long`; there is no `ssize_t` in koffi, so sizes come back as int64_t.
// Thread: any; each worker loads its own copy. Hot: yes (a call costs 25 ns plus the system call).
import { createRequire } from "node:module";
import { PlinthError } from "../errors/index.js";

type Koffi = typeof import("koffi");

const koffi: Koffi | undefined =
  process.platform === "linux" ? (createRequire(import.meta.url)("koffi") as Koffi) : undefined;
const library = koffi?.load(null);

/**
 * A C function of libc by its prototype. Elsewhere than on Linux the result throws UNSUPPORTED_PLATFORM when
 * called, so that importing this folder never fails and the command line works anywhere.
 */
export function define<F extends (...args: never[]) => unknown>(prototype: string): F {
  if (library === undefined) {
    const refuse = (): never => {
      throw new PlinthError(
        "UNSUPPORTED_PLATFORM",
        `this needs Linux 5.15 or newer, not ${process.platform}`,
      );
    };
    return refuse as unknown as F;
  }
  return library.func(prototype) as unknown as F;
}

/** The same of another library, the first of `names` that is installed and has it; undefined when none is. */
export function defineIn<F extends (...args: never[]) => unknown>(
  names: readonly string[],
  prototype: string,
): F | undefined {
  for (let i = 0; i < names.length; i++) {
    try {
      return koffi?.load(names[i] as string).func(prototype) as unknown as F | undefined;
    } catch {
      // Not installed, or another library of that name.
    }
  }
  return undefined;
}

/** errno of the last libc call made by this thread; read it before any other call. */
export function lastErrno(): number {
  return koffi === undefined ? 0 : koffi.errno();
}

/**
 * The address of the first byte of `bytes`. Valid for as long as its buffer is reachable: asking for `buffer`
 * first moves a small array (64 bytes and less live on V8's heap) to memory that is never moved again.
 */
export function addressOf(bytes: ArrayBufferView): number {
  if (bytes.buffer.byteLength === 0) return 0;
  return Number(koffi!.address(bytes));
}

/** Memory that a call reaches by an address inside other memory: call this with it afterwards, so that it lives on. */
export function keepAlive(memory: readonly ArrayBufferView[]): void {
  kept.memory = memory;
}
const kept: { memory: readonly ArrayBufferView[] } = { memory: [] };

/** An ArrayBuffer over foreign memory. Private to this folder: koffi aborts the process above 4 GiB. */
export function viewOf(address: number, sizeBytes: number): ArrayBuffer {
  return koffi!.view(address, sizeBytes);
}
