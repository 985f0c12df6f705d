// Transactions for fast-check on tables of the Open_vSwitch schema: bridges, ports, mirrors, queues; sensible ones, and
// ones that break each rule there is.
import fc from "fast-check";

const names = fc.constantFrom("a", "b", "c");
const named = (name: string) => ["named-uuid", name];
const set = (...atoms: unknown[]) => ["set", atoms];

const where = fc.oneof(
  fc.constant([]),
  names.map((name) => [["name", "==", name]]),
  names.map((name) => [["name", "!=", name]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["tag", "<", tag]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["tag", ">=", set(tag)]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["trunks", "includes", set(tag)]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["trunks", "excludes", set(tag, 1 + tag)]]),
  names.map((key) => [["external_ids", "includes", ["map", [[key, key]]]]]),
  fc.constantFrom<unknown[]>(
    [["nothing", "==", 1]],
    [["tag", "<", set()]],
    [["name", "includes", set()]],
    [["tag", "fly", 1]],
    [["tag", 1, 1]],
    [true],
    [false],
    [["name"]],
  ),
);

/** Conditions that monitor_cond takes for Port. */
export const portConditions = fc.oneof(
  names.map((name) => [["name", "==", name]]),
  names.map((name) => [["name", "!=", name]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["tag", "==", tag]]),
  fc.integer({ min: 0, max: 4 }).map((tag) => [["trunks", "includes", set(tag)]]),
  fc.tuple(names, fc.integer({ min: 0, max: 4 })).map(([name, tag]) => [
    ["name", "==", name],
    ["tag", "<=", tag],
  ]),
  fc.constantFrom<unknown[]>([], [false], [true]),
);

const tag = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom<unknown>(set(), 4096, "x", set(1, 2)));

const inserts = fc.oneof(
  fc.tuple(names, names).map(([name, port]) => ({
    op: "insert",
    table: "Bridge",
    row: { name, ports: set(named(`p${port}`)) },
    "uuid-name": `b${name}`,
  })),
  names.map((name) => ({
    op: "insert",
    table: "Port",
    row: { name, interfaces: named(`i${name}`) },
    "uuid-name": `p${name}`,
  })),
  names.map((name) => ({ op: "insert", table: "Interface", row: { name }, "uuid-name": `i${name}` })),
  fc
    .integer({ min: 0, max: 65 })
    .map((dscp) => ({ op: "insert", table: "Queue", row: { dscp }, "uuid-name": "q" })),
  fc.integer({ min: 0, max: 2 }).map((key) => ({
    op: "insert",
    table: "QoS",
    row: { type: "linux-htb", queues: ["map", [[key, named("q")]]] },
  })),
);

const mutations = fc.oneof(
  names.map((name) => ({
    op: "mutate",
    table: "Open_vSwitch",
    where: [],
    mutations: [["bridges", "insert", named(`b${name}`)]],
  })),
  names.map((name) => ({
    op: "mutate",
    table: "Bridge",
    where: [],
    mutations: [["ports", "insert", named(`p${name}`)]],
  })),
  fc
    .tuple(
      where,
      fc.constantFrom("insert", "delete"),
      fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
    )
    .map(([condition, mutator, values]) => ({
      op: "mutate",
      table: "Port",
      where: condition,
      mutations: [["trunks", mutator, ["set", values]]],
    })),
  fc
    .tuple(where, fc.constantFrom("+=", "-=", "*=", "/=", "%="), fc.integer({ min: 0, max: 5 }))
    // ovsdb-server 3.1.0 ends when a negative number is multiplied by zero: it divides by the factor first.
    .filter(([, mutator, value]) => mutator !== "*=" || value !== 0)
    .map(([condition, mutator, value]) => ({
      op: "mutate",
      table: "Port",
      where: condition,
      mutations: [["trunks", mutator, value]],
    })),
  fc
    .tuple(where, fc.constantFrom("insert", "delete"), names, names)
    .map(([condition, mutator, key, value]) => ({
      op: "mutate",
      table: "Port",
      where: condition,
      mutations: [["external_ids", mutator, ["map", [[key, value]]]]],
    })),
  fc
    .tuple(
      fc.constantFrom("+=", "-=", "*=", "/=", "%="),
      fc.oneof(fc.integer({ min: -2, max: 3 }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
    )
    // Its check of products is by division, which lets −2⁶² times −2 pass.
    .filter(([mutator, value]) => mutator !== "*=" || (typeof value === "number" && value > 0))
    .map(([mutator, value]) => ({
      op: "mutate",
      table: "Open_vSwitch",
      where: [],
      mutations: [["next_cfg", mutator, value]],
    })),
);

const others = fc.oneof(
  fc.tuple(where, tag).map(([condition, value]) => ({
    op: "update",
    table: "Port",
    where: condition,
    row: { tag: value },
  })),
  where.map((condition) => ({
    op: "select",
    table: "Port",
    where: condition,
    columns: ["name", "tag", "trunks", "external_ids"],
  })),
  where.map((condition) => ({ op: "delete", table: "Port", where: condition })),
  fc.tuple(where, fc.constantFrom("==", "!="), tag).map(([condition, until, value]) => ({
    op: "wait",
    table: "Port",
    where: condition,
    columns: ["tag"],
    until,
    rows: [{ tag: value }],
    timeout: 0,
  })),
);

/** One of each kind of mistake, and of what needs no arguments. */
const fixed = fc.constantFrom<object>(
  { op: "update", table: "Bridge", where: [], row: { ports: set() } },
  { op: "update", table: "Open_vSwitch", where: [], row: { bridges: set() } },
  { op: "insert", table: "Open_vSwitch", row: {} },
  { op: "update", table: "Port", where: [], row: { name: "z" } },
  {
    op: "update",
    table: "Port",
    where: [],
    row: { _uuid: ["uuid", "00000000-0000-0000-0000-000000000001"] },
  },
  { op: "abort" },
  { op: "fly" },
  { op: "insert", table: "Nope", row: {} },
  { op: "insert", table: "Queue", row: {}, extra: 1 },
  { op: "insert", table: "Queue" },
  { op: "insert", table: "Queue", row: {}, "uuid-name": "1x" },
  {
    op: "insert",
    table: "Queue",
    row: {
      external_ids: [
        "map",
        [
          ["a", "b"],
          ["a", "c"],
        ],
      ],
    },
  },
  { op: "insert", table: "Queue", row: { external_ids: set() } },
  { op: "insert", table: "Port", row: { nothing: 1 } },
  { op: "insert", table: "Port", row: { name: "x" } },
  { op: "insert", table: "NetFlow", row: {} },
  { op: "select", table: "Port", where: [], columns: ["nothing"] },
  { op: "select", table: "Port", where: [], columns: ["name", "name"] },
  { op: "select", table: "Port", where: [["name", "<", "x"]] },
  { op: "mutate", table: "Port", where: [], mutations: [["tag", "fly", 1]] },
  { op: "mutate", table: "Port", where: [], mutations: [["tag", 1, 1]] },
  { op: "mutate", table: "Port", where: [], mutations: [["name", "insert", "x"]] },
  { op: "mutate", table: "Port", where: [], mutations: [["_uuid", "insert", "x"]] },
  { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["next_cfg", "insert", 1]] },
  { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["next_cfg", "+=", set(1)]] },
  { op: "mutate", table: "Port", where: [], mutations: [["external_ids", "delete", set("a")]] },
  { op: "mutate", table: "Port", where: [], mutations: [["tag", "insert", 3]] },
  { op: "mutate", table: "Port", where: [], mutations: [["tag", "insert", set(3, 4)]] },
  { op: "mutate", table: "Port", where: [], mutations: [["interfaces", "delete", set()]] },
  {
    op: "insert",
    table: "Mirror",
    row: { select_src_port: named("pa"), output_port: named("pa") },
    "uuid-name": "m",
  },
  { op: "update", table: "Bridge", where: [], row: { mirrors: named("m") } },
  { op: "insert", table: "Flow_Sample_Collector_Set", row: { id: 1, bridge: named("ba") } },
  { op: "delete", table: "Flow_Sample_Collector_Set", where: [] },
  { op: "insert", table: "SSL", row: { private_key: "k" }, "uuid-name": "s" },
  { op: "update", table: "Open_vSwitch", where: [], row: { ssl: named("s") } },
  { op: "update", table: "Queue", where: [], row: { dscp: 3 } },
  { op: "delete", table: "Queue", where: [] },
  { op: "delete", table: "QoS", where: [] },
  { op: "commit", durable: false },
  { op: "commit" },
  { op: "comment", comment: "x" },
  { op: "comment", comment: 1 },
  { op: "assert", lock: "one" },
  { op: "assert", lock: "two" },
  { op: "wait", table: "Port", where: [], columns: ["name"], until: "==", rows: [], timeout: 0 },
  { op: "wait", table: "Port", where: [], columns: ["name"], until: "==", rows: [], timeout: 0.5 },
);

/** A whole bridge with one port in the right order, so that many transactions succeed. */
const addBridge = fc.tuple(names, names).map(([name, port]): object[] => [
  { op: "insert", table: "Bridge", row: { name, ports: named("p") }, "uuid-name": "b" },
  {
    op: "insert",
    table: "Port",
    row: { name: port, interfaces: named("i"), trunks: set(1, 3) },
    "uuid-name": "p",
  },
  { op: "insert", table: "Interface", row: { name: port }, "uuid-name": "i" },
  { op: "mutate", table: "Open_vSwitch", where: [], mutations: [["bridges", "insert", named("b")]] },
]);

/** Mirrors whose ports go later: weak references. */
const addMirror = names.map((name): object[] => [
  { op: "insert", table: "Port", row: { name: `m${name}`, interfaces: named("i") }, "uuid-name": "p" },
  { op: "insert", table: "Interface", row: { name: `m${name}` }, "uuid-name": "i" },
  {
    op: "insert",
    table: "Mirror",
    row: { name, select_src_port: named("p"), output_port: named("p") },
    "uuid-name": "m",
  },
  {
    op: "mutate",
    table: "Bridge",
    where: [],
    mutations: [
      ["ports", "insert", named("p")],
      ["mirrors", "insert", named("m")],
    ],
  },
]);

const operation = fc.oneof(inserts, mutations, mutations, others, others, fixed);

/** The operations of one transaction. */
export const transactions: fc.Arbitrary<object[]> = fc.oneof(
  { weight: 2, arbitrary: addBridge },
  { weight: 1, arbitrary: addMirror },
  { weight: 4, arbitrary: fc.array(operation, { minLength: 1, maxLength: 5 }) },
);
