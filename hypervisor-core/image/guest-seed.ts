// What one machine's guest is told about itself: a second, small cpio archive behind the initramfs of its image.
// The kernel unpacks concatenated archives one after the other, so nothing of the image is rewritten. Pure.
import { concatBytes } from "../../base/bytes/index.js";
import { hypervisorError } from "../errors.js";
import { USER_DATA_BYTES_MAX } from "../limits.js";
import { encodeCpio } from "./cpio.js";

export interface GuestSeed {
  readonly hostname: string;
  readonly interfaces: readonly { readonly name: string; readonly macAddress: string }[];
  /** A script, run once per boot after the interfaces have addresses (at most 15 s after the boot). */
  readonly userData?: string | undefined;
}

/** The archive of `seed`. Throws MACHINE_SPEC_INVALID for user data above its limit. */
export function encodeGuestSeed(seed: GuestSeed): Uint8Array {
  const userData = Buffer.from(seed.userData ?? "");
  if (userData.length > USER_DATA_BYTES_MAX) {
    throw hypervisorError(
      "MACHINE_SPEC_INVALID",
      `user data has ${userData.length} bytes; the limit is ${USER_DATA_BYTES_MAX}`,
      { field: "spec.userData" },
    );
  }
  const interfaces = seed.interfaces.map(({ macAddress, name }) => `${macAddress.toLowerCase()} ${name}\n`);
  const text = (path: string, value: string) =>
    ({ type: "file", path: `etc/plinth/${path}`, data: Buffer.from(value) }) as const;
  return encodeCpio([
    { type: "directory", path: "etc" },
    { type: "directory", path: "etc/plinth" },
    text("hostname", `${seed.hostname}\n`),
    text("interfaces", interfaces.join("")),
    { type: "file", path: "etc/plinth/user-data", mode: 0o755, data: userData },
  ]);
}

/** An initramfs followed by the seed; archives start on a multiple of 4 bytes. */
export function appendGuestSeed(initramfs: Uint8Array, seed: GuestSeed): Uint8Array {
  const gap = new Uint8Array((4 - (initramfs.length % 4)) % 4);
  return concatBytes([initramfs, gap, encodeGuestSeed(seed)]);
}
