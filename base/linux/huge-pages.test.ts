import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { addressOf } from "./ffi.js";
import { adviseHugePages, HUGE_PAGE_BYTES } from "./huge-pages.js";

/** What the kernel keeps of the mapping that has the address (proc(5), smaps). */
function flagsAt(address: number): string[] {
  let isWanted = false;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) isWanted = parseInt(range[1]!, 16) <= address && address < parseInt(range[2]!, 16);
    else if (isWanted && line.startsWith("VmFlags:")) return line.split(" ").slice(1);
  }
  return [];
}

it("adviseHugePages() says so of all whole pages of 2 MiB in an array, and of none in a small one", () => {
  const array = new Int32Array((16 * HUGE_PAGE_BYTES) / 4);
  const has = existsSync("/sys/kernel/mm/transparent_hugepage/enabled");
  expect(adviseHugePages(array)).toBe(has);
  expect(flagsAt(addressOf(array) + 8 * HUGE_PAGE_BYTES).includes("hg")).toBe(has);
  expect(array.every((word) => word === 0)).toBe(true);
  expect(adviseHugePages(new Int32Array(HUGE_PAGE_BYTES / 4 - 1))).toBe(false);
});
