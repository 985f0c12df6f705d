import { expect, test } from "vitest";
import { SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "./block-map.js";
import { isTorn, TornRanges } from "./torn-ranges.js";

const table = new SegmentTable([]);
const [one, other] = [new BlockMap(table, 8), new BlockMap(table, 8)];

function taken(torn: TornRanges): [BlockMap | undefined, number, number][] {
  const all: [BlockMap | undefined, number, number][] = [];
  while (torn.take()) all.push([torn.map, torn.block, torn.count]);
  return all;
}

test("isTorn() is true of long reads in short runs", () => {
  expect(isTorn(64, 64)).toBe(true);
  expect(isTorn(64, 17)).toBe(true);
  expect(isTorn(64, 16)).toBe(false);
  expect(isTorn(16, 16)).toBe(true);
  expect(isTorn(15, 15)).toBe(false);
});

test("take() gives neighbours as one, of each reader and each map", () => {
  const torn = new TornRanges();
  for (let i = 0; i < 3; i++) {
    torn.note(one, i * 64, 64, 64);
    torn.note(one, 1000 + i * 32, 32, 32);
    torn.note(other, i * 64, 64, 64);
    torn.note(other, 5000 + i * 64, 64, 1);
  }
  expect(torn.isEmpty).toBe(false);
  expect(taken(torn)).toEqual([
    [one, 0, 192],
    [one, 1000, 96],
    [other, 0, 192],
  ]);
  expect(torn.isEmpty).toBe(true);
});

test("note() keeps so many ranges and no more, and goes round", () => {
  const torn = new TornRanges();
  for (let i = 0; i < 5000; i++) torn.note(one, i * 100, 16, 16);
  expect(taken(torn).length).toBe(4096);
  for (let i = 0; i < 3; i++) torn.note(one, i * 100, 16, 16);
  expect(taken(torn)).toEqual([
    [one, 0, 16],
    [one, 100, 16],
    [one, 200, 16],
  ]);
  torn.note(one, 0, 16, 16);
  torn.clear();
  expect(torn.take()).toBe(false);
});
