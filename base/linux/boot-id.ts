// Which life of the machine this is: another number after every boot. Source: random(4). Thread: any.
import { readFileSync } from "node:fs";

/** 36 characters. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim().padEnd(36).slice(0, 36);
}
