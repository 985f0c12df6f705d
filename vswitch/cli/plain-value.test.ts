import { expect, it } from "vitest";
import { toPlain } from "./plain-value.js";

const ALL_ONES = 2n ** 64n - 1n;

it("toPlain() says null of counters that a switch does not keep, and only of them", () => {
  const flow = { cookie: ALL_ONES, packetCount: ALL_ONES, byteCount: 7n };
  expect(toPlain([flow])).toEqual([{ cookie: "0xffffffffffffffff", packetCount: null, byteCount: 7 }]);
  const port = { rxPackets: 1n, txDropped: ALL_ONES, rxCrcErrors: ALL_ONES, collisions: ALL_ONES };
  expect(toPlain(port)).toEqual({ rxPackets: 1, txDropped: null, rxCrcErrors: null, collisions: null });
  const bands = [{ packetCount: ALL_ONES, byteCount: 2n ** 64n - 2n }];
  expect(toPlain({ bands })).toEqual({ bands: [{ packetCount: null, byteCount: "0xfffffffffffffffe" }] });
});

it("toPlain() leaves the instructions that a table supports as the numbers that they are", () => {
  const property = { type: "instructions", miss: false, instructions: [{ type: 1 }, { type: 4 }] };
  expect(toPlain({ properties: [property] })).toEqual({ properties: [property] });
});
