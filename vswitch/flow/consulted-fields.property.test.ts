import fc from "fast-check";
import { expect, it } from "vitest";
import type { Match } from "../../base/openflow/index.js";
import { TableSearch } from "./consulted-fields.js";
import { compileMatch } from "./fields.js";
import { Flow } from "./flow.js";
import { FlowTables } from "./flow-tables.js";
import * as K from "./key.js";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const small = fc.integer({ min: 0, max: 3 });
const match: fc.Arbitrary<Match> = fc
  .record({
    inPort: fc.option(small),
    source: fc.option(fc.tuple(small, fc.constantFrom(8, 16, 30, 32))),
    destination: fc.option(fc.tuple(small, fc.constantFrom(8, 24, 32))),
    port: fc.option(small),
    metadata: fc.option(small),
    mac: fc.option(small),
  })
  .map(({ inPort, source, destination, port, metadata, mac }) => {
    const address = (field: "ipv4_src" | "ipv4_dst", [value, length]: [number, number]) => {
      const mask = length === 32 ? 0xffffffff : (-1 << (32 - length)) >>> 0;
      const [v, m] = [(0x0a000000 | (value << 16) | value) & mask, mask];
      return { field, value: word(v), mask: word(m) };
    };
    return [
      ...(inPort === null ? [] : [{ field: "in_port", value: word(inPort) } as const]),
      ...(metadata === null ? [] : [{ field: "reg0", value: word(metadata) } as const]),
      ...(mac === null ? [] : [{ field: "eth_dst", value: bytes(0, 0, 0, 0, 0, mac) } as const]),
      { field: "eth_type", value: bytes(8, 0) } as const,
      ...(source === null ? [] : [address("ipv4_src", source)]),
      ...(destination === null ? [] : [address("ipv4_dst", destination)]),
      ...(port === null ? [] : [{ field: "ip_proto", value: bytes(6) } as const]),
      ...(port === null ? [] : [{ field: "tcp_dst", value: bytes(0, port) } as const]),
    ];
  });

function word(value: number): Uint8Array {
  return bytes((value >>> 24) & 0xff, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

const key = fc
  .tuple(small, small, small, small, small, small, fc.constantFrom(6, 17))
  .map(([inPort, mac, source, destination, port, metadata, protocol]) => {
    const words = new Int32Array(K.KEY_WORDS);
    words[K.K_IN_PORT] = inPort;
    words[K.K_ETH_DST + 1] = mac << 16;
    words[K.K_TYPE_TCI] = 0x0800 << 16;
    words[K.K_IP] = protocol << 24;
    words[K.K_TP] = port;
    words[K.K_SRC] = 0x0a000000 | (source << 16) | source;
    words[K.K_DST] = 0x0a000000 | (destination << 16) | destination;
    words[K.K_REG] = metadata;
    return words;
  });

it("packets that agree in what consult() names meet the same flow", () => {
  const table = fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 5 }), match), {
    maxLength: 12,
    // No two flows that a packet could match equally well.
    selector: ([priority]) => priority,
  });
  fc.assert(
    fc.property(table, key, fc.array(key, { minLength: 1, maxLength: 20 }), (flows, one, others) => {
      const tables = new FlowTables();
      for (const [priority, ofFlow] of flows) tables.applyFlowMod(addFlow(priority, ofFlow), 0);
      const found = tables.lookup(0, one, null);
      const consulted = new Int32Array(K.KEY_WORDS);
      new TableSearch(tables.flowsOf(0)).consult(one, found, consulted);
      for (const other of others) {
        const mixed = other.map((value, i) => {
          const mask = consulted[i] as number;
          return ((one[i] as number) & mask) | (value & ~mask);
        });
        expect(tables.lookup(0, mixed, null)).toBe(found);
      }
    }),
  );
});

it("consult() looks no further than a flow of the highest priority, and at as much of an address as tells", () => {
  const flowOf = (priority: number, ofFlow: Match) =>
    new Flow({
      ...{ tableId: 0, priority, cookie: 0n, match: ofFlow, key: compileMatch(ofFlow), flags: 0 },
      ...{ idleTimeoutSeconds: 0, hardTimeoutSeconds: 0, instructions: [], slot: 0, nowMs: 0 },
      program: { clauses: null } as never,
    });
  const ip = { field: "eth_type", value: bytes(8, 0) } as const;
  const net = { field: "ipv4_dst", value: word(0x0a000000), mask: word(0xff000000) } as const;
  const high = flowOf(9, [ip]);
  const low = flowOf(1, [ip, net]);
  const packet = new Int32Array(K.KEY_WORDS);
  packet[K.K_TYPE_TCI] = 0x0800 << 16;
  packet[K.K_DST] = 0x80000000 | 0;
  const consulted = new Int32Array(K.KEY_WORDS);
  new TableSearch([low, high]).consult(packet, high, consulted);
  expect(consulted[K.K_DST]).toBe(0);
  new TableSearch([low]).consult(packet, null, consulted);
  expect(consulted[K.K_DST]).toBe(0x80000000 | 0);
});

function addFlow(priority: number, ofFlow: Match) {
  return {
    type: "flow_mod",
    xid: 0,
    command: "add",
    tableId: 0,
    priority,
    cookie: 0n,
    cookieMask: 0n,
    match: ofFlow,
    instructions: [],
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    bufferId: 0xffffffff,
    outPort: 0xffffffff,
    outGroup: 0xffffffff,
    flags: 0,
  } as const;
}
