// Numeric users for machines: one each, so that a QEMU somebody broke out of can touch only its own sockets. Pure.
import { hypervisorError } from "../errors.js";

/** Between the users of people and of packages, and below 65534 (nobody). No entry in /etc/passwd is needed. */
export const MACHINE_UID_MIN = 64_000;
export const MACHINE_UID_COUNT = 1_500;

/** A uid that is not in `used`, starting to look at a place given by `seed` so that it stays the same over restarts. */
export function allocateUid(used: ReadonlySet<number>, seed: number): number {
  for (let i = 0; i < MACHINE_UID_COUNT; i++) {
    const uid = MACHINE_UID_MIN + (((seed >>> 0) + i) % MACHINE_UID_COUNT);
    if (!used.has(uid)) return uid;
  }
  throw hypervisorError("MACHINE_STATE", `all ${MACHINE_UID_COUNT} machine users are taken`);
}
