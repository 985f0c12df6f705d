// What nat's flags choose among addresses and ports, and what happens where a choice is taken.
import { describe, expect, it, vi } from "vitest";
import type { NatProgram } from "../flow/index.js";
import { ConnectionTable } from "./connection-table.js";
import { chooseReply } from "./nat.js";
import { invert, kindOf, T_DST, T_KIND, T_PORTS, T_SRC, TUPLE_WORDS, UDP } from "./tuple.js";

const CLIENT = 0x0a000001;
const SERVER = 0xc6336401 | 0;
const POOL = 0xc0000200 | 0;

function programOf(more: Partial<NatProgram>): NatProgram {
  return {
    kind: "source",
    family: 4,
    addressMin: Int32Array.of(POOL, 0, 0, 0),
    addressMax: Int32Array.of(POOL + 255, 0, 0, 0),
    portMin: -1,
    portMax: -1,
    selection: "auto",
    persistent: false,
    ...more,
  };
}

function tupleOf(client: number, clientPort: number, server = SERVER, serverPort = 53): Int32Array {
  const tuple = new Int32Array(TUPLE_WORDS);
  tuple[T_SRC] = client;
  tuple[T_DST] = server;
  tuple[T_PORTS] = (clientPort << 16) | serverPort;
  tuple[T_KIND] = kindOf(false, UDP, 0);
  return tuple;
}

/** Offsets in the pool of the first six clients, where nat is persistent. */
const MAPPED = [136, 150, 35, 10, 118, 180];

type Choose = typeof chooseReply;

/** Address (as an offset in the pool) and port of the translated end; undefined when there is none. The connection stays. */
function translated(
  table: ConnectionTable,
  program: NatProgram,
  original: Int32Array,
  choose: Choose = chooseReply,
): [number, number] | undefined {
  const reply = new Int32Array(TUPLE_WORDS);
  invert(original, reply);
  if (!choose(table, program, original, reply, 0)) return undefined;
  table.add(original, reply, 1, 7, 0, 1000);
  const source = program.kind === "source";
  const address = reply[source ? T_DST : T_SRC] as number;
  const ports = reply[T_PORTS] as number;
  return [(address - POOL) | 0, source ? ports & 0xffff : ports >>> 16];
}

/** What a switch that has been started anew chooses. */
async function afterRestart(): Promise<Choose> {
  vi.resetModules();
  return (await import("./nat.js")).chooseReply;
}

const clients = Array.from({ length: 64 }, (_, n) => CLIENT + n);
const addresses = (program: NatProgram, choose: Choose): (number | undefined)[] =>
  clients.map((client) => translated(new ConnectionTable(16), program, tupleOf(client, 4000), choose)?.[0]);

describe("nat(src=first-last)", () => {
  it("gives a client one address for all its connections, and clients different ones", () => {
    const table = new ConnectionTable(1024);
    const seen = new Set<number | undefined>();
    for (const client of clients) {
      const first = translated(table, programOf({}), tupleOf(client, 4000));
      const other = translated(table, programOf({}), tupleOf(client, 4001, SERVER + 1, 80));
      expect(other?.[0]).toBe(first?.[0]);
      seen.add(first?.[0]);
    }
    expect(seen.size).toBeGreaterThan(32);
  });

  it.each(["source", "destination"] as const)(
    "with persistent gives a client the same %s address after a restart, without it another",
    async (kind) => {
      const again = await afterRestart();
      const persistent = programOf({ kind, persistent: true });
      expect(addresses(persistent, again)).toEqual(addresses(persistent, chooseReply));
      expect(addresses(programOf({ kind }), again)).not.toEqual(addresses(programOf({ kind }), chooseReply));
    },
  );

  it("with persistent keeps to a mapping that other versions have too", () => {
    expect(addresses(programOf({ persistent: true }), chooseReply).slice(0, 6)).toEqual(MAPPED);
  });

  it("takes the next address where a client's own has no free port left for it, and none when all are used", () => {
    const table = new ConnectionTable(64);
    const program = programOf({
      addressMax: Int32Array.of(POOL + 1, 0, 0, 0),
      portMin: 1000,
      portMax: 1001,
      persistent: true,
    });
    const all = [CLIENT, CLIENT + 1, CLIENT + 2, CLIENT + 3].map((client) =>
      translated(table, program, tupleOf(client, 4000)),
    );
    expect(new Set(all.map(String)).size).toBe(4);
    expect(all).not.toContain(undefined);
    expect(translated(table, program, tupleOf(CLIENT + 4, 4000))).toBeUndefined();
    // Another server leaves every port free.
    expect(translated(table, program, tupleOf(CLIENT + 4, 4000, SERVER + 1))).toBeDefined();
  });
});

describe("nat(src=address:first-last)", () => {
  const ports = { addressMax: Int32Array.of(POOL, 0, 0, 0), portMin: 1000, portMax: 1999 };

  it("keeps a port of the range that is free, and gives the next one to who comes second", () => {
    const table = new ConnectionTable(16);
    expect(translated(table, programOf(ports), tupleOf(CLIENT, 1500))).toEqual([0, 1500]);
    expect(translated(table, programOf(ports), tupleOf(CLIENT + 1, 1500))).toEqual([0, 1501]);
    expect(translated(table, programOf(ports), tupleOf(CLIENT + 2, 1999))).toEqual([0, 1999]);
    expect(translated(table, programOf(ports), tupleOf(CLIENT + 3, 1999))).toEqual([0, 1000]);
  });

  it("with hash goes by both addresses and the other port, not by the client's port", () => {
    const program = programOf({ ...ports, selection: "hash" });
    const port = (tuple: Int32Array): number | undefined =>
      translated(new ConnectionTable(16), program, tuple)?.[1];
    const first = port(tupleOf(CLIENT, 4000));
    expect(port(tupleOf(CLIENT, 4001))).toBe(first);
    expect(port(tupleOf(CLIENT, 1500))).toBe(first);
    const others = [
      tupleOf(CLIENT + 1, 4000),
      tupleOf(CLIENT, 4000, SERVER + 1),
      tupleOf(CLIENT, 4000, SERVER, 54),
    ];
    expect(others.map(port).filter((one) => one === first).length).toBeLessThan(2);
    // Two at once: the second begins at the same place and takes what is next.
    const table = new ConnectionTable(16);
    expect(translated(table, program, tupleOf(CLIENT, 4000))?.[1]).toBe(first);
    expect(translated(table, program, tupleOf(CLIENT, 4001))?.[1]).toBe(
      first === 1999 ? 1000 : (first as number) + 1,
    );
  });

  it("with hash and persistent chooses the same port after a restart", async () => {
    const again = await afterRestart();
    const choices = (choose: Choose, more: Partial<NatProgram>) =>
      clients.map((client) =>
        translated(
          new ConnectionTable(16),
          programOf({ ...ports, selection: "hash", ...more }),
          tupleOf(client, 4000),
          choose,
        ),
      );
    expect(choices(again, { persistent: true })).toEqual(choices(chooseReply, { persistent: true }));
    expect(choices(again, {})).not.toEqual(choices(chooseReply, {}));
  });

  it("with random chooses any port of the range, and finds the last free one", () => {
    const program = programOf({ ...ports, selection: "random" });
    const seen = new Set<number | undefined>();
    for (let n = 0; n < 50; n++)
      seen.add(translated(new ConnectionTable(16), program, tupleOf(CLIENT, 1500))?.[1]);
    expect(seen.size).toBeGreaterThan(10);
    for (const port of seen) {
      expect(port).toBeGreaterThanOrEqual(1000);
      expect(port).toBeLessThanOrEqual(1999);
    }
    const table = new ConnectionTable(16);
    const few = programOf({ ...ports, portMax: 1003, selection: "random" });
    const all = [0, 1, 2, 3].map((n) => translated(table, few, tupleOf(CLIENT + n, 4000))?.[1]);
    expect([...all].sort()).toEqual([1000, 1001, 1002, 1003]);
    expect(translated(table, few, tupleOf(CLIENT + 9, 4000))).toBeUndefined();
  });
});
