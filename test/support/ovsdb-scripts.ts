// Steps for an OVSDB server that no sensible client would take, section by section of RFC 7047: names of rows that are
// misused, chains that collect themselves, swapped names, requests of odd forms. Each script begins with one empty root.
const set = (...atoms: unknown[]): unknown => ["set", atoms];
const map = (...pairs: unknown[]): unknown => ["map", pairs];
const named = (name: string): unknown => ["named-uuid", name];
const NOBODY = ["uuid", "00000000-0000-0000-0000-000000000001"];

type Step = readonly [client: number, method: string, ...params: unknown[]];

const transact = (...operations: unknown[]): Step => [0, "transact", "Open_vSwitch", ...operations];
const insert = (table: string, row: object, name?: string): object => ({
  op: "insert",
  table,
  row,
  ...(name === undefined ? {} : { "uuid-name": name }),
});
const select = (table: string, where: unknown = [], columns?: unknown): object => ({
  op: "select",
  table,
  where,
  ...(columns === undefined ? {} : { columns }),
});
const update = (table: string, where: unknown, row: object): object => ({ op: "update", table, where, row });
const mutate = (table: string, where: unknown, ...mutations: unknown[]): object => ({
  op: "mutate",
  table,
  where,
  mutations,
});
const remove = (table: string, where: unknown = []): object => ({ op: "delete", table, where });
const is = (column: string, value: unknown): unknown => [[column, "==", value]];

/** A bridge with a port for each name, and their interfaces. */
const bridge = (name: string, ...ports: string[]): object[] => [
  ...ports.flatMap((one) => [
    insert("Interface", { name: one }, `i_${one}`),
    insert("Port", { name: one, interfaces: named(`i_${one}`) }, `p_${one}`),
  ]),
  insert("Bridge", { name, ports: set(...ports.map((one) => named(`p_${one}`))) }, `b_${name}`),
  mutate("Open_vSwitch", [], ["bridges", "insert", set(named(`b_${name}`))]),
];

const wait = (table: string, until: string, rows: unknown, rest: object = {}): object => ({
  op: "wait",
  table,
  where: [],
  until,
  rows,
  timeout: 0,
  ...rest,
});

export const RFC_7047_SCRIPTS: Readonly<Record<string, readonly Step[]>> = {
  "5.1 names of rows": [
    transact(insert("Queue", { dscp: 1 }, "a"), select("Queue", is("_uuid", named("a")), ["dscp"])),
    transact(select("Queue", is("_uuid", named("later"))), insert("Queue", { dscp: 2 }, "later")),
    transact(remove("Queue", is("_uuid", named("later"))), insert("Queue", { dscp: 2 }, "later")),
    transact(insert("Queue", {}, "a"), update("Queue", is("_uuid", named("a")), { dscp: 9 })),
    transact(
      insert("Queue", {}, "a"),
      insert("QoS", { type: "x", queues: map([1, named("a")], [2, named("a")]) }),
    ),
    transact(insert("QoS", { type: "x", queues: map([1, named("never")]) })),
    transact(insert("QoS", { type: "x", queues: map([1, named("")]) })),
    transact(insert("Queue", {}, "")),
    transact(insert("Queue", {}, "a b")),
    transact(insert("Queue", {}, "é")),
    transact(insert("Queue", {}, "_")),
    transact(insert("Queue", {}, "a".repeat(5000))),
    transact(
      insert("Queue", {}, "a"),
      remove("Queue", is("_uuid", named("a"))),
      insert("QoS", { type: "x", queues: map([1, named("a")]) }),
    ),
    transact(...bridge("br", "one"), select("Port", [["interfaces", "includes", named("i_one")]], ["name"])),
    transact(
      wait("Queue", "==", [{ _uuid: named("q") }], { columns: ["_uuid"], where: is("dscp", 17) }),
      insert("Queue", { dscp: 17 }, "q"),
    ),
    transact(
      insert("Queue", { dscp: 18 }, "q"),
      wait("Queue", "==", [{ _uuid: named("q") }], { columns: ["_uuid"], where: is("dscp", 18) }),
    ),
    transact(
      mutate("Bridge", [], ["ports", "insert", set(named("x"), named("y"))]),
      ...bridge("other", "x", "y").slice(0, 4),
    ),
    transact(insert("Queue", { external_ids: map(["a", named("x")]) })),
    transact(insert("Queue", { dscp: named("x") })),
  ],
  "3.2 and 5.2 rows that nothing refers to": [
    transact(insert("Bridge", { name: "lost" }), select("Bridge", [], ["name"])),
    transact(select("Bridge", [], ["name"])),
    transact(...bridge("br", "a", "b", "c")),
    transact(update("Port", is("name", "a"), { interfaces: set() })),
    transact(
      update("Bridge", [], { ports: set() }),
      select("Port", [], ["name"]),
      select("Interface", [], ["name"]),
    ),
    transact(select("Port"), select("Interface")),
    transact(...bridge("b2", "a", "b"), remove("Bridge", is("name", "b2"))),
    transact(...bridge("b3", "a", "b"), update("Open_vSwitch", [], { bridges: set() })),
    transact(select("Bridge"), select("Port"), select("Interface")),
    transact(
      ...bridge("b4", "a", "b"),
      insert(
        "Mirror",
        { name: "m", select_src_port: set(named("p_a"), named("p_b")), output_port: named("p_a") },
        "m",
      ),
      update("Bridge", [], { mirrors: named("m") }),
    ),
    transact(mutate("Bridge", [], ["ports", "delete", set()]), remove("Port", is("name", "a"))),
    transact(mutate("Bridge", [], ["ports", "delete", set(NOBODY)])),
    transact(update("Mirror", [], { output_port: NOBODY })),
    transact(
      update("Mirror", [], {
        output_port: NOBODY,
        select_src_port: set(NOBODY, ["uuid", "00000000-0000-0000-0000-000000000002"]),
      }),
    ),
    transact(update("Bridge", [], { ports: set() })),
    transact(select("Mirror")),
    transact(remove("Open_vSwitch")),
    transact(select("Bridge"), select("Mirror"), select("Open_vSwitch")),
    transact(insert("Open_vSwitch", {}), insert("Open_vSwitch", {})),
    transact(insert("Open_vSwitch", {}), remove("Open_vSwitch")),
    transact(remove("Open_vSwitch"), insert("Open_vSwitch", { next_cfg: 3 })),
    transact(insert("Open_vSwitch", {}), remove("Open_vSwitch", is("next_cfg", 3))),
    transact(insert("Flow_Sample_Collector_Set", { id: 1, bridge: NOBODY })),
    transact(...bridge("b5", "a"), insert("Flow_Sample_Collector_Set", { id: 1, bridge: named("b_b5") })),
    transact(update("Open_vSwitch", [], { bridges: set() })),
    transact(remove("Flow_Sample_Collector_Set"), update("Open_vSwitch", [], { bridges: set() })),
    transact(select("Bridge", [], ["name"])),
  ],
  "3.2 indexes, with what is swapped": [
    transact(insert("Flow_Sample_Collector_Set", { id: 1, bridge: NOBODY })),
    transact(
      ...bridge("b", "a"),
      ...[1, 2, 3].map((id) => insert("Flow_Sample_Collector_Set", { id, bridge: named("b_b") })),
    ),
    transact(mutate("Flow_Sample_Collector_Set", [], ["id", "+=", 1])),
    transact(mutate("Flow_Sample_Collector_Set", is("id", 2), ["id", "+=", 1])),
    transact(
      mutate("Flow_Sample_Collector_Set", is("id", 2), ["id", "+=", 1]),
      mutate("Flow_Sample_Collector_Set", is("id", 4), ["id", "-=", 2]),
    ),
    transact(
      update("Flow_Sample_Collector_Set", is("id", 3), { id: 9 }),
      update("Flow_Sample_Collector_Set", is("id", 2), { id: 3 }),
      update("Flow_Sample_Collector_Set", is("id", 9), { id: 2 }),
    ),
    transact(
      remove("Flow_Sample_Collector_Set", is("id", 3)),
      update("Flow_Sample_Collector_Set", is("id", 2), { id: 3 }),
    ),
    transact(select("Flow_Sample_Collector_Set", [], ["id"])),
    transact(
      update("Bridge", [], { ports: set() }),
      ...bridge("x", "a").slice(0, 2),
      mutate("Bridge", [], ["ports", "insert", named("p_a")]),
    ),
    transact(insert("Interface", { name: "a" })),
    transact(insert("Interface", { name: "a" }), insert("Interface", { name: "a" })),
    transact(update("Interface", [], { name: "z" })),
    transact(select("Interface", [], ["name"])),
  ],
  "5.2.1 to 5.2.6 operations": [
    transact(insert("Queue", { dscp: 1 }), insert("Queue", { dscp: 2 }), insert("Queue", {})),
    transact(
      select(
        "Queue",
        [
          ["dscp", "==", 1],
          ["dscp", "==", 2],
        ],
        ["dscp"],
      ),
    ),
    transact(select("Queue", [], [])),
    transact(select("Queue", [["_uuid", "!=", NOBODY]], ["_version"])),
    transact(
      select("Queue", [["dscp", "!=", set()]], ["dscp"]),
      select("Queue", [["dscp", "==", set()]], ["dscp"]),
    ),
    transact(
      select("Queue", [["dscp", "<", 2]], ["dscp"]),
      select("Queue", [["dscp", ">=", set()]], ["dscp"]),
    ),
    transact(
      select("Queue", [["dscp", "includes", set()]], ["dscp"]),
      select("Queue", [["dscp", "excludes", set()]], ["dscp"]),
    ),
    transact(
      select("Queue", [["external_ids", "includes", map()]], ["dscp"]),
      select("Queue", [["external_ids", "==", map()]], ["dscp"]),
    ),
    transact(update("Queue", is("dscp", 1), { dscp: 5, external_ids: map(["a", "b"], ["", ""]) })),
    transact(
      select("Queue", [["external_ids", "includes", map(["a", "c"])]], ["dscp"]),
      select("Queue", [["external_ids", "excludes", map(["a", "c"])]], ["dscp"]),
    ),
    transact(
      select("Queue", [["external_ids", "excludes", map(["a", "b"])]], ["dscp"]),
      select("Queue", [["external_ids", "!=", map()]], ["dscp"]),
    ),
    transact(
      update("Queue", [], {}),
      mutate("Queue", []),
      mutate("Queue", is("dscp", 63), ["dscp", "+=", 1]),
    ),
    transact(mutate("Queue", [], ["dscp", "+=", 60])),
    transact(mutate("Queue", [], ["dscp", "+=", 60], ["dscp", "-=", 60])),
    transact(mutate("Queue", is("dscp", 2), ["dscp", "-=", 9])),
    transact(mutate("Queue", [], ["dscp", "%=", -3]), mutate("Queue", [], ["dscp", "/=", -1])),
    transact(mutate("Open_vSwitch", [], ["next_cfg", "-=", 7], ["next_cfg", "%=", 4], ["next_cfg", "/=", 2])),
    transact(
      mutate("Open_vSwitch", [], ["next_cfg", "*=", -5], ["next_cfg", "%=", -3]),
      select("Open_vSwitch", [], ["next_cfg"]),
    ),
    transact(
      mutate(
        "Queue",
        is("dscp", 5),
        ["external_ids", "delete", map(["a", "x"])],
        ["external_ids", "insert", map(["a", "new"], ["c", "d"])],
      ),
    ),
    transact(
      mutate(
        "Queue",
        [],
        ["external_ids", "delete", set("a", "zzz")],
        ["external_ids", "insert", map(["a", "new"])],
      ),
      select("Queue", [], ["external_ids"]),
    ),
    transact(
      mutate(
        "Queue",
        [],
        ["external_ids", "delete", set()],
        ["external_ids", "insert", map()],
        ["external_ids", "delete", "c"],
      ),
    ),
    transact(mutate("Queue", [], ["dscp", "insert", 7]), select("Queue", [], ["dscp"])),
    transact(mutate("Queue", [], ["dscp", "delete", set(7, 8)])),
    transact(
      mutate("Queue", [], ["dscp", "delete", 2], ["dscp", "insert", 11]),
      select("Queue", [], ["dscp"]),
    ),
    // Each mutation must leave a size that the column may have.
    transact(mutate("Queue", [], ["dscp", "insert", 21], ["dscp", "delete", 11])),
    transact(wait("Queue", "==", [])),
    transact(wait("Queue", "!=", [])),
    transact(wait("Queue", "==", [{}], { columns: [] })),
    transact(
      wait("Queue", "==", [{ dscp: 2 }, { dscp: 2 }, { dscp: 2 }], {
        columns: ["dscp"],
        where: is("dscp", 11),
      }),
    ),
    transact(wait("Queue", "==", [{ dscp: 11 }, { dscp: 11 }], { columns: ["dscp"], where: is("dscp", 11) })),
    transact(wait("Queue", "!=", [{ dscp: 12 }], { columns: ["dscp", "dscp"] })),
    transact(wait("Queue", "==", [{ dscp: 12, external_ids: map() }], { columns: ["dscp"] })),
    transact(wait("Queue", "==", [{ _uuid: NOBODY, dscp: 1 }], { columns: ["_uuid"] })),
    transact(wait("Queue", "!=", [{ _version: NOBODY }], { columns: ["_version"] })),
    transact(
      wait("Open_vSwitch", "==", [{}], { columns: ["ovs_version"] }),
      wait("Open_vSwitch", "==", [{ ovs_version: set() }], { columns: ["ovs_version"] }),
    ),
    transact({ ...wait("Queue", "==", []), timeout: 1e21 }),
    transact({ ...wait("Queue", "!=", []), timeout: 1e10 }),
    transact({ ...wait("Queue", "!=", []), timeout: "0" }),
    transact(
      { op: "comment", comment: "" },
      { op: "commit", durable: true },
      { op: "commit", durable: false },
    ),
    transact({ op: "abort" }, insert("Queue", {})),
    transact(insert("Queue", {}), { op: "abort" }),
    transact({ op: "assert", lock: "l" }),
    [0, "lock", "l"],
    transact({ op: "assert", lock: "l" }, insert("Queue", { dscp: 33 })),
    [1, "transact", "Open_vSwitch", { op: "assert", lock: "l" }, insert("Queue", { dscp: 34 })],
    [1, "steal", "l"],
    transact(insert("Queue", { dscp: 35 }), { op: "assert", lock: "l" }),
    [0, "unlock", "l"],
    [0, "unlock", "l"],
    [1, "unlock", "l"],
    [0, "lock", ""],
    [0, "lock", "é"],
    [0, "lock", "a".repeat(5000)],
    transact(remove("Queue", is("_uuid", "x"))),
    transact(remove("Queue", [["_uuid", "==", NOBODY], ["x"]])),
    transact(insert("Queue", { _version: NOBODY })),
  ],
  "3.1 and 5.1 strings and numbers": [
    ...[
      "\udc00",
      "\ud83d\ude00",
      "\u007f",
      "\u0001",
      "\uffff",
      "\ufeff",
      "\\",
      "\u2028",
      "é".repeat(1000),
    ].flatMap((text) => [
      transact(insert("Queue", { external_ids: map([text, text]) })),
      transact(insert("Interface", { name: text }), select("Interface", is("name", text), ["name"])),
    ]),
    transact(select("Queue", [], ["external_ids"])),
    ...[1e3, 1e15, -1, -0, 0.1, 1e300, 2 ** 53 - 1, -(2 ** 53) + 1].map((number) =>
      transact(update("Open_vSwitch", [], { next_cfg: number }), select("Open_vSwitch", [], ["next_cfg"])),
    ),
    ...[1e3, 0.5, true, "1", null].map((number) =>
      transact(select("Open_vSwitch", is("next_cfg", number), ["next_cfg"])),
    ),
    transact(
      insert("Queue", { external_ids: map(...Array.from({ length: 3000 }, (_, i) => [`k${i}`, "v"])) }),
    ),
    transact(insert("Bridge", { flood_vlans: set(...Array.from({ length: 4097 }, (_, i) => i)) })),
    transact(
      insert("Bridge", { flood_vlans: set(...Array.from({ length: 4096 }, (_, i) => 4095 - i)) }),
      select("Bridge", [], ["flood_vlans"]),
    ),
  ],
  "4.1 requests": [
    [0, "list_dbs"],
    [0, "list_dbs", 1],
    [0, "list_dbs", {}],
    [0, "echo"],
    [0, "echo", { a: [null, 1.5, "é"] }, [], null],
    [0, "get_schema", "_Server", 1],
    [0, "get_schema", null],
    [0, "get_server_id", 1],
    [0, "set_db_change_aware", null],
    [0, "set_db_change_aware", true, 1],
    [0, "transact"],
    [0, "transact", 1],
    [0, "transact", "Open_vSwitch", []],
    [0, "transact", "Open_vSwitch", [[]]],
    [0, "cancel"],
    [0, "update", 1, {}],
    [0, "locked", "l"],
    [0, ""],
    [0, "é"],
  ],
  "4.1.5 to 4.1.7 monitors": [
    [0, "monitor", "Open_vSwitch", { a: 1, b: 2 }, { Queue: {} }],
    [0, "monitor", "Open_vSwitch", { b: 2, a: 1 }, { Queue: {} }],
    [0, "monitor", "Open_vSwitch", [1], { Queue: { columns: [] } }],
    [0, "monitor", "Open_vSwitch", "1", { Queue: [] }],
    [0, "monitor", "Open_vSwitch", 1, { Queue: [{}, {}] }],
    [
      0,
      "monitor",
      "Open_vSwitch",
      2,
      {
        Queue: [
          { columns: ["dscp"] },
          { columns: ["external_ids"], select: { initial: false, modify: false } },
        ],
      },
    ],
    [0, "monitor", "Open_vSwitch", 3, { Queue: { columns: ["_uuid", "_version", "dscp"] } }],
    [
      0,
      "monitor",
      "Open_vSwitch",
      4,
      { Queue: { select: { initial: false, insert: false, delete: false, modify: false } } },
    ],
    [0, "monitor_cond", "Open_vSwitch", 5, { Queue: { where: [false] } }],
    [0, "monitor_cond", "Open_vSwitch", 6, { Queue: { where: [true, ["dscp", "==", 1]] } }],
    [0, "monitor_cond", "Open_vSwitch", 7, { Queue: { where: [] } }],
    [
      0,
      "monitor_cond",
      "Open_vSwitch",
      8,
      { Queue: { where: [false, ["dscp", "==", 1], ["dscp", ">", 30]] } },
    ],
    [
      0,
      "monitor_cond",
      "Open_vSwitch",
      9,
      { Queue: { where: [["dscp", "==", set()]], columns: ["external_ids"] } },
    ],
    [0, "monitor_cond", "Open_vSwitch", 10, { Queue: [] }],
    [0, "monitor", "Nope", 12, {}],
    [0, "monitor", "Open_vSwitch", 12, null],
    [0, "monitor", "Open_vSwitch", 12, []],
    [0, "monitor", "Open_vSwitch", 12, { Queue: { columns: "dscp" } }],
    [0, "monitor", "Open_vSwitch", 12, { Queue: { select: [] } }],
    [0, "monitor", "Open_vSwitch", 12, { Queue: { where: [] } }],
    [0, "monitor", "Open_vSwitch", 12, { Queue: { x: 1 } }],
    transact(
      insert("Queue", { dscp: 1 }),
      insert("Queue", { dscp: 40, external_ids: map(["a", "b"]) }),
      insert("Queue", {}),
    ),
    transact(update("Queue", is("dscp", 1), { dscp: 2, external_ids: map(["x", "y"]) })),
    transact(update("Queue", is("dscp", 2), { dscp: 3 }), update("Queue", is("dscp", 3), { dscp: 2 })),
    transact(insert("Queue", { dscp: 50 }), remove("Queue", is("dscp", 50))),
    transact(mutate("Queue", [], ["external_ids", "insert", map(["a", "c"], ["z", "z"])])),
    [0, "monitor_cond_change", 5, 5, { Queue: [{ where: [true] }] }],
    [0, "monitor_cond_change", 6, 600, { Queue: [{ where: [false] }] }],
    [0, "monitor_cond_change", 6, 6, { Queue: [{ where: [] }] }],
    [0, "monitor_cond_change", 7, 600, {}],
    [0, "monitor_cond_change", 8, 8, { Queue: [{ where: [["dscp", "<", 3]] }], Port: [{ where: [] }] }],
    [0, "monitor_cond_change", 8, 8, { Queue: [{ where: [["nope", "<", 3]] }] }],
    [0, "monitor_cond_change", 8, 8, { Queue: [{ where: "x" }] }],
    [0, "monitor_cond_change", 8, 8, { Queue: [{ where: [1] }] }],
    [0, "monitor_cond_change", 8, 8, { Queue: [{ columns: ["dscp"], where: [] }] }],
    [0, "monitor_cond_change", 8, 8, []],
    transact(remove("Queue")),
    [0, "monitor_cancel", { b: 2, a: 1 }],
    [0, "monitor_cancel", [1]],
    [0, "monitor_cancel", "1"],
    [0, "monitor_cancel", 1],
    [0, "monitor_cancel", 600],
    [0, "monitor_cancel", 5],
    [0, "monitor_cancel", 5],
    transact(insert("Queue", { dscp: 1 })),
  ],
};
