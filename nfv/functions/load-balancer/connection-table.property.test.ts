import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConnectionTable, MISSING } from "./connection-table.js";

const connection = fc.record({
  client: fc.integer({ min: 0, max: 0xffffffff }),
  ports: fc.integer({ min: 0, max: 0xffffffff }),
  service: fc.integer({ min: 0, max: 255 }),
  protocol: fc.constantFrom(6, 17),
  endpoint: fc.integer({ min: 0, max: 0xffff }),
});

describe("ConnectionTable", () => {
  it("answers as a map does, as long as no neighbourhood is full", () => {
    fc.assert(
      fc.property(fc.array(connection, { maxLength: 60 }), (connections) => {
        const table = new ConnectionTable(4096, 100);
        const model = new Map<string, number>();
        for (const c of connections) {
          table.put(c.client, c.ports, c.service, c.protocol, c.endpoint, 1);
          model.set(`${c.client} ${c.ports} ${c.service} ${c.protocol}`, c.endpoint);
        }
        fc.pre(table.evicted === 0);
        for (const c of connections) {
          const expected = model.get(`${c.client} ${c.ports} ${c.service} ${c.protocol}`);
          expect(table.find(c.client, c.ports, c.service, c.protocol, 2)).toBe(expected);
        }
        expect(table.find(1, 2, 3, 99, 2)).toBe(MISSING);
      }),
    );
  });

  it("stays bounded under a flood and keeps what was seen last", () => {
    const table = new ConnectionTable(64, 1000);
    for (let i = 0; i < 10_000; i++) table.put(i, i, 0, 6, 3, i >>> 4);
    expect(table.evicted).toBeGreaterThan(9_000);
    expect(table.countOf(3, 700)).toBeLessThanOrEqual(64);
    expect(table.find(9_999, 9_999, 0, 6, 700)).toBe(3);
  });

  it("forgets idle connections and those of a lost endpoint", () => {
    const table = new ConnectionTable(64, 10);
    table.put(1, 1, 0, 6, 7, 0);
    table.put(2, 2, 0, 6, 8, 5);
    expect(table.find(1, 1, 0, 6, 10)).toBe(MISSING);
    expect(table.find(2, 2, 0, 6, 10)).toBe(8);
    table.forget(8);
    expect(table.find(2, 2, 0, 6, 10)).toBe(MISSING);
  });
});
