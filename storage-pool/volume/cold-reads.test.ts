// Which long reads go around the page cache, with a file that says what is cached.
import { expect, test } from "vitest";
import type { DirectFile } from "../disk/direct-file.js";
import { BLOCK_SIZE } from "../limits.js";
import { ColdReads } from "./cold-reads.js";

const LONG = 64;

/** Cold where `isCold` says so. */
function file(isCold: (offset: number) => boolean): Pick<DirectFile, "isCold"> {
  return { isCold };
}

const cold = file(() => true);
const cached = file(() => false);
const ask = (
  reads: ColdReads,
  from: Pick<DirectFile, "isCold">,
  location: number,
  count = LONG,
  wait = true,
) => reads.bypasses(from, location * BLOCK_SIZE, location, count, wait);

test("only long reads of which nothing is cached go around the page cache", () => {
  const reads = new ColdReads();
  expect(ask(reads, cold, 100, LONG - 1)).toBe(false);
  expect(ask(reads, cached, 200)).toBe(false);
  expect(reads.isCold).toBe(false);
  expect(ask(reads, cold, 300)).toBe(true);
  expect(reads.isCold).toBe(true);
  expect(reads.bypassCount).toBe(1);
  for (let n = 0; n < 64; n++) expect(ask(reads, cached, 1000 + n)).toBe(false);
  expect(reads.isCold).toBe(false);
});

test("what is read again and again is let into the page cache, what is read once is not", () => {
  const reads = new ColdReads();
  const places = Array.from({ length: 256 }, (_, i) => 1024 + i * LONG);
  let left = new Set(places);
  for (const place of places) expect(ask(reads, cold, place)).toBe(true);
  const counts = [left.size];
  for (let round = 0; round < 80 && left.size > 0; round++) {
    left = new Set([...left].filter((place) => ask(reads, cold, place)));
    counts.push(left.size);
  }
  // Some of them each time, until all are in it.
  expect(counts[1]).toBeGreaterThan(200);
  expect(counts[1]).toBeLessThan(240);
  expect(left.size).toBe(0);
});

test("a read that does not wait is answered without being remembered", () => {
  const reads = new ColdReads();
  for (let n = 0; n < 20; n++) expect(ask(reads, cold, 640, LONG, false)).toBe(true);
  expect(reads.bypassCount).toBe(0);
  expect(ask(reads, cold, 640)).toBe(true);
});

test("a slow disk is read through the page cache, but for a try now and then, until it is quick", () => {
  const reads = new ColdReads();
  // Slow batches among quick ones are the machine's, not the disk's.
  for (let n = 0; n < 64; n++) reads.took(n % 8 === 0 ? 0.1 : 4, LONG);
  expect(ask(reads, cold, 64)).toBe(true);
  for (let n = 0; n < 64; n++) reads.took(4, LONG);
  let tries = 0;
  for (let n = 0; n < 256; n++) if (ask(reads, cold, 4096 + n * LONG)) tries++;
  expect(tries).toBe(4);
  expect(ask(reads, cold, 100_000, LONG, false)).toBe(false);
  for (let n = 0; n < 64; n++) reads.took(0.1, LONG);
  for (let n = 0; n < 8; n++) expect(ask(reads, cold, 200_000 + n * LONG)).toBe(true);
});
